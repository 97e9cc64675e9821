"""Verified thoughts on problems, kept by content and question by question: a kill loses none that was finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bactrian.chat import ThinkingFormat
from bactrian.data.io.problem_rows import question_seed
from bactrian.generate.engine import Engine
from bactrian.progress import progress
from bactrian.store.artifact import Workspace
from bactrian.think import attempt
from bactrian.think.attempt import Attempt
from bactrian.think.draws import ThoughtDraw, describe
from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
from bactrian.think.thought import Budget, Thought
from bactrian.verify import Item, Pool, versions

Row = dict[str, Any]
KeptLines = dict[str, tuple[list[Attempt], Mapping[str, Any]]]
"""Question → its attempts, and what else was kept of it."""


@dataclass(frozen=True)
class ThoughtLimits:
    """thinking: tokens, where a draw forces no budget. answer: tokens. final: begins an answer after a cut."""

    thinking: int
    answer: int
    final: str


@dataclass(frozen=True)
class KeptThoughts:
    """One model's thoughts on problems. `shaping`: all that decides them and their verdicts, beside the draw."""

    rows: Sequence[Row]
    engine: Engine
    form: ThinkingFormat
    pool: Pool
    workspace: Workspace
    limits: ThoughtLimits
    shaping: Mapping[str, Any]

    def attempts(self, draw: ThoughtDraw) -> dict[str, list[Attempt]]:
        """The verified thoughts of a draw, by question; from the memo if they were made before."""
        if draw.thinking is None:
            draw = replace(draw, thinking=self.limits.thinking)
        what = {"what": "thoughts", "draw": asdict(draw)}
        kept = self.kept(what, lambda rows, path: self._think(draw, rows, path))
        return {question: attempts for question, (attempts, _) in kept.items()}

    def kept(self, what: Mapping[str, Any], make: Callable[[list[Row], Path], None]) -> KeptLines:
        """Lines of the memo, or made now: `make` appends those of the problems that are left to a file in scratch."""
        memo = self.workspace.memo(**self.shaping, **what, verifiers=versions(self.rows))
        if not memo.exists:
            path = self.workspace.scratch / f"{memo.path.name}.jsonl"
            done = attempt.read(path)
            make([row for row in self.rows if row["id"] not in done], path)
            done = attempt.read(path)
            target = memo.begin() / "attempts.jsonl"
            for row in self.rows:
                attempts, more = done[row["id"]]
                attempt.append(target, attempts, **{key: more[key] for key in more if key != "attempts"})
            memo.commit()
            path.unlink()
        return attempt.read(memo.path / "attempts.jsonl")

    def _think(self, draw: ThoughtDraw, rows: list[Row], path: Path) -> None:
        """Make a draw's thoughts on these questions; each question is verified and kept when its last one is done."""
        waiting: dict[int, dict[int, Thought]] = {}

        def keep(number: int, sample: int, thought: Thought) -> None:
            mine = waiting.setdefault(number, {})
            mine[sample] = thought
            if len(mine) == draw.n:
                attempt.append(path, self.verified(rows[number], [mine[each] for each in range(draw.n)]))
                del waiting[number]
                bar.advance()

        if rows:
            title, total = f"scaling · {describe(draw)}", len(self.rows)
            questions, names = [self.question(row, draw) for row in rows], [row["id"] for row in rows]
            with progress(title, total=total, unit="question", done=total - len(rows)) as bar:
                think(self.engine, questions, self.form, self.budget(draw), names=names, on_thought=keep)

    def question(self, row: Row, draw: ThoughtDraw) -> ThinkingQuestion:
        """A problem's prompt with the draw's sentence, its thinking opened."""
        *before, last = row["messages"]
        text = f"{last['content']}\n{draw.sentence}" if draw.sentence else last["content"]
        messages = [*before, {"role": "user", "content": text}]
        prompt = opened_prompt(messages, self.engine.template, self.form, f"question {row['id']}")
        return ThinkingQuestion(prompt, draw.n, question_seed(self.workspace.seed, row["id"]), draw.temperature)

    def budget(self, draw: ThoughtDraw) -> Budget:
        return Budget(draw.thinking, draw.waits, draw.extension, self.limits.final, self.limits.answer)

    def verified(self, row: Row, thoughts: Sequence[Thought]) -> list[Attempt]:
        verdicts = self.pool.verify_all([Item.of(row, thought.answer) for thought in thoughts])
        return [
            Attempt.of(row["id"], i, thought, verdict)
            for i, (thought, verdict) in enumerate(zip(thoughts, verdicts, strict=True))
        ]
