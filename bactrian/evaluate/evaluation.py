"""Models on tasks: what they answer, graded and scored, and what results.json says of it (docs/design.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bactrian.evaluate import answering
from bactrian.evaluate.answer_store import AnswerStore
from bactrian.evaluate.answering import Answered, Subject, answer
from bactrian.evaluate.comparison import TaskDifference, adjusted, compare_task, pairs_to_compare
from bactrian.evaluate.contamination import held_questions
from bactrian.evaluate.general_ability import beside
from bactrian.evaluate.gold_check import GoldCheck
from bactrian.evaluate.grading import grade, verifier_of
from bactrian.evaluate.noncompliance_labels import reliability_rows
from bactrian.evaluate.recited_rows import recited_rows
from bactrian.evaluate.records import Record, write_records
from bactrian.evaluate.reliability import write_rows
from bactrian.evaluate.results import NAME
from bactrian.evaluate.scoring import BITS, Averaging, Score, measure
from bactrian.evaluate.task import Format, Loaded
from bactrian.evaluate.verdicts import KeptVerdicts
from bactrian.sandbox import versions as packages
from bactrian.store.artifact import Input, Workspace
from bactrian.store.disk import write_atomically
from bactrian.store.fingerprint import code_fingerprint
from bactrian.store.manifest import MANIFEST
from bactrian.verify import Pool

if TYPE_CHECKING:
    from bactrian.generate.engine import Engine


@dataclass(frozen=True)
class Graded:
    """One model on one task, asked in one way."""

    answered: Answered
    records: list[Record]
    score: Score

    @property
    def place(self) -> tuple[str, str]:
        """Task and mode."""
        return self.score.task, self.score.mode

    @property
    def labels(self) -> dict[str, str]:
        return {"model": self.score.model, "task": self.score.task, "mode": self.score.mode}


@dataclass(frozen=True)
class Asker:
    """Asks models, and grades what they answer. What was answered or judged before is kept by all that shaped it.

    form: of all public tasks, None for each task's own. load: a model's engine, where something must be asked.
    judges: what the verdicts of models depend on. train: training sets, besides those that manifests lead to.
    decoded: what shapes answers besides the model, its precision and what it is asked.
    """

    tasks: Sequence[Loaded]
    workspace: Workspace
    pool: Pool
    load: Callable[[Path], Engine]
    form: Format | None = None
    template: str | None = None
    judges: tuple[str, ...] = ()
    train: Sequence[Path] = ()
    decoded: tuple[str, ...] = ()

    def graded(self, label: str, model: Input) -> list[Graded]:
        """All of one model's answers, graded.

        Raises:
            BactrianError: for a question that does not fit its context, and a verifier that is
                not to be used.
        """
        hardware, memos, code = self.workspace.hardware, self.workspace.memos, code_fingerprint(answering.__name__)
        subject = Subject.of_folder(model.path, self.template, self.load)
        by = (model.content_hash, hardware.dtype, hardware.engine, subject.template.digest, code, *self.decoded)
        walls = (model.content_hash, hardware.sandbox, dict(packages()))
        traced = [loaded for loaded in self.tasks if loaded.task.traced]
        held = held_questions(traced, model.path, self.train) if traced else None
        with AnswerStore(memos / "answers", *by) as answers, AnswerStore(memos / "verdicts", *walls) as verdicts:
            kept = KeptVerdicts(verdicts, self.pool.timeout, self.judges)
            found = answer(
                subject,
                self.tasks,
                answers,
                self.form,
                self.workspace.seed,
                label,
                partial(self._as_counted_first, label),
            )
            return [self._grade(label, each, kept, held) for each in found]

    def _as_counted_first(self, label: str, found: Sequence[Answered]) -> None:
        """What a killed run of this step had asked is not reused: its results are those of an undisturbed run."""
        path = self.workspace.scratch / "reused.json"
        known: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.is_file() else {}
        if label not in known:
            known[label] = {each.place: each.reused for each in found}
            write_atomically(path, json.dumps(known))
        for each in found:
            each.reused = known[label].get(each.place, each.reused)

    def _grade(
        self, label: str, answered: Answered, kept: KeptVerdicts, held: Mapping[str, Mapping[str, str]] | None
    ) -> Graded:
        task, records = answered.loaded.task, grade(answered, self.pool, kept)
        known = held.get(task.name) if held is not None and task.traced else None
        return Graded(answered, records, measure(answered.loaded, label, records, known))


@dataclass(frozen=True)
class Evaluation:
    """All models on all tasks, in the order in which they were asked.

    looks: task → how often it was looked at, of unseen ones; seals: of the looks of this evaluation, in the ledger.
    absent: tasks that were not asked, and why. gold: by task.
    """

    done: Sequence[Graded]
    absent: Mapping[str, str] = field(default_factory=dict)
    gold: Mapping[str, GoldCheck] = field(default_factory=dict)
    looks: Mapping[str, int] = field(default_factory=dict)
    seals: Sequence[str] = ()

    def results(self, baseline: str | None, seed: int) -> dict[str, Any]:
        """results.json: it says everything that shaped a score."""
        models = list(dict.fromkeys(each.score.model for each in self.done))
        return {
            "tasks": self._tasks(),
            "models": models,
            "scores": [score_json(each) for each in self.done],
            "comparisons": self._comparisons(pairs_to_compare(models, baseline), seed),
            "absent": dict(self.absent),
            "looks": list(self.seals),
        }

    def write(self, folder: Path, results: Mapping[str, Any]) -> None:
        """results.json and questions.parquet."""
        (folder / NAME).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        labelled = ((each.labels, record) for each in self.done for record in each.records)
        write_records(folder / "questions.parquet", labelled)
        told = (
            chain(
                reliability_rows(each.score.model, each.score.task, each.records),
                recited_rows(each.score.model, each.answered.loaded, each.records),
            )
            for each in self.done
        )
        write_rows(folder, chain(chain.from_iterable(told), beside([(each.score, each.records) for each in self.done])))

    def metrics(self) -> dict[str, float]:
        """Headline numbers: all tokens, and each score."""
        tokens = float(sum(record.tokens for each in self.done for record in each.records))
        return {"tokens": tokens} | {"/".join((*each.place, each.score.model)): each.score.score for each in self.done}

    def _tasks(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in self.done:
            task, mode = each.place
            if task not in found:
                found[task] = describe(each)
                found[task] |= {"looks": self.looks[task]} if task in self.looks else {}
                found[task] |= {"gold": self.gold[task].summary()} if task in self.gold else {}
            elif mode != found[task]["mode"]:
                found[task][mode] = asking(each)
        return found

    def _comparisons(self, pairs: Sequence[tuple[str, str]], seed: int) -> list[dict[str, Any]]:
        """Each pair of models on each task; p-values are corrected for the tasks of a pair, second askings apart."""
        by_place = {(*each.place, each.score.model): each for each in self.done if each.score.metric != BITS}
        places = list(dict.fromkeys((task, mode) for task, mode, _ in by_place))
        first = dict(reversed(places))  # task → the mode it was asked in first
        found: dict[tuple[str, str], list[dict[str, Any]]] = {place: [] for place in places}
        for before, after in pairs:
            for family in (True, False):
                mine = [(task, mode) for task, mode in places if (first[task] == mode) == family]
                for place, each in zip(mine, self._family(by_place, mine, before, after, seed), strict=True):
                    labels = {"task": place[0], "mode": place[1], "before": before, "after": after}
                    found[place].append(labels | asdict(each.comparison) | {"p_holm": each.adjusted})
        return [each for compared in found.values() for each in compared]

    def _family(
        self,
        by_place: Mapping[tuple[str, str, str], Graded],
        places: Sequence[tuple[str, str]],
        before: str,
        after: str,
        seed: int,
    ) -> list[TaskDifference]:
        sides = [(by_place[*place, before], by_place[*place, after]) for place in places]
        return adjusted(
            [
                compare_task(a.score.task, Averaging.of(a.answered.loaded.task), a.records, b.records, seed)
                for a, b in sides
            ]
        )


def named(files: str) -> str:
    """Where a task's rows are; of an artifact its name, so that results are the same in every store."""
    place = Path(files)
    return place.name if (place / MANIFEST).is_file() else files


def describe(graded: Graded) -> dict[str, Any]:
    """What results.json says of a task: everything that shapes a score of it."""
    answered, loaded = graded.answered, graded.answered.loaded
    task = loaded.task
    return {
        "n": len(loaded.questions),
        "skill": task.skill,
        "data_hash": loaded.content,
        "files": named(loaded.files),
        "metric": graded.score.metric,
        "macro": task.macro,
        "format": answered.format,
        "stop": list(task.stop),
        "exemplars": len(loaded.preamble(loaded.questions[0]).shots),
        "note": task.note,
        **_settings(answered),
        **asking(graded),
        **({} if loaded.overlap is None else {"overlap": loaded.overlap}),
    }


def asking(graded: Graded) -> dict[str, Any]:
    """How a task is asked: what differs where a problem set is asked in two ways."""
    answered, task = graded.answered, graded.answered.loaded.task
    return {
        "mode": task.mode,
        "samples": task.samples,
        "temperature": task.temperature,
        "top_p": task.top_p,
        "k": task.k,
        "task_hash": answered.loaded.digest(answered.format),
    }


def score_json(graded: Graded) -> dict[str, Any]:
    """One score of results.json."""
    answered = graded.answered
    kept = {"reused": answered.reused, "requests": answered.asked}
    return asdict(graded.score) | _settings(answered) | kept | {"exemplars_dropped": sum(map(bool, answered.dropped))}


def _settings(answered: Answered) -> dict[str, Any]:
    """With what a score was got, as each score says too."""
    task, questions = answered.loaded.task, answered.loaded.questions
    names = sorted({verifier_of(task, question) for question in questions} - {""})
    return {
        "verifier": ", ".join(names) or task.metric,
        "max_new_tokens": task.max_new_tokens,
        "prompt_example": answered.prompts[0],
        "template_hash": answered.template_hash,
    }
