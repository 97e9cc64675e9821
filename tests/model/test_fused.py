"""Norms, gated units and the softmax in C against torch's own operations, forward and backward."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.functional import gelu, silu

from bactrian.model import fused
from bactrian.model.logprobs import token_logprobs_and_entropy
from tests.model.tiny import ARCHITECTURES, write_tiny

pytestmark = pytest.mark.skipif(fused.layers() is None, reason="no C compiler here")
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2}}


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def gradients(out: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(out.dtype)
    return list(torch.autograd.grad(out, inputs, upstream))


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_norm(dtype: torch.dtype, offset: float, threads: int) -> None:
    x, weight = drawn(3, 37, 70, dtype=dtype), drawn(70, seed=1, dtype=dtype)
    wide = x.double()
    expected = wide * (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * (offset + weight.double())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = fused._Norm.apply(x, weight, offset, 1e-5)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found.double(), expected.detach(), **CLOSE[dtype])
        for ours, theirs in zip(gradients(found, [x, weight]), gradients(expected, [x, weight]), strict=True):
            scale = float(theirs.abs().max())
            torch.testing.assert_close(ours / scale, theirs / scale, **CLOSE[dtype])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("kind", [0, 1])
def test_a_gated_unit(dtype: torch.dtype, kind: int) -> None:
    gate, up = (4 * drawn(2, 19, 50, dtype=dtype)).detach().requires_grad_(), drawn(2, 19, 50, seed=1, dtype=dtype)

    def gated() -> torch.Tensor:
        act = silu(gate.double()) if kind == 0 else gelu(gate.double(), approximate="tanh")
        return act * up.double()

    expected = gated()
    found = fused._Gate.apply(gate, up, kind)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found.double(), expected.detach(), **CLOSE[dtype])
    for ours, theirs in zip(gradients(found, [gate, up]), gradients(expected, [gate, up]), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE[dtype])
    weight = drawn(30, 50, seed=2, dtype=dtype)
    inputs = [gate, up, weight]
    through = fused._GatedLinear.apply(gate, up, weight, kind)  # type: ignore[no-untyped-call]
    expected = gated() @ weight.double().T
    torch.testing.assert_close(through.double(), expected.detach(), rtol=2e-2, atol=40 * CLOSE[dtype]["atol"])
    for ours, theirs in zip(gradients(through, inputs), gradients(expected, inputs), strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours / scale, theirs / scale, **CLOSE[dtype])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_the_softmax(dtype: torch.dtype, temperature: float, softcap: float | None) -> None:
    hidden, weight = drawn(23, 16, dtype=dtype), drawn(1300, 16, seed=1, dtype=dtype)
    targets = torch.arange(23) * 51
    logits = (hidden @ weight.T).double()
    shaped = (logits if softcap is None else softcap * torch.tanh(logits / softcap)) / temperature
    distribution = torch.log_softmax(shaped, -1)
    expected = distribution.gather(-1, targets[:, None])[:, 0]
    entropy = -(distribution.exp() * distribution).sum(-1)
    found, told = token_logprobs_and_entropy(hidden, weight, targets, temperature=temperature, softcap=softcap)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(told.double(), entropy.detach(), rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients(found, [hidden, weight]), gradients(expected, [hidden, weight]), strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours / scale, theirs / scale, **CLOSE[dtype])


def test_what_is_not_a_number_stays_one() -> None:
    hidden, weight = drawn(3, 8).detach(), drawn(300, 8, seed=1).detach()
    hidden[1, 2] = float("nan")
    found, _ = token_logprobs_and_entropy(hidden, weight, torch.tensor([1, 2, 3]))
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_s_norms_and_units_are_taken(tmp_path: Path, name: str) -> None:
    from bactrian.model.language_model import LanguageModel

    network = LanguageModel.load(write_tiny(tmp_path, name)).network
    norms = [m for m in network.modules() if "RMSNorm" in type(m).__name__]
    units = [m for m in network.modules() if hasattr(m, "gate_proj")]
    assert norms and units and all(hasattr(m, "plain") for m in [*norms, *units])
    twin = copy.deepcopy(network)
    assert [type(m) for m in twin.modules()] == [type(m) for m in network.modules()]
    assert twin.state_dict().keys() == network.state_dict().keys()


def test_a_norm_that_does_something_else_is_left_alone() -> None:
    class OddRMSNorm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = torch.nn.Parameter(torch.ones(8)), 1e-5

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight * 2

    odd = OddRMSNorm()
    fused.fuse(odd)
    assert type(odd) is OddRMSNorm


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "olmo2"])
def test_a_gpu_s_norm_is_the_model_s(architecture: str, tmp_path: Path) -> None:
    """torch's one kernel takes a norm's place there if it does the same on a probe; it has a CPU's form too."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(write_tiny(tmp_path, architecture))
    norms = [module for module in network.modules() if fused.epsilon_of(module) is not None]
    assert norms
    for norm in norms:
        probe = torch.linspace(-2, 3, 3 * len(norm.weight)).view(3, -1)
        with torch.no_grad():
            found = torch.nn.functional.rms_norm(probe, norm.weight.shape, norm.weight, fused.epsilon_of(norm))
            assert fused.alike(found, norm(probe))
