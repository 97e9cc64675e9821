"""Stage `suite`: models on whole suites of public tasks, each score with its error bar and all that shaped it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.answering import Answered, Subject
    from bactrian.evaluate.gold_check import GoldCheck
    from bactrian.evaluate.grading import Record
    from bactrian.evaluate.ledger import Look
    from bactrian.evaluate.measure import TaskScore
    from bactrian.evaluate.task import Format, Loaded, Task
    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge, Pool


@dataclass
class Done:
    """One model on one task."""

    model: str
    answered: "Answered"
    records: "list[Record]"
    score: "TaskScore"


class Suite(Stage):
    """Models on suites of public tasks: MMLU, GSM8K, BBH, IFEval and others, scored as the papers do, with intervals.

    Answers are kept by content, question by question: a run that was killed goes on where it was, and another metric or
    another limit asks only what is new. Unseen suites are asked with `final` and a `reason`, and every look is noted in
    the store's ledger.
    """

    name: ClassVar[str] = "suite"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    models: dict[str, ModelRef] | list[ModelRef] = Field(description="models in the order in which they were made")
    suite: Literal["dev", "safety", "unseen", "base", "more"] | None = Field(
        None, description="all tasks of a suite whose data are at hand"
    )
    tasks: list[str] = Field([], description="tasks by name, instead of a suite")
    limit: int | None = Field(None, ge=1, description="questions of each task, taken from all of its groups in turn")
    limits: dict[str, PositiveInt] = Field({}, description="task → questions of it, where not `limit`")
    folders: list[str] = Field([], description="folders with evaluation sets; by default those of the environment")
    format: Literal["auto", "plain", "single", "multiturn"] = Field(
        "auto", description="exemplars as plain text, in one message, or as turns; auto: as each task has it"
    )
    train: list[DataRef] = Field([], description="training sets: scores are also shown without questions they hold")
    final: bool = Field(False, description="this is a final candidate: unseen tasks may be looked at")
    reason: str = Field("", description="why unseen tasks are looked at now, for the ledger")
    classifier: ModelRef | None = Field(None, description="tells refusals in safety tasks; by default their words do")
    baseline: str | None = Field(None, description="a model that every other is also compared with")
    max_new_tokens: int | None = Field(None, ge=1, description="longest answer, where a task would allow more")
    samples: int | None = Field(None, ge=1, description="samples of a sampled task (pass@k), where it has more")
    template: str | None = Field(None, description="chat template, where not the model's own")
    batch_rows: int = Field(64, ge=1, description="answers generated side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")
    files: dict[str, str] = Field({}, description="task → SHA-256 of its file; filled in, and checked where given")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from bactrian.evaluate.catalogue import chosen

        if not self.models:
            raise ValueError("models: expected at least one")
        if (self.suite is None) == (not self.tasks):
            raise ValueError("expected either suite or tasks")
        try:
            tasks = chosen(self.suite, self.tasks)
        except BactrianError as error:
            raise ValueError(str(error)) from None
        unseen = [task.name for task in tasks if task.unseen]
        if unseen and not (self.final and self.reason.strip()):
            raise ValueError(
                f"{', '.join(unseen)}: unseen, for final candidates only; to look at them, and have that noted in the "
                f"ledger, set final (--final) and a reason (--reason TEXT)"
            )
        names = {task.name for task in tasks}
        if strange := sorted(set(self.limits) - names):
            raise ValueError(f"limits: {strange[0]!r} is none of the tasks asked")
        object.__setattr__(self, "files", _hashes(tasks, self.folders) | dict(self.files))
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.grading import write_records
        from bactrian.evaluate.score_tables import print_results
        from bactrian.verify import Pool

        tasks, absent = self.questions()
        gold = self.gold(tasks, workspace.memos, workspace.hardware.threads)
        looks = self._note(tasks, workspace)
        with Pool(workspace.hardware.threads, self.timeout, self._judges(workspace)) as pool:
            done = [
                each
                for label, ref in self._labels(workspace)
                for each in self._model(label, ref, tasks, pool, workspace)
            ]
        results = self._results(done, tasks, absent, looks, workspace)
        for name, found in gold.items():
            results["tasks"][name]["gold"] = found.summary()
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        labelled = [
            ({"model": each.model, "task": each.score.task, "mode": "greedy"}, record)
            for each in done
            for record in each.records
        ]
        write_records(workspace.output / "questions.parquet", labelled)
        workspace.metrics["tokens"] = float(sum(record.tokens for each in done for record in each.records))
        for each in done:
            workspace.metrics[f"{each.score.task}/{each.model}"] = each.score.score
        print_results(results)

    def questions(self) -> "tuple[list[Loaded], dict[str, str]]":
        """The tasks with their questions; those of a suite whose data are absent, with why.

        Raises BactrianError for a task that was named and is absent, a file that is not the one expected, or no task.
        """
        from bactrian.evaluate.catalogue import chosen
        from bactrian.evaluate.task_rows import Absent, load

        loaded, absent = [], {}
        for task in chosen(self.suite, self.tasks):
            try:
                whole = load(self._changed(task), [Path(folder) for folder in self.folders])
            except Absent as error:
                if self.tasks:
                    raise
                absent[task.name] = str(error)
                continue
            self._check_file(whole)
            limit = self.limits.get(task.name, self.limit)
            loaded.append(whole.limited_to(spread(whole.questions, limit)))
        if not loaded:
            raise BactrianError("suite: no task's data are at hand:\n  " + "\n  ".join(absent.values()))
        return loaded, absent

    def gold(self, tasks: "Sequence[Loaded]", memos: Path, threads: int) -> "dict[str, GoldCheck]":
        """Gold answers go through every verifier before a look is noted or a model loaded (evaluate/gold_check.py).

        Raises BactrianError for a task whose verifier, tests or data are broken.
        """
        from bactrian.evaluate.gold_check import require
        from bactrian.verify import Pool

        with Pool(threads, self.timeout) as pool:
            return require(tasks, pool, memos)

    def _judges(self, workspace: "Workspace") -> "dict[str, Judge]":
        if self.classifier is None:
            return {}
        from bactrian.judge.panel import open_judges

        models = {"compliance_model": workspace.input(self.classifier).path}
        return open_judges(models, workspace.hardware, template=self.template, rows=self.batch_rows)

    def _changed(self, task: "Task") -> "Task":
        tokens = min(task.max_new_tokens, self.max_new_tokens or task.max_new_tokens)
        samples = min(task.samples, self.samples or task.samples)
        told = "compliance_model" if task.verifier == "compliance" and self.classifier else task.verifier
        return replace(task, max_new_tokens=tokens, samples=samples, k=min(task.k, samples), verifier=told)

    def _check_file(self, loaded: "Loaded") -> None:
        """Raises BactrianError where a task's file is not the one that these settings were made with."""
        given, path = self.files.get(loaded.task.name), Path(loaded.files)
        if given and path.is_file() and _sha256(path) != given:
            raise BactrianError(
                f"suite: task {loaded.task.name}: {path} is not the file that these settings name (sha256 expected "
                f"{given[:12]}…, found {_sha256(path)[:12]}…): it was changed"
            )

    def _labels(self, workspace: "Workspace") -> list[tuple[str, str]]:
        """(label, reference) of each model. Raises BactrianError for two of one label or an unknown baseline."""
        if isinstance(self.models, dict):
            labels = list(self.models.items())
        else:
            labels = [(workspace.input(ref).name, ref) for ref in self.models]
        names = [label for label, _ in labels]
        if len(set(names)) != len(names):
            raise BactrianError(f"suite: two models are called {max(names, key=names.count)!r}; give them labels")
        if self.baseline is not None and self.baseline not in names:
            raise BactrianError(f"suite: baseline: found {self.baseline!r}, expected one of {', '.join(names)}")
        return labels

    def _note(self, tasks: "Sequence[Loaded]", workspace: "Workspace") -> "list[Look]":
        """Every look at an unseen task goes into the ledger before its first question is asked."""
        from bactrian.evaluate.ledger import entry, ledgers, note
        from bactrian.evaluate.recognise import declare, remember_loaded

        for ledger in ledgers(workspace):
            ledger.checked()  # one that was tampered with is an error whatever is asked
        new = [
            entry(loaded.task.name, loaded.content, label, workspace.input(ref).content_hash, self.reason)
            for loaded in tasks
            if loaded.task.unseen
            for label, ref in self._labels(workspace)
        ]
        for loaded in tasks:
            remember_loaded(workspace.store, loaded)
        plain = {
            each.task.name: [{"text": question.prompt} for question in each.questions]
            for each in tasks
            if not each.task.unseen
        }
        weights = {label: workspace.input(ref).content_hash for label, ref in self._labels(workspace)}
        declare("suite", plain, weights, self.final, self.reason, workspace, least=0.8)
        added = note(workspace, new)
        workspace.add_looks(look.as_json() for look in added)
        return added

    def _model(
        self, label: str, ref: str, tasks: "Sequence[Loaded]", pool: "Pool", workspace: "Workspace"
    ) -> list[Done]:
        """All of one model's answers, graded."""
        from bactrian.evaluate.answering import answer
        from bactrian.evaluate.answers import AnswerStore
        from bactrian.evaluate.contamination import held_questions
        from bactrian.evaluate.grading import grade
        from bactrian.evaluate.measure import measure
        from bactrian.store.fingerprint import code_fingerprint

        given = workspace.input(ref)
        code = code_fingerprint("bactrian.evaluate.answering")
        form: Format | None = None if self.format == "auto" else self.format
        with AnswerStore(workspace.memos / "answers", given.content_hash, workspace.hardware.dtype, code) as store:
            found = answer(self._subject(given.path, workspace), tasks, store, form, workspace.seed, label)
        held = held_questions(tasks, given.path, [workspace.input(each).path for each in self.train])
        done = []
        for each in found:
            records = grade(each, pool)
            known = held.get(each.loaded.task.name) if held is not None else None
            done.append(Done(label, each, records, measure(each.loaded, label, records, known)))
        return done

    def _subject(self, folder: Path, workspace: "Workspace") -> "Subject":
        from bactrian.chat import ChatTemplate, template_for
        from bactrian.evaluate.answering import Subject
        from bactrian.model.language_model import check_folder, context_of, load_tokenizer

        check_folder(folder)
        tokenizer = load_tokenizer(folder)
        template = ChatTemplate.load(tokenizer, self.template or template_for(tokenizer))
        return Subject(template, context_of(folder) or 2**30, lambda: self._engine(folder, workspace))

    def _engine(self, folder: Path, workspace: "Workspace") -> "Engine":
        from bactrian.generate.engines import open_engine

        return open_engine(folder, workspace.hardware, template=self.template, rows=self.batch_rows)

    def _results(
        self,
        done: Sequence[Done],
        tasks: "Sequence[Loaded]",
        absent: Mapping[str, str],
        looks: "Sequence[Look]",
        workspace: "Workspace",
    ) -> dict[str, Any]:
        """results.json, as in docs/design.md, and more: numbers, groups, flags, looks, what is absent."""
        from bactrian.evaluate.ledger import counted

        labels = [label for label, _ in self._labels(workspace)]
        seen = counted(workspace)
        about = {}
        for loaded in tasks:
            mine = next(each for each in done if each.score.task == loaded.task.name)
            about[loaded.task.name] = describe(loaded, mine, seen)
        scores = [score_json(each, about[each.score.task]) for each in done]
        return {
            "tasks": about,
            "models": labels,
            "scores": scores,
            "comparisons": self._comparisons(done, labels),
            "absent": dict(absent),
            "looks": [look.seal for look in looks],
        }

    def _comparisons(self, done: Sequence[Done], labels: Sequence[str]) -> list[dict[str, Any]]:
        from bactrian.evaluate.comparison import adjusted, compare_task

        pairs = [*pairwise(labels), *([(labels[0], labels[-1])] if len(labels) > 2 else [])]
        pairs += [(self.baseline, label) for label in labels if self.baseline and label != self.baseline]
        by_place = {(each.model, each.score.task): each for each in done}
        names = dict.fromkeys(each.score.task for each in done)
        found = []
        for before, after in dict.fromkeys(pairs):
            sides = [(by_place[before, task], by_place[after, task]) for task in names]
            same = [pair for pair in sides if pair[0].score.metric != "bits per byte"]
            for each in adjusted([compare_task(a.score.task, vars(a.score), a.records, b.records) for a, b in same]):
                place = {"task": each.task, "mode": "greedy", "before": before, "after": after}
                found.append(place | asdict(each.comparison) | {"p_holm": each.adjusted})
        return found

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Prompts of 200 tokens beyond what is shared, answers half as long as they may be; 2 FLOPs per parameter."""
        from bactrian.evaluate.catalogue import chosen

        tokens = 0.0
        for task in chosen(self.suite, self.tasks):
            rows = self.limits.get(task.name, self.limit or 1000)
            longest = min(task.max_new_tokens, self.max_new_tokens or task.max_new_tokens)
            tokens += rows * (200 + (longest / 2 * task.samples if task.form == "generate" else 40))
        models = list(self.models.values() if isinstance(self.models, dict) else self.models)
        parameters = [inputs.get(ref, Facts()).parameters for ref in models]
        memory = max(4.0 * each for each in parameters) + 3e9
        return Forecast(tokens * len(models), sum(2.0 * each * tokens for each in parameters), memory)


def spread(questions: "Sequence[Any]", limit: int | None) -> "tuple[Any, ...]":
    """The first questions of each group in turn until there are `limit`; in the file's order."""
    if limit is None or limit >= len(questions):
        return tuple(questions)
    waiting: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        waiting.setdefault(question.group, []).append(number)
    rounds = max(map(len, waiting.values()))
    order = [members[turn] for turn in range(rounds) for members in waiting.values() if turn < len(members)]
    return tuple(questions[number] for number in sorted(order[:limit]))


def describe(loaded: "Loaded", done: Done, seen: Mapping[str, int]) -> dict[str, Any]:
    """What results.json says of a task: everything that shapes a score of it."""
    task, answered = loaded.task, done.answered
    about: dict[str, Any] = {
        "n": len(loaded.questions),
        "skill": task.skill,
        "data_hash": loaded.content,
        "files": loaded.files,
        "task_hash": loaded.digest(answered.format),
        "verifier": task.verifier or task.metric,
        "metric": done.score.metric,
        "macro": task.macro,
        "k": task.k,
        "format": answered.format,
        "max_new_tokens": task.max_new_tokens,
        "temperature": task.temperature,
        "top_p": task.top_p,
        "stop": list(task.stop),
        "samples": task.samples,
        "exemplars": len(loaded.preamble(loaded.questions[0]).shots),
        "prompt_example": answered.prompts[0],
        "template_hash": answered.template_hash,
        "note": task.note,
    }
    if task.unseen:
        about["looks"] = seen.get(task.name, 0)
    return about


def score_json(done: Done, about: Mapping[str, Any]) -> dict[str, Any]:
    """One score of results.json."""
    score = done.score
    settings = {name: about[name] for name in ("verifier", "max_new_tokens", "prompt_example", "template_hash")}
    plain = asdict(score)
    k = {score.metric.removeprefix("pass@"): score.score} if score.metric.startswith("pass@") else {}
    return (
        plain
        | settings
        | {
            "mode": "greedy",
            "pass_at_k": k,
            "mean_score": score.score,
            "reused": done.answered.reused,
            "requests": done.answered.asked,
            "exemplars_dropped": sum(map(bool, done.answered.dropped)),
        }
    )


def _hashes(tasks: "Sequence[Task]", places: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each task's file, where there is one: so that a changed file makes another artifact."""
    from bactrian.evaluate.task_rows import find_file, folders

    try:
        where = folders([Path(place) for place in places])
    except BactrianError as error:
        raise ValueError(str(error)) from None
    found = {task.name: find_file(task.source, where) for task in tasks}
    found |= {f"{task.name} (exemplars)": find_file(task.exemplars, where) for task in tasks if task.exemplars}
    return {name: _sha256(path) for name, path in found.items() if path is not None}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
