"""Continuations' likelihoods against transformers' plain forward; trunks against no trunks."""

from typing import Any

import pytest
import torch

from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.model.ranking import Ask, likelihoods

from .tiny import write_tiny


@pytest.fixture(scope="module", params=["llama", "gemma3-capped"])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp(request.param), request.param))


def asks(shared: int) -> list[Ask]:
    draw = torch.Generator().manual_seed(3)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 20, (count,), generator=draw).tolist())

    trunks = [ids(9), ids(14)]
    return [
        Ask(trunks[i % 2] + ids(2 + i % 5), tuple(ids(1 + (i + j) % 4) for j in range(3)), min(shared, 9) * (i != 4))
        for i in range(11)
    ]


def scored(model: LanguageModel, given: list[Ask], budget: int = 8192) -> list[list[Any]]:
    found = dict(pair for batch in likelihoods(model, given, budget) for pair in batch)
    return [found[i] for i in range(len(given))]


def test_likelihoods_are_those_of_a_plain_forward(model: LanguageModel) -> None:
    given = asks(9)
    for ask, found in zip(given, scored(model, given), strict=True):
        for option, likelihood in zip(ask.options, found, strict=True):
            plain = model._plain_logprobs(ask.context + option)[-len(option) :]
            assert likelihood.logprob == pytest.approx(float(plain.sum()), abs=2e-4)
            assert likelihood.tokens == len(option)


def test_neither_trunks_nor_the_budget_change_a_likelihood(model: LanguageModel) -> None:
    once = scored(model, asks(0))
    for shared, budget in ((9, 8192), (5, 20), (0, 1)):
        for one, other in zip(once, scored(model, asks(shared), budget), strict=True):
            for a, b in zip(one, other, strict=True):
                assert a.logprob == pytest.approx(b.logprob, abs=1e-4) and a.greedy == b.greedy


def test_greedy_is_told(model: LanguageModel) -> None:
    engine = LocalEngine(model)
    engine.ends = frozenset()
    context = (3, 4, 5, 6)
    ids = engine.generate([Request(context, max_new_tokens=3, temperature=0.0)])[0][0].ids
    (found,) = scored(model, [Ask(context, (ids, (ids[0], ids[1], (ids[2] + 1) % 20 + 1)))])
    assert [each.greedy for each in found] == [True, False]


def test_a_shared_trunk_changes_no_sample_and_is_forwarded_once(model: LanguageModel) -> None:
    engine = LocalEngine(model, rows=3)
    engine.ends = frozenset()
    trunks = [tuple(range(1, 13)), tuple(range(12, 0, -1))]
    prompts = [trunks[i % 2] + (i % 7 + 1, i % 5 + 1) for i in range(8)]
    plain = [Request(p, seed=i, max_new_tokens=6, n=1 + i % 2) for i, p in enumerate(prompts)]
    hinted = [Request(p, seed=i, max_new_tokens=6, n=1 + i % 2, shared=12) for i, p in enumerate(prompts)]
    engine.forwarded = 0
    expected = engine.generate(plain)
    without, engine.forwarded = engine.forwarded, 0
    found = engine.generate(hinted)
    assert [[c.ids for c in group] for group in found] == [[c.ids for c in group] for group in expected]
    if engine.decoder is not None:
        assert engine.forwarded < without


@pytest.mark.parametrize("wrong", [((), ((1,),), 0), ((1,), (), 0), ((1,), ((),), 0), ((1, 2), ((1,),), 2)])
def test_an_ask_without_tokens_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        Ask(*wrong)
