"""Weights in llama.cpp's K-quants: blocks of 256, of 4.5 bits (Q4_K) or 6.6 (Q6_K) a weight, as GGUF files hold them.

The package gguf reads these layouts and does not write them; what is packed here is read back with it in the tests. A
block is divided into parts, each with a scale of its own, which is in turn a small multiple of the block's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
AT_ONCE = 4096  # blocks; bounds the memory of trying several scales


def q4_k(weights: Floats) -> Bytes:
    """Rows of weights [..., multiple of 256] → bytes [..., 144 for each 256].

    w ≈ d·s·q - m·z for a part of 32 weights: q in 4 bits, s and z in 6, d and m in float16 for the whole block.
    """
    return _by_blocks(weights, _q4_k, 144)


def q6_k(weights: Floats) -> Bytes:
    """Rows of weights [..., multiple of 256] → bytes [..., 210 for each 256].

    w ≈ d·s·q for a part of 16 weights: q in 6 bits, s in 8, d in float16 for the whole block.
    """
    return _by_blocks(weights, _q6_k, 210)


def pack_q4_k(d: Any, m: Any, scales: Bytes, mins: Bytes, q: Bytes) -> Bytes:
    """The bytes of blocks: d, m [n]; scales, mins [n, 8], below 64; q [n, 8, 32], below 16."""
    low, high = slice(0, 4), slice(4, 8)
    packed = np.concatenate(
        [
            scales[:, low] | (scales[:, high] >> 4 << 6),
            mins[:, low] | (mins[:, high] >> 4 << 6),
            (scales[:, high] & 15) | ((mins[:, high] & 15) << 4),
        ],
        axis=1,
    )
    nibbles = q[:, 0::2] | (q[:, 1::2] << 4)
    return np.concatenate([_half(d), _half(m), packed, nibbles.reshape(len(q), 128)], axis=1)


def pack_q6_k(d: Any, scales: NDArray[np.int8], q: Bytes) -> Bytes:
    """The bytes of blocks: d [n]; scales [n, 16]; q [n, 256], below 64, of which 32 stands for 0."""
    halves = q.reshape(len(q), 2, 4, 32)  # of each half of a block, four runs of 32
    low, high = halves & 15, halves >> 4
    lows = low[:, :, :2] | (low[:, :, 2:] << 4)
    highs = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    parts = [lows.reshape(len(q), 128), highs.reshape(len(q), 64), scales.view(np.uint8), _half(d)]
    return np.concatenate(parts, axis=1)


def _by_blocks(weights: Floats, quantise: Any, size: int) -> Bytes:
    blocks = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, BLOCK)
    parts = [quantise(blocks[start : start + AT_ONCE]) for start in range(0, len(blocks), AT_ONCE)]
    found: Bytes = np.concatenate(parts).reshape(*weights.shape[:-1], weights.shape[-1] // BLOCK * size)
    return found


def _q4_k(blocks: Floats) -> Bytes:
    x = blocks.reshape(-1, 8, 32)
    scale, least = _affine(x)
    d, m = (_rounded_half(each.max(axis=1) / 63) for each in (scale, least))
    scales, mins = (_ratio(each, unit, 0, 63) for each, unit in ((scale, d), (least, m)))
    step, shift = (d[:, None] * scales)[..., None], (m[:, None] * mins)[..., None]
    q = _ratio(x + shift, step, 0, 15)
    return pack_q4_k(d, m, *(each.astype(np.uint8) for each in (scales, mins, q)))


def _affine(x: Floats) -> tuple[Floats, Floats]:
    """Of each part of 32, a scale a ≥ 0 and b ≥ 0 with x ≈ a·q - b, q in 0 … 15: the best of some by weighted squares.

    Large weights count more, as their errors move the product more.
    """
    weight = np.abs(x) + np.sqrt((x**2).mean(axis=-1, keepdims=True)) + 1e-30
    low, high = np.minimum(x.min(axis=-1), 0), x.max(axis=-1)
    best = np.full(low.shape, np.inf, np.float32)
    a, b = np.zeros_like(low), np.zeros_like(low)
    for levels in np.arange(13.5, 16.6, 0.25, dtype=np.float32):
        q = _ratio(x - low[..., None], ((high - low) / levels)[..., None], 0, 15)
        scale, shift = _least_squares(x, q, weight)
        error = (weight * (scale[..., None] * q - shift[..., None] - x) ** 2).sum(axis=-1)
        better = error < best
        a, b, best = np.where(better, scale, a), np.where(better, shift, b), np.where(better, error, best)
    return a, b


def _least_squares(x: Floats, q: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """The a ≥ 0 and b ≥ 0 that make a·q - b nearest to x."""
    total, sq, sx = (sums.sum(axis=-1) for sums in (weight, weight * q, weight * x))
    sqq, sqx = (weight * q * q).sum(axis=-1), (weight * q * x).sum(axis=-1)
    spread = total * sqq - sq * sq
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(spread > 1e-12 * total * sqq, (total * sqx - sq * sx) / spread, 0)
        b = np.where(spread > 1e-12 * total * sqq, (sq * sqx - sqq * sx) / spread, -sx / total)
        plain = np.where(sqq > 0, sqx / sqq, 0)  # where b would be below 0
    negative = b < 0
    return np.maximum(np.where(negative, plain, a), 0), np.where(negative, 0, b)


def _q6_k(blocks: Floats) -> Bytes:
    x = blocks.reshape(-1, 16, 16)
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    best, scale = np.full(largest.shape, np.inf, np.float32), np.zeros_like(largest)
    for levels in np.arange(-33, -29.9, 0.5, dtype=np.float32):  # negative: -32 is there, 32 is not
        q = _ratio(x, (largest / levels)[..., None], -32, 31)
        weight = x**2 + 1e-30
        fitted = (weight * q * x).sum(axis=-1) / np.maximum((weight * q * q).sum(axis=-1), 1e-30)
        error = (weight * (fitted[..., None] * q - x) ** 2).sum(axis=-1)
        better = error < best
        scale, best = np.where(better, fitted, scale), np.where(better, error, best)
    first = np.take_along_axis(scale, np.abs(scale).argmax(axis=1)[:, None], axis=1)[:, 0]
    d = _rounded_half(first / -128)
    scales = _ratio(scale, d, -128, 127)
    q = _ratio(x, (d[:, None] * scales)[..., None], -32, 31)
    return pack_q6_k(d, scales.astype(np.int8), (q + 32).astype(np.uint8).reshape(-1, BLOCK))


def _ratio(x: Floats, unit: Any, low: int, high: int) -> Floats:
    """x in whole units, bounded; 0 where the unit is 0. `unit` has x's number of axes, or one fewer."""
    wide = unit[:, None] if unit.ndim < x.ndim else unit
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found: Floats = np.clip(np.rint(np.where(wide != 0, x / wide, 0)), low, high)
    return np.nan_to_num(found).astype(np.float32)


def _rounded_half(x: NDArray[Any]) -> Floats:
    """As float16 will say it, so that what is computed with is what is read back."""
    return x.astype(np.float16).astype(np.float32)


def _half(x: Any) -> Bytes:
    return np.asarray(x, dtype=np.float16)[:, None].view(np.uint8)
