"""The C boundary: odd sizes are computed, wrong calls raise before C runs, and what cannot be allocated is an error."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bactrian.generate.decode_kernels import RUN, kernels, run_of, tokens_of
from bactrian.model import fused
from bactrian.model.signatures import CSource, UnreadableC

needs_kernels = pytest.mark.skipif(kernels() is None or fused.layers() is None, reason="no C compiler here")
CALLS: dict[str, Callable[[], None]] = {
    "too few": lambda: fused.call("square_sum", 4, torch.ones(4)),
    "another type": lambda: fused.call("norm_forward", 2, 3, X, torch.ones(3).bfloat16(), 0.0, 0.1, X, torch.ones(2)),
    "an unknown type": lambda: fused.call("gate_forward", 2, 3, 0, X.double(), X.double(), X.double()),
    "too short": lambda: fused.call("norm_forward", 2, 3, X, torch.ones(2), 0.0, 0.1, X, torch.ones(2)),
    "gaps": lambda: fused.call("gate_forward", 3, 2, 0, X.T, X.T, X.T),
    "elsewhere": lambda: fused.call("gate_forward", 2, 3, 0, X.to("meta"), X, X),
    "nothing": lambda: fused.call("gate_forward", 2, 3, 0, X, None, X),
    "no tensor": lambda: fused.call("gate_forward", 2, 3, 0, X, 7, X),
    "negative": lambda: fused.call("gate_forward", -2, -3, 0, X, X, X),
    "a fraction": lambda: fused.call("gate_forward", 2, 3, 0.5, X, X, X),
}
X = torch.ones(2, 3)


@needs_kernels
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_raises(name: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        CALLS[name]()


@needs_kernels
@pytest.mark.parametrize("target", [-1, 5, 2**40])
def test_a_target_outside_the_vocabulary_is_refused(target: int) -> None:
    one = torch.zeros(1)
    with pytest.raises(IndexError, match="score"):
        fused.call("score", 1, 5, torch.ones(1, 5), torch.tensor([target]), 1.0, 0.0, one, one.clone(), None)


@needs_kernels
@pytest.mark.parametrize(
    ("length", "room", "error"), [(3, 2, ValueError), (0, 2, ValueError), (2**50, 2**50, MemoryError), (2, 2, None)]
)
def test_runs_that_do_not_fit_are_refused(length: int, room: int, error: type[Exception] | None) -> None:
    kernel = kernels()
    assert kernel is not None
    cache, qkv, rotation = torch.zeros(1, 2, 1, 2, 8), torch.ones(1, 24), torch.ones(1, 8)
    run = run_of(cache, 0, length)
    run[RUN.index("room")] = room
    token = tokens_of(torch.tensor([0]), torch.tensor([1]), torch.tensor([length]))

    def attend() -> None:
        kernel.attend(
            qkv,
            (rotation, rotation),
            token,
            torch.tensor([run]),
            torch.empty(1, 8),
            heads=(1, 1, 8),
            layer=0,
            scale=1.0,
            window=0,
        )

    if error is None:
        attend()
    else:
        with pytest.raises(error):
            attend()
    assert bool(cache.any()) == (error is None)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 3, 700])
@pytest.mark.parametrize("dim", [1, 7, 17, 257, 513])
def test_odd_sizes(dtype: torch.dtype, rows: int, dim: int) -> None:
    kernel = kernels()
    assert kernel is not None
    x = torch.randn(rows, 2 * dim, generator=torch.Generator().manual_seed(dim)).to(dtype)
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    normed = torch.nn.functional.rms_norm(x[:, dim:].float(), (dim,), None, 1e-6)
    torch.testing.assert_close(kernel.norm(x[:, dim:], torch.ones(dim), 1e-6).float(), normed, **close)
    gate, up = (half.contiguous().requires_grad_() for half in x.chunk(2, dim=1))
    gated = torch.nn.functional.silu(gate.float()) * up.float()
    torch.testing.assert_close(kernel.gate(x, 0).float(), gated.detach(), **close)
    found = fused._Gate.apply(gate, up, 0)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found.float(), gated, **close)
    for ours, theirs in zip(*(torch.autograd.grad(y.sum(), [gate, up]) for y in (found, gated)), strict=True):
        torch.testing.assert_close(ours, theirs, **close)
    tokens, logprobs = kernel.choose(x, torch.full((rows,), 0.999, dtype=torch.float64), torch.zeros(rows))
    scores = x.float().log_softmax(-1)
    torch.testing.assert_close(logprobs, scores.amax(-1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.gather(1, tokens[:, None])[:, 0], scores.amax(-1))


GOOD = "int NAME(f)(int threads, int64_t rows, const T x[rows * 2])\n{\n    return 0;\n}\n"


@pytest.mark.parametrize(
    ("sound", "unsound"),
    [
        ("x[rows * 2]", "*x"),
        ("x[rows * 2]", "x[size]"),
        ("int64_t rows", "int rows"),
        ("const T", "const short"),
        ("int NAME", "void NAME"),
        ("NAME(f)", "f"),
    ],
)
def test_c_in_another_form_is_not_guessed_at(tmp_path: Path, sound: str, unsound: str) -> None:
    file = tmp_path / "some.c"
    file.write_text(GOOD)
    assert CSource.read(file).prototypes().startswith("int f_bf16(int, int64_t, const uint16_t *);")
    file.write_text(GOOD.replace(sound, unsound))
    with pytest.raises(UnreadableC):
        CSource.read(file)
