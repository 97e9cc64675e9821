"""Blocks of 4 and 6 bits: what is packed is what the package gguf reads, and the error is within its bounds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Types
from gguf import quants
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bactrian.model import kquants

KINDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "Q4_K": (kquants.q4_k, Types.Q4_K),
    "Q6_K": (kquants.q6_k, Types.Q6_K),
}


def back(kind: str, weights: Any) -> Any:
    quantise, theirs = KINDS[kind]
    return quants.dequantize(quantise(weights), theirs)


def whole(shape: tuple[int, ...], high: int) -> st.SearchStrategy[Any]:
    return arrays(np.uint8, shape, elements=st.integers(0, high - 1))


@given(whole((2, 8), 64), whole((2, 8), 64), whole((2, 8, 32), 16), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_q4_k_says_what_was_packed(scales: Any, mins: Any, q: Any, d: float, m: float) -> None:
    halves = [np.full(2, np.float16(each), np.float32) for each in (d, m)]
    found = quants.dequantize(kquants.pack_q4_k(*halves, scales, mins, q), Types.Q4_K)
    step, shift = halves[0][:, None] * scales, halves[1][:, None] * mins
    assert np.array_equal(found, (step[..., None] * q - shift[..., None]).reshape(2, 256))


@given(arrays(np.int8, (2, 16)), whole((2, 256), 64), st.floats(1e-3, 1))
def test_q6_k_says_what_was_packed(scales: Any, q: Any, d: float) -> None:
    half = np.full(2, np.float16(d), np.float32)
    found = quants.dequantize(kquants.pack_q6_k(half, scales, q), Types.Q6_K)
    expected = np.repeat(half[:, None] * scales, 16, axis=1) * (q.astype(np.float32) - 32)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("kind", "bound", "coarser"), [("Q4_K", 0.075, "Q4_0"), ("Q6_K", 0.022, "Q5_0")])
def test_weights_as_models_have_them_lose_little(kind: str, bound: float, coarser: str) -> None:
    """Less than in the plain type with as many bits, or one fewer, of the package gguf."""
    draw = np.random.default_rng(0)
    weights = (draw.standard_normal((64, 1024)) * draw.uniform(0.01, 0.1, (64, 1))).astype(np.float32)
    weights += 0.2 * np.abs(weights).max() * (draw.random(weights.shape) < 0.001)
    error = np.linalg.norm(back(kind, weights) - weights) / np.linalg.norm(weights)
    plain = quants.dequantize(quants.quantize(weights, Types[coarser]), Types[coarser])
    assert error < bound and error < 0.9 * np.linalg.norm(plain - weights) / np.linalg.norm(weights)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e3), st.floats(-3, 3))
def test_no_weight_is_further_off_than_a_step(kind: str, seed: int, scale: float, shift: float) -> None:
    draw = np.random.default_rng(seed)
    weights = (scale * (draw.standard_normal((3, 256)) + shift)).astype(np.float32)
    reach = np.abs(weights).max(axis=1, keepdims=True)
    steps = {"Q4_K": 15, "Q6_K": 31}[kind]
    assert (np.abs(back(kind, weights) - weights) <= 1.5 * 2 * reach / steps).all()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_zeros_and_of_one_number(kind: str) -> None:
    assert not back(kind, np.zeros((2, 256), np.float32)).any()
    for value in (0.5, -0.5, 1e-30, 60000.0):
        weights = np.full((1, 512), value, np.float32)
        assert np.allclose(back(kind, weights), weights, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_at_a_time_is_all_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(1).standard_normal((5, 512)).astype(np.float32)
    quantise, _ = KINDS[kind]
    together = quantise(weights)
    monkeypatch.setattr(kquants, "AT_ONCE", 3)
    assert np.array_equal(together, quantise(weights)) and together.shape[0] == 5
