"""Log-probabilities without logits = log softmax of the logits, forward and backward."""

import pytest
import torch

from bactrian.model import logprobs as module
from bactrian.model.logprobs import token_logprobs, token_logprobs_and_entropy, token_logprobs_and_sums


def plain(hidden: torch.Tensor, weight: torch.Tensor, temperature: float, softcap: float | None) -> torch.Tensor:
    logits = hidden @ weight.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return (logits / temperature).log_softmax(-1)


@pytest.mark.parametrize("keep", [0, 10**9])
@pytest.mark.parametrize("chunk", [64, 10**9])
@pytest.mark.parametrize(("temperature", "softcap"), [(1.0, None), (0.7, None), (1.0, 2.0), (1.3, 2.0)])
def test_equals_log_softmax(
    monkeypatch: pytest.MonkeyPatch, keep: int, chunk: int, temperature: float, softcap: float | None
) -> None:
    monkeypatch.setattr(module, "KEEP_ELEMENTS", keep)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", min(chunk, 60))
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    targets, upstream = torch.randint(20, (11,)), torch.randn(11)
    ours = token_logprobs(hidden, weight, targets, temperature=temperature, softcap=softcap)
    theirs = plain(hidden, weight, temperature, softcap).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad((ours * upstream).sum(), (hidden, weight), retain_graph=True)
    yours = torch.autograd.grad((theirs * upstream).sum(), (hidden, weight))
    for a, b in zip(mine, yours, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    again = torch.autograd.grad((ours * upstream).sum(), (hidden, weight))  # a second backward is the same
    for a, b in zip(mine, again, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("keep", [0, 10**9])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_sum_exps_and_their_gradient(
    monkeypatch: pytest.MonkeyPatch, keep: int, softcap: float | None, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(module, "KEEP_ELEMENTS", keep)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 64)
    torch.manual_seed(0)
    hidden, weight = (torch.randn(n, 8, dtype=dtype, requires_grad=True) for n in (11, 20))
    targets, upstream = torch.randint(20, (11,)), torch.randn(2, 11, dtype=dtype)
    logprobs, sums = token_logprobs_and_sums(hidden, weight, targets, softcap=softcap)
    logits = hidden @ weight.T
    capped = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    truth = capped.logsumexp(-1)
    torch.testing.assert_close(sums, truth)
    picked = capped.gather(-1, targets[:, None])[:, 0] - truth
    for part in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0)):
        ours = part[0] * logprobs @ upstream[0] + part[1] * sums.square() @ upstream[1]
        theirs = part[0] * picked @ upstream[0] + part[1] * truth.square() @ upstream[1]
        mine = torch.autograd.grad(ours, (hidden, weight), retain_graph=True)
        yours = torch.autograd.grad(theirs, (hidden, weight), retain_graph=True)
        for a, b in zip(mine, yours, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("keep", [0, 10**9])
def test_bfloat16_is_as_near_the_truth_as_one_rounding(
    monkeypatch: pytest.MonkeyPatch, keep: int, native: bool
) -> None:
    """However many slices: a weight's gradient is one sum over all rows in float32."""
    monkeypatch.setattr(module, "KEEP_ELEMENTS", keep)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 2048)
    if not native:
        monkeypatch.setattr(module, "usable", lambda _: False)
    torch.manual_seed(0)
    given = torch.randn(300, 16).bfloat16(), torch.randn(700, 16).bfloat16()
    hidden, weight = (x.requires_grad_() for x in given)
    wide = tuple(x.detach().double().requires_grad_() for x in given)
    targets, upstream = torch.randint(700, (300,)), torch.rand(300)
    token_logprobs(hidden, weight, targets).mul(upstream).sum().backward()
    truth = plain(*wide, 1.0, None).gather(-1, targets[:, None])[:, 0]
    (truth * upstream).sum().backward()
    for mine, exact in zip((hidden, weight), wide, strict=True):
        assert mine.grad is not None and exact.grad is not None
        assert float((mine.grad.double() - exact.grad).norm() / exact.grad.norm()) < 0.006


@pytest.mark.parametrize(("temperature", "softcap"), [(1.0, None), (0.7, 2.0)])
def test_entropy(temperature: float, softcap: float | None) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 8), torch.randn(20, 8)
    logs = plain(hidden, weight, temperature, softcap)
    expected = -(logs.exp() * logs).sum(-1)
    targets = torch.randint(20, (7,))
    logprobs, entropy = token_logprobs_and_entropy(hidden, weight, targets, temperature=temperature, softcap=softcap)
    torch.testing.assert_close(entropy, expected)
    assert torch.equal(logprobs, token_logprobs(hidden, weight, targets, temperature=temperature, softcap=softcap))


def test_nothing_to_score() -> None:
    weight = torch.randn(5, 4, requires_grad=True)
    assert token_logprobs(torch.randn(0, 4), weight, torch.zeros(0, dtype=torch.long)).shape == (0,)
