"""Mixtures of experts by grouped products: transformers' logits, gradients and auxiliary losses."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.nn.functional import silu
from transformers import AutoModelForCausalLM
from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model import experts as experts_module
from bactrian.model.experts import _Experts, _Slots, routing_noted
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.train.objectives import load_balance, router_z_loss
from tests.model.tiny import write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "olmoe", num_hidden_layers=2)


def theirs_of(folder: Path) -> Any:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    network.set_experts_implementation("eager")
    return network


@given(st.integers(1, 9), st.integers(2, 7), st.sampled_from([1, 4]), st.data())
def test_slots_are_sorted_by_expert_and_find_their_tokens(
    tokens: int, experts: int, step: int, data: st.DataObject
) -> None:
    active = data.draw(st.integers(1, experts))
    rows = [data.draw(st.permutations(range(experts)))[:active] for _ in range(tokens)]
    slots = _Slots(torch.tensor(rows), experts, step)
    counts = [sum(e in row for row in rows) for e in range(experts)]
    lengths = [end - start for start, end in pairwise([0, *slots.ends.tolist()])]
    assert lengths == [-(-count // step) * step for count in counts]
    expert_at = [e for e, length in enumerate(lengths) for _ in range(length)]
    for token, places in enumerate(slots.place.tolist()):
        assert [slots.tokens[at] for at in places] == [token] * active
        assert [expert_at[at] for at in places] == list(rows[token])
    shares = 1.0 + torch.arange(tokens * active).view(tokens, active)
    spread = slots.spread(shares)[:, 0]
    assert len(spread) == slots.count and torch.equal(spread[slots.place], shares) and spread.sum() == shares.sum()


@settings(max_examples=25)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=12), st.integers(0, 4), st.booleans())
def test_as_one_token_after_the_other_also_where_experts_are_idle(
    drawn: list[list[int]], idle: int, filled: bool
) -> None:
    chosen = torch.tensor([[each for each in row if each != idle][:2] for row in drawn])
    generator = torch.Generator().manual_seed(len(drawn))

    def given_numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    x, shares = given_numbers(len(drawn), 8), given_numbers(len(drawn), 2)
    gate_up, down = given_numbers(5, 32, 8), given_numbers(5, 8, 16)
    rows = []
    for token, experts in enumerate(chosen.tolist()):
        units = [(gate_up[e] @ x[token]).chunk(2) for e in experts]
        rows.append(
            sum(shares[token, n] * (down[e] @ (silu(units[n][0]) * units[n][1])) for n, e in enumerate(experts))
        )
    upstream = torch.randn(len(drawn), 8, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experts_module, "FILLED", (torch.float32,) if filled else ())
        ours = _Experts.apply(x, chosen, shares, gate_up, down, 0)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, torch.stack(rows), rtol=1e-4, atol=1e-4)
    everything = (x, shares, gate_up, down)
    mine = torch.autograd.grad((ours * upstream).sum(), everything)
    yours = torch.autograd.grad((torch.stack(rows) * upstream).sum(), everything)
    for a, b in zip(mine, yours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert not mine[2][idle].any() and not mine[3][idle].any()


def test_logits_and_gradients_are_transformers_own(folder: Path) -> None:
    ours, theirs = LanguageModel.load(folder), theirs_of(folder)
    ids = torch.randint(3, 60, (40,), generator=torch.Generator().manual_seed(1))
    states = ours.forward(Forest.of([Segment(tuple(ids.tolist()))]))
    logits, expected = states @ ours.head.T, theirs(input_ids=ids[None], use_cache=False).logits[0]
    assert float((logits - expected).detach().abs().max()) <= 1e-4
    upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    (logits * upstream).sum().backward()
    (expected * upstream).sum().backward()
    weights = dict(theirs.named_parameters())
    assert {name.rpartition(".")[2] for name in weights} >= {"gate_up_proj", "down_proj"}
    for name, weight in ours.network.named_parameters():
        assert weight.grad is not None and weights[name].grad is not None
        torch.testing.assert_close(weight.grad, weights[name].grad, rtol=1e-4, atol=1e-4, msg=name)


def test_auxiliary_losses_are_transformers_own_but_for_their_normalisation(folder: Path) -> None:
    """Theirs pools the layers before the product of shares and probabilities, and counts each of k choices."""
    ours, theirs = LanguageModel.load(folder), theirs_of(folder)
    ids = torch.randint(3, 60, (50,), generator=torch.Generator().manual_seed(3))
    with routing_noted() as routing:
        ours.forward(Forest.of([Segment(tuple(ids.tolist()))]))
    logits = theirs(input_ids=ids[None], use_cache=False, output_router_logits=True).router_logits
    assert len(routing) == len(logits) == 2
    for mine, plain in zip(routing, logits, strict=True):
        torch.testing.assert_close(mine.logits, plain, rtol=1e-4, atol=1e-5)
        expected = load_balancing_loss_func((plain,), 6, 2)
        torch.testing.assert_close(2 * load_balance(mine.logits, mine.chosen), expected, rtol=1e-5, atol=1e-6)
        z = torch.logsumexp(plain, -1).square().sum() / len(ids)
        torch.testing.assert_close(router_z_loss(mine.logits), z, rtol=1e-4, atol=1e-6)
    even = torch.arange(12).view(6, 2) % 6
    assert float(load_balance(torch.zeros(6, 6), even)) == pytest.approx(1.0)
    assert float(load_balance(10 * torch.eye(6)[[0] * 6], torch.tensor([[0, 1]] * 6))) > 2.9


def test_it_samples_as_transformers_does(folder: Path) -> None:
    prompt = tuple(torch.randint(3, 60, (9,), generator=torch.Generator().manual_seed(4)).tolist())
    engine = LocalEngine(LanguageModel.load(folder))
    ((answer,),) = engine.generate([Request(prompt, max_new_tokens=6, temperature=0.0)])
    theirs = theirs_of(folder).generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)
    assert answer.ids == tuple(theirs[0, len(prompt) :].tolist())


def test_each_expert_is_saved_by_itself_as_published_models_are(folder: Path, tmp_path: Path) -> None:
    LanguageModel.load(folder).save(tmp_path / "again")
    with safe_open(tmp_path / "again" / "model.safetensors", framework="pt") as file:
        assert "model.layers.0.mlp.experts.5.down_proj.weight" in set(file.keys())
    again = LanguageModel.load(tmp_path / "again").network.state_dict()
    assert all(
        torch.equal(again[name], weight) for name, weight in LanguageModel.load(folder).network.state_dict().items()
    )
