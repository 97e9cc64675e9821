"""A thought and its verdict, as kept on disk, and how one answer is chosen of several."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from bactrian.think.thought import Thought
from bactrian.verify import Verdict, at_limit


@dataclass(frozen=True)
class Attempt:
    """One verified thought on a question. Counts are tokens, as of `Thought`; `waits`: ends suppressed."""

    question: str
    sample: int
    thinking: str
    answer: str
    thinking_tokens: int
    answer_tokens: int
    sampled: int
    forced: int
    waits: int
    ended: str
    finish: str
    loop: bool
    logprob: float
    outcome: str
    extracted: str | None
    score: float

    @classmethod
    def of(cls, question: str, sample: int, thought: Thought, verdict: Verdict) -> Self:
        return cls(
            question,
            sample,
            thought.thinking,
            thought.answer,
            thought.thinking_tokens,
            thought.answer_tokens,
            thought.sampled,
            thought.forced_tokens,
            len(thought.waits),
            thought.ended,
            thought.finish,
            thought.loop is not None,
            thought.logprob,
            at_limit(verdict.outcome, thought.finish),
            verdict.extracted,
            verdict.score,
        )

    @property
    def right(self) -> bool:
        return self.outcome == "right"


@dataclass(frozen=True)
class Chosen:
    """What a method answers to one question: an attempt or none at all.

    tokens: the thinking that counts for it. sampled: all tokens that were sampled for it. within: the share of its
    thoughts that kept to what was asked.
    """

    attempt: Attempt | None
    tokens: int
    sampled: int
    within: float = 1.0


Pick = Callable[[Sequence[Attempt]], Chosen]
"""From the attempts at one question, in the order of their samples, to the answer."""


def only(least: float, most: float) -> Pick:
    """The one attempt that there is; within bounds or not."""

    def pick(attempts: Sequence[Attempt]) -> Chosen:
        (attempt,) = attempts
        inside = least <= attempt.thinking_tokens <= most
        return Chosen(attempt, attempt.thinking_tokens, attempt.sampled, float(inside))

    return pick


def first_within(most: int) -> Pick:
    """Rejection sampling: the first attempt that ended its thinking by itself in time; what came before was in vain.

    `tokens` are those of the attempt that is taken, as in the paper; `sampled` counts the rejected ones too. With none
    in time there is no answer, and what was asked was not kept.
    """

    def pick(attempts: Sequence[Attempt]) -> Chosen:
        spent = 0
        for attempt in attempts:
            spent += attempt.sampled
            if attempt.ended != "budget" and attempt.thinking_tokens <= most:
                return Chosen(attempt, attempt.thinking_tokens, spent)
        return Chosen(None, most, spent, 0.0)

    return pick


def majority(count: int, most: float) -> Pick:
    """The answer that most of the first `count` attempts give; of equally frequent ones that which came first."""
    return _best(count, most, lambda attempts: vote(attempts, [1.0] * len(attempts)))


def best_by(count: int, most: float, value: Callable[[Attempt], float]) -> Pick:
    """The attempt with the highest value of the first `count`; of equals the first."""
    return _best(count, most, lambda attempts: max(attempts, key=value))


def _best(count: int, most: float, best: Callable[[Sequence[Attempt]], Attempt]) -> Pick:
    def pick(attempts: Sequence[Attempt]) -> Chosen:
        mine = attempts[:count]
        inside = sum(attempt.thinking_tokens <= most for attempt in mine) / len(mine)
        return Chosen(best(mine), sum(a.thinking_tokens for a in mine), sum(a.sampled for a in mine), inside)

    return pick


def vote(attempts: Sequence[Attempt], weights: Sequence[float]) -> Attempt:
    """The first attempt with the answer of the greatest weight; what was not understood as an answer has no vote."""
    weight: dict[str, float] = {}
    first: dict[str, Attempt] = {}
    for attempt, each in zip(attempts, weights, strict=True):
        if attempt.extracted is not None:
            weight[attempt.extracted] = weight.get(attempt.extracted, 0.0) + each
            first.setdefault(attempt.extracted, attempt)
    return first[max(weight, key=lambda answer: weight[answer])] if weight else attempts[0]


def append(path: Path, attempts: Sequence[Attempt], **more: Any) -> None:
    """Keep the attempts at one question: a line of JSON, which is there whole or, after a kill, not at all."""
    line = {"attempts": [asdict(attempt) for attempt in attempts], **more}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> dict[str, tuple[list[Attempt], Mapping[str, Any]]]:
    """Question → its attempts, and what else was kept of it. A last line that a kill cut in half is taken away."""
    if not path.exists():
        return {}
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + newline, encoding="utf-8")
    names = {field.name for field in fields(Attempt)}
    found = {}
    for line in whole.splitlines():
        kept = json.loads(line)
        attempts = [Attempt(**{name: each[name] for name in names}) for each in kept["attempts"]]
        found[attempts[0].question] = (attempts, kept)
    return found


def attempt_value(
    rows: Sequence[Mapping[str, Any]], reward: Callable[[Mapping[str, Any], str], float]
) -> Callable[[str, Attempt], float]:
    """(by, attempt) → how good the attempt is by "verifier", "confidence" or "reward_model".

    Args:
        rows: the problems.
        reward: (problem, text) → a reward model's score.
    """
    by_id = {row["id"]: row for row in rows}

    def value(by: str, attempt: Attempt) -> float:
        if by == "verifier":
            return float(attempt.right)
        if by == "confidence":
            return attempt.logprob
        return reward(by_id[attempt.question], f"{attempt.thinking}\n\n{attempt.answer}")

    return value
