"""Tree search guided by a process reward, after REBASE [Wu et al. 2024].

Thinking grows step by step (a line, or so many tokens). After each step the branches that are left share the width that
finished ones have not used, by softmax of their rewards over `balance`: good ones branch, bad ones end. The answer is a
vote of all leaves, weighted by their rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bactrian.chat import ThinkingFormat
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.think.forcing import ThinkingQuestion, answer_request, thinking_limits
from bactrian.think.loops import find_loop
from bactrian.think.markers import Markers, Tail
from bactrian.think.thought import Budget, Ended, Thought


@dataclass(frozen=True)
class Branch:
    """Thinking so far. ids: after the opened prompt. ended: None while it goes on. sampled: tokens of its last step.

    logprobs: of all its sampled tokens. reward: in (0, 1]. children: how many steps are tried from it next.
    """

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    ended: Ended | None = None
    reward: float = 1.0
    children: int = 0
    fresh: int = 0  # tokens of the last step


Rewards = Callable[[int, Sequence[Branch]], Sequence[float]]
"""(question's number, branches) → how good each is so far, in (0, 1]."""


@dataclass(frozen=True)
class Search:
    """width: branches at once; step_tokens: longest step; balance: temperature of the softmax over rewards."""

    width: int = 4
    step_tokens: int = 32
    balance: float = 0.1


@dataclass(frozen=True)
class Tree:
    """The leaves of a search as thoughts, their rewards, and all that was sampled for them."""

    leaves: tuple[Thought, ...]
    rewards: tuple[float, ...]
    thinking_tokens: int
    sampled: int


def confidence(branches: Sequence[Branch]) -> list[float]:
    """The process reward of a model that has none other: its probability of the last step, geometric mean of tokens."""
    means = [float(np.mean(b.logprobs[-b.fresh :])) if b.fresh and b.logprobs else 0.0 for b in branches]
    return [float(np.exp(mean)) for mean in means]


def shares(rewards: Sequence[float], width: int, balance: float) -> list[int]:
    """`width` children among branches by softmax(reward / balance), largest remainders first; the best has one.

    >>> shares([0.9, 0.9, 0.1], 4, 0.1)
    [2, 2, 0]
    """
    scaled = np.asarray(rewards) / balance
    weights = np.exp(scaled - scaled.max())
    exact = width * weights / weights.sum()
    counts = np.floor(exact + 1e-9).astype(int)
    for place in np.argsort(-(exact - counts), kind="stable")[: width - counts.sum()]:
        counts[place] += 1
    return [int(count) for count in counts]


def grow(
    engine: Engine,
    questions: Sequence[ThinkingQuestion],
    form: ThinkingFormat,
    budget: Budget,
    search: Search,
    rewards: Rewards = lambda _, branches: confidence(branches),
    names: Sequence[str] | None = None,
) -> list[Tree]:
    """A tree for each question, all grown together; of a question its prompt, seed and temperature
    count.

    No leaf's thinking is longer than the budget. A step's prefix is forwarded once for all its
    children, and again for the next step: only what is sampled is counted.

    Raises:
        BactrianError: for a budget that does not fit the context.
    """
    markers = Markers(engine.template, form, budget.final)
    names = names or [f"question {number}" for number in range(len(questions))]
    limits = thinking_limits(questions, markers, budget, engine.longest, names)
    alive = [[Branch(children=search.width)] if limit else [] for limit in limits]
    leaves: list[list[Branch]] = [[] if limit else [Branch(ended="budget")] for limit in limits]
    spent = [0] * len(questions)
    depth = 0
    while any(alive):
        asked, of = _steps(questions, alive, limits, markers, search, depth)
        groups = engine.generate(asked)
        depth += 1
        grown: list[list[Branch]] = [[] for _ in questions]
        for (number, parent), group in zip(of, groups, strict=True):
            for said in group:
                spent[number] += len(said.ids)
                grown[number].append(_child(parent, said, limits[number], markers))
        for number, branches in enumerate(grown):
            if not branches:
                continue
            valued = zip(branches, rewards(number, branches), strict=True)
            branches = [replace(branch, reward=reward) for branch, reward in valued]
            leaves[number] += [branch for branch in branches if branch.ended]
            left = [branch for branch in branches if not branch.ended]
            width = search.width - len(leaves[number])
            if width < 1 or not left:
                alive[number] = []
                continue
            counts = shares([branch.reward for branch in left], width, search.balance)
            alive[number] = [replace(b, children=n) for b, n in zip(left, counts, strict=True) if n]
    return _answers(engine, questions, leaves, spent, markers, budget)


def _steps(
    questions: Sequence[ThinkingQuestion],
    alive: Sequence[Sequence[Branch]],
    limits: Sequence[int],
    markers: Markers,
    search: Search,
    depth: int,
) -> tuple[list[Request], list[tuple[int, Branch]]]:
    """The next step of every branch, and whose it is. Each has a random stream of its own, by depth and place."""
    asked, of = [], []
    for number, branches in enumerate(alive):
        question = questions[number]
        for place, branch in enumerate(branches):
            size = min(search.step_tokens, limits[number] - len(branch.ids))
            seed = (question.seed * 1_000_003 + depth) * 1_009 + place
            asked.append(
                Request(
                    (*question.prompt, *branch.ids),
                    branch.children,
                    seed % 2**63,
                    size,
                    question.temperature,
                    question.top_p,
                    stop=(*markers.stop, "\n"),
                    stop_ids=markers.stop_ids,
                )
            )
            of.append((number, branch))
    return asked, of


def _child(parent: Branch, said: Completion, limit: int, markers: Markers) -> Branch:
    """A branch one step longer; it ends if that uses up the budget, or is nothing but half an ending."""
    ended: Ended | None = "budget" if len(parent.ids) + len(said.ids) >= limit else None
    tail = Tail(0)
    if said.finish == "length":
        tail = markers.half_an_ending(said.ids)
        ended = "budget" if tail.tokens == len(said.ids) else ended
    elif said.ids[-1] in markers.ends:
        ended, tail = "turn", Tail(1)
    elif said.ids[-1] in markers.stop_ids or any(stop in markers.text(said.ids) for stop in markers.stop):
        ended, tail = "itself", markers.ending(said.ids)
    kept = len(said.ids) - tail.tokens
    return Branch(parent.ids + said.ids[:kept], parent.logprobs + said.logprobs[:kept], ended, fresh=kept)


def _answers(
    engine: Engine,
    questions: Sequence[ThinkingQuestion],
    leaves: Sequence[Sequence[Branch]],
    spent: Sequence[int],
    markers: Markers,
    budget: Budget,
) -> list[Tree]:
    """Every leaf's thinking closed, and its answer."""
    asked, of = [], []
    for number, branches in enumerate(leaves):
        for branch in branches:
            closing = markers.closing + (markers.final if branch.ended == "budget" else ())
            prompt = (*questions[number].prompt, *branch.ids)
            asked.append(answer_request(replace(questions[number], prompt=prompt, n=1), closing, markers, budget))
            of.append((number, branch, closing))
    thoughts: list[list[Thought]] = [[] for _ in questions]
    for (number, branch, closing), (said,) in zip(of, engine.generate(asked), strict=True):
        thoughts[number].append(_thought(branch, closing, said, markers, budget))
    return [
        Tree(tuple(mine), tuple(b.reward for b in branches), total, total + sum(t.answer_tokens for t in mine))
        for mine, branches, total in zip(thoughts, leaves, spent, strict=True)
    ]


def _thought(branch: Branch, closing: tuple[int, ...], said: Completion, markers: Markers, budget: Budget) -> Thought:
    assert branch.ended is not None
    answer = markers.answer(said.ids).strip()
    if branch.ended == "budget":
        answer = f"{budget.final} {answer}".strip()
    size = len(branch.ids)
    logprobs = (*branch.logprobs, *said.logprobs)
    return Thought(
        ids=(*branch.ids, *closing, *said.ids),
        thinking=markers.text(branch.ids).strip(),
        answer=answer,
        thinking_tokens=size,
        answer_tokens=len(said.ids),
        ended=branch.ended,
        waits=(),
        forced=((size, size + len(closing)),),
        sampled=size + len(said.ids),
        taken_back=0,
        finish=said.finish,
        logprob=float(np.mean(logprobs)) if logprobs else 0.0,
        loop=find_loop(branch.ids),
    )
