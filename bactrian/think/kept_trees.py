"""Tree search as a method of test-time compute: trees kept question by question, and the vote of their leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bactrian.progress import progress
from bactrian.think import attempt
from bactrian.think.attempt import Chosen, vote
from bactrian.think.draws import ThoughtDraw, describe
from bactrian.think.forcing import ThinkingQuestion
from bactrian.think.kept_thoughts import KeptThoughts
from bactrian.think.tree import Branch, Search, grow

Row = dict[str, Any]
BranchRewards = Callable[[Row, ThinkingQuestion, Sequence[Branch]], Sequence[float]]
"""(problem, question, branches) → how good each branch is so far, in (0, 1]."""
TREES_AT_ONCE = 16
"""Questions whose trees grow together; a kill loses no more than these."""


@dataclass(frozen=True)
class TreeSettings:
    """label: of the method. by, judge: what judges steps, and its content; the others as in `Search` and `Budget`."""

    label: str
    budget: int
    step_tokens: int
    balance: float
    by: str
    judge: str


@dataclass(frozen=True)
class KeptTrees:
    """The trees of one method."""

    thoughts: KeptThoughts
    settings: TreeSettings
    rewards: BranchRewards

    def chosen(self, draw: ThoughtDraw) -> list[Chosen]:
        """The weighted vote of each question's leaves; `draw.n`: the width."""
        settings = self.settings
        what = {
            "what": "trees",
            "draw": asdict(draw),
            "step_tokens": settings.step_tokens,
            "by": settings.by,
            "balance": settings.balance,
            "reward_model": settings.judge,
        }
        kept = self.thoughts.kept(what, lambda rows, path: self._search(draw, rows, path))
        found = []
        for row in self.thoughts.rows:
            attempts, more = kept[row["id"]]
            best = vote(attempts, more["rewards"])
            inside = sum(a.thinking_tokens <= settings.budget for a in attempts) / len(attempts)
            found.append(Chosen(best, more["thinking_tokens"], more["sampled"], inside))
        return found

    def _search(self, draw: ThoughtDraw, rows: list[Row], path: Path) -> None:
        """Grow trees, some questions at a time, and keep the leaves of each."""
        title, total = f"scaling · {self.settings.label}, {describe(draw)}", len(self.thoughts.rows)
        with progress(title, total=total, unit="question", done=total - len(rows)) as bar:
            for start in range(0, len(rows), TREES_AT_ONCE):
                self._grow(draw, rows[start : start + TREES_AT_ONCE], path, bar.advance)

    def _grow(self, draw: ThoughtDraw, rows: Sequence[Row], path: Path, advance: Callable[[], None]) -> None:
        thoughts, settings = self.thoughts, self.settings
        questions = [replace(thoughts.question(row, draw), n=1) for row in rows]
        trees = grow(
            thoughts.engine,
            questions,
            thoughts.form,
            thoughts.budget(draw),
            Search(draw.n, settings.step_tokens, settings.balance),
            lambda number, branches: self.rewards(rows[number], questions[number], branches),
            [row["id"] for row in rows],
        )
        for row, tree in zip(rows, trees, strict=True):
            attempt.append(
                path,
                thoughts.verified(row, tree.leaves),
                rewards=list(tree.rewards),
                thinking_tokens=tree.thinking_tokens,
                sampled=tree.sampled,
            )
            advance()
