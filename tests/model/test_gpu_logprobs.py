"""Fused kernels: chosen only where they apply; Liger's gives our numbers, in Triton's interpreter if that is there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bactrian.model import gpu_logprobs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    gpu_logprobs.installed.cache_clear()
    yield
    gpu_logprobs.installed.cache_clear()


class OnGPU(torch.Tensor):
    """Says that it lies on a GPU."""

    device = torch.device("cuda")  # type: ignore[assignment]


def states(dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(2, 4, dtype=dtype).as_subclass(OnGPU)


def only(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(gpu_logprobs, "find_spec", lambda name: name in packages or None)


def test_the_choice_among_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "cut_cross_entropy")
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 1.0, None) is gpu_logprobs.by_cut_cross_entropy
    gpu_logprobs.installed.cache_clear()
    only(monkeypatch, "cut_cross_entropy", "liger_kernel")
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 0.7, None) is gpu_logprobs.by_liger
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 1.0, 30.0) is gpu_logprobs.by_liger
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 0.7, 30.0) is None  # the cap comes first
    assert gpu_logprobs.kernel_for(states(torch.float32), 1.0, None) is None
    assert gpu_logprobs.kernel_for(torch.zeros(2, 4, dtype=torch.bfloat16), 1.0, None) is None


def test_where_there_is_none_or_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 1.0, None) is None
    gpu_logprobs.installed.cache_clear()
    only(monkeypatch, "liger_kernel")
    monkeypatch.setenv("BACTRIAN_FUSED", "0")
    assert gpu_logprobs.kernel_for(states(torch.bfloat16), 1.0, None) is None


COMPARED = """
import json, torch
from bactrian.model import gpu_logprobs
from bactrian.model.logprobs import token_logprobs

torch.manual_seed(0)
worst = {}
for dtype in (torch.float32, torch.bfloat16):
    hidden, weight = torch.randn(24, 64), 0.2 * torch.randn(300, 64)
    targets, upstream = torch.randint(0, 300, (24,)), torch.randn(24)
    found = []
    ours = lambda h, w, t, temperature, _: token_logprobs(h, w, t, temperature=temperature)
    for one in (gpu_logprobs.by_liger, ours):
        h, w = (x.clone().to(dtype).requires_grad_() for x in (hidden, weight))
        out = one(h, w, targets, 0.7, None)
        torch.autograd.backward(out @ upstream)
        found.append([x.double() for x in (out.detach(), h.grad, w.grad)])
    worst[str(dtype)] = max(float((a - b).norm() / b.norm()) for a, b in zip(*found))
print(json.dumps(worst))
"""


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("triton") and find_spec("liger_kernel")), reason="needs triton and liger-kernel")
def test_liger_s_log_probs_and_gradients_are_ours() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    ran = subprocess.run([sys.executable, "-c", COMPARED], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    worst = json.loads(ran.stdout.splitlines()[-1])
    assert worst["torch.float32"] < 1e-5 and worst["torch.bfloat16"] < 0.02
