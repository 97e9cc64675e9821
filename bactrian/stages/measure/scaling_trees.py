"""Tree search as a method of stage `scaling`: what judges its steps, and trees kept question by question."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bactrian.stages.measure.thinking_methods import Draw, Point, TreeSearch, describe

if TYPE_CHECKING:
    from bactrian.stages.measure.scaling import Comparing
    from bactrian.think.attempt import Chosen
    from bactrian.think.forcing import Question
    from bactrian.think.tree import Rewards

Row = dict[str, Any]
TREES_AT_ONCE = 16
"""Questions whose trees grow together; a kill loses no more than these."""


@dataclass
class Trees:
    """The trees of one method."""

    comparing: "Comparing"
    method: TreeSearch

    def chosen(self, point: Point) -> "list[Chosen]":
        """The weighted vote of each question's leaves."""
        from bactrian.think.attempt import Chosen, vote

        method = self.method
        what = {
            "what": "trees",
            "draw": asdict(point.draw),
            "step_tokens": method.step_tokens,
            "by": method.by,
            "balance": method.balance,
            "reward_model": self._judge_hash(),
        }
        kept = self.comparing.kept(what, lambda rows, path: self._search(point.draw, rows, path))
        found = []
        for row in self.comparing.rows:
            attempts, more = kept[row["id"]]
            best = vote(attempts, more["rewards"])
            inside = sum(a.thinking_tokens <= method.budget for a in attempts) / len(attempts)
            found.append(Chosen(best, more["thinking_tokens"], more["sampled"], inside))
        return found

    def _judge_hash(self) -> str:
        """The content of the model that judges steps, if one does."""
        stage, workspace = self.comparing.stage, self.comparing.workspace
        ref = {"reward_model": stage.reward_model, "process_reward": stage.process_reward}.get(self.method.by)
        return workspace.input(ref).content_hash if ref else ""

    def _search(self, draw: Draw, rows: list[Row], path: Path) -> None:
        """Grow trees, some questions at a time, and keep the leaves of each."""
        from bactrian.progress import progress
        from bactrian.think import attempt
        from bactrian.think.tree import Search, grow

        comparing, method = self.comparing, self.method
        settings = Search(draw.n, method.step_tokens, method.balance)
        title, total = f"scaling · {method.label}, {describe(draw)}", len(comparing.rows)
        with progress(title, total=total, unit="question", done=total - len(rows)) as bar:
            for start in range(0, len(rows), TREES_AT_ONCE):
                some = rows[start : start + TREES_AT_ONCE]
                questions = [replace(comparing.question(row, draw), n=1) for row in some]
                trees = grow(
                    comparing.engine,
                    questions,
                    comparing.form,
                    comparing.budget(draw),
                    settings,
                    self._rewards(some, questions),
                    [row["id"] for row in some],
                )
                for row, tree in zip(some, trees, strict=True):
                    attempt.append(
                        path,
                        comparing.verified(row, tree.leaves),
                        rewards=list(tree.rewards),
                        thinking_tokens=tree.thinking_tokens,
                        sampled=tree.sampled,
                    )
                    bar.advance()

    def _rewards(self, rows: Sequence[Row], questions: "Sequence[Question]") -> "Rewards":
        """What says how good the branches of a question's tree are so far."""
        from bactrian.think.tree import confidence

        text, reward = self.comparing.engine.text, self.comparing.reward
        if self.method.by == "process_reward":
            return lambda number, branches: self._judge(questions[number].prompt, [b.ids for b in branches])
        if self.method.by == "reward_model":
            return lambda number, branches: [max(reward(rows[number], text(b.ids)), 1e-6) for b in branches]
        return confidence

    @cached_property
    def _judge(self) -> Callable[[Sequence[int], Sequence[Sequence[int]]], list[float]]:
        from bactrian.model.scorers import open_scorer
        from bactrian.think.steps import ProcessReward

        stage, workspace = self.comparing.stage, self.comparing.workspace
        assert stage.process_reward is not None
        model = open_scorer(workspace.input(stage.process_reward).path, workspace.hardware, template=stage.template)
        return ProcessReward(model, self.comparing.engine)
