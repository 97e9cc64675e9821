"""Asynchronous training without a cluster: the account, made-up schedules, weights as bytes, answers in pieces."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.packing import Group, plant
from bactrian.train.batches import answer_tokens
from bactrian.train.rl.asynchronous.books import TRIES, Books, Share
from bactrian.train.rl.asynchronous.pieces import in_pieces
from bactrian.train.rl.asynchronous.weights import checksum, receive, sent
from bactrian.train.rl.rollouts import Rollout
from tests.model.tiny import write_tiny
from tests.train.bench import load
from tests.train.schedules import Plan, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def groups(share: Share, *spans: tuple[int, int, int]) -> list[list[Rollout]]:
    one = Rollout((5,) * spans[-1][1], (-1.0,) * spans[-1][1], 1.0, True, min(v for *_, v in spans), spans=spans)
    return [[one] for _ in share.problems]


def test_a_thousand_schedules_in_which_all_goes_wrong() -> None:
    """Each batch is the right problems, each once, no token too old; exact ones are what one process would sample."""
    told: Counter[str] = sum((run(Plan.drawn(seed)) for seed in range(1000)), Counter())
    assert told["batches"] == told["steps"]
    assert all(told[what] > 200 for what in ("deaths", "twice", "stale", "kills", "checkpoints"))


@pytest.mark.heavy
def test_ten_thousand_more() -> None:
    for seed in range(1000, 11_000):
        run(Plan.drawn(seed))


def test_a_share_counts_once_whoever_answers_it() -> None:
    books = Books(exact=False)
    books.open(3, 0, [7, 8, 9], version=1, parts=2)
    first, second = books.hand_out(0), books.hand_out(0)
    assert first == Share(3, 0, (7,), 1) and second == Share(3, 1, (8, 9), 1) and books.hand_out(1) is None
    books.lost(0)
    assert books.hand_out(1) == first
    assert books.deliver(first, groups(first, (0, 2, 1))) == "taken"  # from the worker that was thought lost
    assert books.deliver(first, groups(first, (0, 2, 1))) == "twice"  # from the other
    assert books.deliver(second, groups(second, (0, 1, 1), (1, 2, 0))) == "stale" and not books.complete(3, 0)
    again = books.hand_out(1)
    assert again == second and books.deliver(second, groups(second, (0, 1, 1), (1, 3, 2))) == "taken"
    assert books.complete(3, 0) and len(books.take(3, 0)) == 3 and not books.needed()
    assert books.deliver(second, groups(second, (0, 1, 1))) == "twice"
    with pytest.raises(ValueError, match="opened twice"):
        books.open(3, 0, [7], version=1, parts=1)


def test_what_comes_back_must_be_answers_to_what_was_asked() -> None:
    books = Books(exact=True)
    books.open(0, 0, [1, 2], version=0, parts=1)
    share = books.hand_out(0)
    assert share is not None
    with pytest.raises(ValueError, match="1 groups of answers"):
        books.deliver(share, groups(share, (0, 2, 0))[:1])
    for spans in [((0, 2, 0), (3, 4, 0)), ((1, 2, 0),)]:  # a gap; a beginning that is nobody's
        with pytest.raises(ValueError, match=r"spans .* tokens"):
            books.deliver(share, groups(share, *spans))
    assert books.deliver(share, groups(share, (0, 2, 1))) == "stale"  # newer, where it is to be exact


def test_what_ends_every_sampler_ends_the_run() -> None:
    books = Books(exact=True)
    books.open(4, 0, [1, 2], version=0, parts=1)
    for worker in range(TRIES):
        assert books.hand_out(worker)
        books.lost(worker)
    with pytest.raises(BactrianError, match=r"step 5: 2 problems were given to samplers 5 times"):
        books.hand_out(TRIES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_arrive_to_the_bit(folder: Path, dtype: str) -> None:
    mine, other = load(folder, dtype), load(folder, dtype)
    with torch.no_grad():
        for weight in mine.network.parameters():
            weight.mul_(1.37)
    assert checksum(mine) != checksum(other)
    receive(other, sent(mine))
    assert checksum(mine) == checksum(other)
    with pytest.raises(ValueError, match="differ"):
        receive(other, {})


def test_in_pieces_without_new_weights_it_is_the_same_answer(folder: Path) -> None:
    engine = LocalEngine(load(folder))
    asked = [Request((5, 9, 14 + n), n=3, seed=n, max_new_tokens=11) for n in range(3)]
    plain = engine.generate(asked)
    pieces = in_pieces(engine, asked, 4, lambda: False, lambda: None)
    assert [[said for said, _ in group] for group in pieces] == plain
    assert all(spans == ((0, len(said.ids), 0),) for group in pieces for said, spans in group)


def test_each_token_has_the_log_probability_of_the_weights_that_its_span_names(folder: Path) -> None:
    model = load(folder)
    engine, asked = LocalEngine(model), [Request((5, 9, 14 + n), n=2, seed=n, max_new_tokens=9) for n in range(3)]
    versions = [load(folder)]

    def renew() -> None:
        with torch.no_grad():
            for weight in model.network.parameters():
                weight.mul_(1.15)
        versions.append(load(folder))
        receive(versions[-1], sent(model))
        engine.version += 1

    answers = in_pieces(engine, asked, 2, lambda: True, renew)
    assert len(versions) > 3 and max(len(spans) for group in answers for _, spans in group) == 5
    for asking, group in zip(asked, answers, strict=True):
        for said, spans in group:
            assert said.version == spans[0][2] and spans[-1][1] == len(said.ids) == len(said.logprobs)
            forest, places = plant([Group(asking.prompt, (said.ids,))])
            for start, end, version in spans:
                with torch.no_grad():
                    found = versions[version].logprobs(forest, answer_tokens(places)[0])[start:end]
                torch.testing.assert_close(found, torch.tensor(said.logprobs[start:end]), atol=1e-4, rtol=0)
