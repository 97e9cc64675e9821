"""The compiled kernels compute what they say, and leave the arithmetic of the process as it was."""

import subprocess
import sys

import pytest
import torch

from bactrian.generate.decode_kernels import kernels, run_of, tokens_of

PROGRAM = """
from bactrian.generate.decode_kernels import kernels
import numpy as np, torch
assert kernels() is not None
tiny = 5e-324
assert tiny / 1 > 0 and float(np.float32(1e-45)) > 0 and float(torch.tensor(1e-40) * 0.5) > 0
print("kept")
"""


@pytest.mark.skipif(kernels() is None, reason="no C compiler here")
def test_loading_them_keeps_subnormal_numbers() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "kept\n", done.stderr


@pytest.mark.skipif(kernels() is None, reason="no C compiler here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"),
    [(9, 3, 64), (4, 4, 16), (7, 1, 64), (8, 2, 80), (2, 1, 96), (4, 1, 256), (16, 8, 128), (12, 1, 24), (3, 1, 130)],
)
@pytest.mark.parametrize("window", [0, 4])
def test_attention_is_softmax_over_all_its_runs(
    dtype: torch.dtype, heads: int, kv_heads: int, dim: int, window: int
) -> None:
    """Tokens that share a prompt's run and have a run of their own see what one sequence of both would show them."""
    kernel = kernels()
    assert kernel is not None
    torch.manual_seed(heads + dim)
    prompt, own = 5, (1, 3, 20)  # tokens, and of each row, its newest included
    shared = torch.randn(2, kv_heads, prompt, dim).to(dtype)
    caches = [torch.randn(2, kv_heads, length, dim).to(dtype) for length in own]
    runs = torch.tensor([run_of(each[None], 0, each.shape[2]) for cache in caches for each in (shared, cache)])
    seen = [prompt + length for length in own]
    tokens = tokens_of(2 * torch.arange(len(own)), torch.full((len(own),), 2), torch.tensor(seen))
    qkv = torch.randn(len(own), (heads + 2 * kv_heads) * dim).to(dtype)
    cos, sin = torch.randn(len(own), dim), torch.randn(len(own), dim)
    cos[:, dim // 2 :], sin[:, dim // 2 :] = cos[:, : dim // 2], sin[:, : dim // 2]
    out = torch.full((len(own), heads * dim), torch.nan).to(dtype)
    kernel.attend(qkv, (cos, sin), tokens, runs, out, heads=(heads, kv_heads, dim), layer=0, scale=0.3, window=window)
    for row, cache in enumerate(caches):
        q, k, v = qkv[row].float().view(-1, dim).split([heads, kv_heads, kv_heads])
        k = _rotated(k, cos[row], sin[row]).to(dtype)
        assert torch.equal(cache[1, :, -1], v.to(dtype))
        torch.testing.assert_close(cache[0, :, -1], k)
        keys, values = torch.cat([shared, cache], dim=2).float().repeat_interleave(heads // kv_heads, dim=1)
        scores = torch.einsum("hd,htd->ht", _rotated(q, cos[row], sin[row]).to(dtype).float(), keys) * 0.3
        if window:
            scores[:, :-window] = -torch.inf
        expected = torch.einsum("ht,htd->hd", scores.softmax(-1), values).to(dtype)
        torch.testing.assert_close(out[row].view(heads, dim), expected)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[:, half:], x[:, :half]], dim=-1) * sin
