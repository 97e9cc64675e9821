"""Groups of rollouts: a verifier that failed says nothing of an answer, and moves nothing."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bactrian.train.losses import ADVANTAGES
from bactrian.train.rl.rollouts import Rollout, gather, headline, without_failures

scored = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=2, max_size=8)


def rollouts_of(group: Sequence[tuple[float, bool]], version: int = 0) -> list[Rollout]:
    return [Rollout((1,), (0.0,), score, True, version, judged) for score, judged in group]


@given(scored, st.sampled_from(["std", "none", "rloo"]))
def test_an_answer_that_was_not_judged_has_no_advantage(group: list[tuple[float, bool]], scale: str) -> None:
    rollouts = rollouts_of(group)
    rewards = without_failures([rollout.score for rollout in rollouts], rollouts)
    advantages = ADVANTAGES.use(scale)(torch.tensor([rewards], dtype=torch.float64))[0]
    for rollout, advantage in zip(rollouts, advantages.tolist(), strict=True):
        assert rollout.judged or advantage == pytest.approx(0.0, abs=1e-6)
    known = [(score, a) for (score, judged), a in zip(group, advantages.tolist(), strict=True) if judged]
    assert all(a > b or score <= other for score, a in known for other, b in known), "the order of the others is kept"


def test_a_group_in_which_nothing_was_judged_is_not_alive_and_all_are_counted() -> None:
    groups = {0: [(0.0, False), (0.0, False)], 1: [(1.0, True), (0.0, True)], 2: [(1.0, True), (0.0, False)]}

    class Fixed:
        def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
            return [rollouts_of(groups[problem], version) for problem in problems]

        def prompt(self, problem: int) -> tuple[int, ...]:
            return (1,)

    found = gather(Fixed(), lambda _, rollouts: [r.score for r in rollouts], 3, 3, step=0, seed=0)
    assert {group.problem: group.alive for group in found} == {0: False, 1: True, 2: False}
    assert headline(found)["unjudged"] == 0.5
