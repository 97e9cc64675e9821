"""Stage `evaluate`: models answer held-out problems and public tasks; scores and differences get error bars."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import (
    JudgeField,
    JudgeServerField,
    RewardModelField,
    VerifierField,
    check_one_judge,
    judges,
    judges_known_as,
    known_verifier,
)
from bactrian.stages.measure.sure_labels import SureLabelSettings, sure_judge
from bactrian.stages.stage import (
    DataRef,
    Facts,
    Forecast,
    HeldOutRef,
    ModelRef,
    Need,
    ProblemRef,
    SamplingLoad,
    Settings,
    Stage,
    TemplateRef,
    verifier_needs,
)
from bactrian.store.manifest import Kind
from bactrian.store.own_files import OwnCode

if TYPE_CHECKING:
    from bactrian.evaluate.evaluation import Asker
    from bactrian.evaluate.gold_check import GoldCheck
    from bactrian.evaluate.task import Loaded, Task
    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Input, Workspace
    from bactrian.verify import Judge, Pool

LONGEST = 256
"""Tokens of an answer to a problem, where nothing is said."""


class MemFreeDecoding(Settings):
    """Decoding that never completes an n-gram of a corpus [Ippolito et al. 2023]."""

    corpus: HeldOutRef = Field(description="the texts that are not to be recited")
    n: int = Field(10, ge=2, le=64, description="tokens of an n-gram")


class AskingCondition(Settings):
    """How one of the models is asked otherwise than the rest."""

    system: str = Field("", description="system turn before every question; of plain text its beginning")
    memfree: MemFreeDecoding | None = Field(None, description="decode without reciting a corpus")


class Evaluate(Stage):
    """Scores of models on problem sets and on suites of public tasks, with intervals, and paired tests between models.

    Answers are kept by content, question by question: a run that was killed goes on where it was, and a further model,
    task or metric costs only what is new. Unseen tasks are asked with `final` and a `reason`, and every look is noted
    in the store's ledger.
    """

    name: ClassVar[str] = "evaluate"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    verifier: VerifierField = None
    judge: JudgeField = None
    judge_server: JudgeServerField = None
    sure: SureLabelSettings | None = Field(
        None, description="the judge labels answers of coconot and coconot-contrast only where it may be trusted"
    )
    reward_model: RewardModelField = None
    models: dict[str, ModelRef] | list[ModelRef] = Field(description="models in the order in which they were made")
    data: ProblemRef | None = Field(None, description="the problems; for several sets use problems")
    problems: dict[str, ProblemRef] = Field({}, description="name → problems")
    texts: dict[str, DataRef] = Field({}, description="name → text rows whose likelihood is measured, in bits per byte")
    conditions: dict[str, AskingCondition] = Field(
        {}, description="model → how it is asked otherwise; name one model twice to compare two ways"
    )
    corpus: list[HeldOutRef] = Field([], description="texts in which the verifier verbatim looks for copied words")
    copied_words: int = Field(10, ge=2, le=64, description="words in a row that verbatim calls copied")
    suite: Literal["dev", "safety", "unseen", "base", "more", "reliability", "regurgitation"] | None = Field(
        None, description="all public tasks of a suite whose data are at hand"
    )
    tasks: list[Annotated[str, OwnCode("task")]] = Field(
        [], description="public tasks by name; a task of your own as FILE.py:NAME"
    )
    train: list[DataRef] = Field(
        [],
        description="training sets: none may share a question with the problems; public tasks are scored without, too",
    )
    baseline: str | None = Field(None, description="a model that every other is also compared with")
    limit: int | None = Field(
        None, ge=1, description="questions of each task: of problems the first, of public tasks from all groups in turn"
    )
    limits: dict[str, PositiveInt] = Field({}, description="task → questions of it, where not `limit`")
    final: bool = Field(False, description="this is a final candidate: it may look at unseen questions")
    reason: str = Field("", description="why unseen questions are looked at now, for the ledger")
    samples: int | None = Field(
        None,
        ge=0,
        description="sampled answers to each problem, besides the greedy one; of sampled public tasks at most",
    )
    temperature: float = Field(1.0, gt=0, description="of the sampled answers to problems")
    top_p: float = Field(1.0, gt=0, le=1, description="of the sampled answers to problems")
    k: list[int] = Field([], description="pass@k of the sampled answers to problems for each k; k ≤ samples")
    max_new_tokens: int | None = Field(
        None, ge=1, description=f"longest answer: to problems, {LONGEST} by default; to public tasks at most"
    )
    stop: list[str] = Field([], description="texts that end an answer to problems")
    folders: list[str] = Field([], description="folders with public tasks' data; by default those of the environment")
    format: Literal["auto", "plain", "single", "multiturn"] = Field(
        "auto",
        description="public tasks' exemplars as plain text, in one message, or as turns; auto: as each task has it",
    )
    classifier: ModelRef | None = Field(None, description="tells refusals in safety tasks; by default their words do")
    template: TemplateRef = Field(None, description="chat template, where not the model's own")
    batch_rows: int = Field(64, ge=1, description="answers generated side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")
    failures: float = Field(
        0.02, ge=0, le=1, description="share of answers to problems on which a verifier may itself fail"
    )
    files: dict[str, str] = Field({}, description="public task → SHA-256 of its file; found, and checked where given")

    @field_validator("tasks", mode="before")
    @classmethod
    def _no_mapping(cls, given: object) -> object:
        if isinstance(given, Mapping):
            named = ", ".join(f"{name}: {ref}" for name, ref in given.items())
            raise ValueError(f"found a mapping, expected names of public tasks; problem sets: problems: {{{named}}}")
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_one_judge(self)
        if not self.models:
            raise ValueError("models: expected at least one")
        if self.sure is not None and not (self.judge or self.judge_server):
            raise ValueError("sure: expected a judge or judge_server beside it, whose labels are to be trusted")
        if self.data is not None and self.problems:
            raise ValueError("found data and problems, expected one of them")
        if not (self._sets() or self.texts or self.suite or self.tasks):
            raise ValueError("expected problems (data, problems), texts or public tasks (suite, tasks)")
        public = self._public()
        unseen = [task.name for task in public if task.unseen]
        if unseen and not (self.final and self.reason.strip()):
            raise ValueError(
                f"{', '.join(unseen)}: unseen, for final candidates only; to look at them, and have that noted in the "
                f"ledger, set final (--final) and a reason (--reason TEXT)"
            )
        names = [*self._sets(), *self.texts, *(task.name for task in public)]
        if twice := [name for name in (*self._sets(), *self.texts) if names.count(name) > 1]:
            raise ValueError(f"problems: {twice[0]!r} is the name of two tasks; call one otherwise")
        if strange := sorted(set(self.limits) - set(names)):
            raise ValueError(f"limits: {strange[0]!r} is none of the tasks asked")
        if self.k and not 1 <= min(self.k) <= max(self.k) <= (self.samples or 0):
            raise ValueError(f"k: found {self.k}, expected numbers from 1 to samples ({self.samples or 0})")
        return self

    def _sets(self) -> dict[str, str]:
        """Problem sets: name → reference."""
        return {self.data: self.data} if self.data is not None else self.problems

    def _public(self) -> "list[Task]":
        """The public tasks that are asked, as these settings change them.

        Raises:
            ValueError: for an unknown one.
        """
        from bactrian.evaluate.catalogue import chosen

        if not (self.suite or self.tasks):
            return []
        try:
            found = chosen(self.suite, self.tasks)
        except BactrianError as error:
            raise ValueError(str(error)) from None
        return [self._changed(task) for task in found]

    def _changed(self, task: "Task") -> "Task":
        tokens = min(task.max_new_tokens, self.max_new_tokens or task.max_new_tokens)
        samples = min(task.samples, self.samples or task.samples)
        told = "compliance_model" if task.verifier == "compliance" and self.classifier else task.verifier
        told = "judge" if task.verifier == "noncompliance" and (self.judge or self.judge_server) else told
        return replace(task, max_new_tokens=tokens, samples=samples, k=min(task.k, samples), verifier=told)

    def needs(self) -> Iterable[Need]:
        """The verifiers of public tasks."""
        return verifier_needs(sorted({name for task in self._public() for name in (task.verifier, *task.also)}))

    def resolved(self) -> Self:
        from bactrian.evaluate.task_rows import file_hashes

        public = self._public()
        found = file_hashes(public, [Path(folder) for folder in self.folders]) if public else {}
        return self.model_copy(update={"files": found | self.files})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.evaluation import Evaluation
        from bactrian.evaluate.recognise import declare
        from bactrian.evaluate.score_tables import print_results
        from bactrian.verify import Pool

        models = self._labelled(workspace)
        problems, (public, absent) = self._problems(workspace), self.questions()
        tasks = [*problems, *self._texts(workspace), *public]
        gold = self.gold(tasks, workspace.memos, workspace.hardware.threads)
        weights = {label: model.content_hash for label, model in models.items()}
        paths = [workspace.input(ref).path for ref in self._sets().values()]
        looks = declare(tasks, weights, self.final, self.reason, workspace, paths)
        with (
            ExitStack() as held,
            Pool(workspace.hardware.threads, self.timeout, self._judges(tasks, workspace, held)) as pool,
        ):
            done = [
                each
                for label, model in models.items()
                for each in self._asker(tasks, pool, workspace, label).graded(label, model)
            ]
        found = Evaluation(done, absent, gold, looks, [look["seal"] for look in workspace.looks])
        results = found.results(self.baseline, workspace.seed)
        found.write(workspace.output, results)
        workspace.metrics.update(found.metrics())
        print_results(results)

    def _labelled(self, workspace: "Workspace") -> "dict[str, Input]":
        """Label → model.

        Raises:
            BactrianError: for two of one label or an unknown baseline.
        """
        refs = list(self.models.values() if isinstance(self.models, dict) else self.models)
        names = list(self.models) if isinstance(self.models, dict) else [workspace.input(ref).name for ref in refs]
        if len(set(names)) < len(names):
            raise BactrianError(
                f"evaluate: models: two are called the same ({', '.join(names)}); name them by a mapping"
            )
        if strange := sorted(set(self.conditions) - set(names)):
            raise BactrianError(f"evaluate: conditions: found {strange[0]!r}, expected one of {', '.join(names)}")
        if self.baseline is not None and self.baseline not in names:
            raise BactrianError(f"evaluate: baseline: found {self.baseline!r}, expected one of {', '.join(names)}")
        return {name: workspace.input(ref) for name, ref in zip(names, refs, strict=True)}

    def _problems(self, workspace: "Workspace") -> "list[Loaded]":
        """The problem sets.

        Raises:
            BactrianError: naming the questions of one that a training set holds too.
        """
        from bactrian.data.io.rows import licences
        from bactrian.evaluate.problem_task import Asking, load_sets

        asking = Asking(
            self.samples or 0,
            self.temperature,
            self.top_p,
            tuple(self.k),
            self.max_new_tokens or LONGEST,
            tuple(self.stop),
            self.failures,
        )
        limits = {name: self.limits.get(name, self.limit) for name in self._sets()}
        sets = {name: workspace.input(ref).path for name, ref in self._sets().items()}
        train = {workspace.input(ref).name: workspace.input(ref).path for ref in self.train}
        found = load_sets(sets, limits, asking, train, known_verifier(self.verifier))
        for licence in licences([dict(row) for loaded in found for row in loaded.asked]):
            workspace.add_licence(licence)
        return found

    def _texts(self, workspace: "Workspace") -> "list[Loaded]":
        from bactrian.evaluate.text_task import load_texts

        return [
            load_texts(name, workspace.input(ref).path, self.limits.get(name, self.limit))
            for name, ref in self.texts.items()
        ]

    def questions(self) -> "tuple[list[Loaded], dict[str, str]]":
        """The public tasks with their questions; those of a suite whose data are absent, with why.

        Raises:
            BactrianError: for a task that was named and is absent, a file that is not the one
                expected, or no task.
        """
        from bactrian.evaluate.task_rows import load_all

        public = self._public()
        limits = {task.name: self.limits.get(task.name, self.limit) for task in public}
        named = [task.name for task in public if self.suite is None or self.suite not in task.suites]
        named += [name for name in self.tasks if name not in named]
        loaded, absent = load_all(public, [Path(folder) for folder in self.folders], limits, named, self.files)
        if absent and not loaded and not self._sets():
            raise BactrianError("evaluate: no task's data are at hand:\n  " + "\n  ".join(absent.values()))
        return loaded, absent

    def gold(self, tasks: "Sequence[Loaded]", memos: Path, threads: int) -> "dict[str, GoldCheck]":
        """Gold answers go through every verifier before a look is noted or a model loaded
        (evaluate/gold_check.py).

        Raises:
            BactrianError: for a task whose verifier, tests or data are broken.
        """
        from bactrian.evaluate.gold_check import require
        from bactrian.verify import Pool

        with Pool(threads, self.timeout) as pool:
            return require(tasks, pool, memos)

    def _judges(self, tasks: "Sequence[Loaded]", workspace: "Workspace", held: ExitStack) -> "dict[str, Judge]":
        from bactrian.judge.panel import open_judges

        named = [name for loaded in tasks for name in loaded.verifiers()]
        if self.sure is not None:
            named = [name for name in named if name != "judge"]
        found = judges(workspace, self, ({"dataset": name} for name in named), self.name)
        if self.sure is not None:
            found |= sure_judge(workspace, self.sure, self, tasks, held)
        if self.corpus:
            found["verbatim"] = self._corpus_reader(workspace)
        models = {"compliance_model": workspace.input(self.classifier).path} if self.classifier else {}
        return found | open_judges(models, workspace.hardware, template=self.template, rows=self.batch_rows)

    def _corpus_reader(self, workspace: "Workspace") -> "Judge":
        from bactrian.evaluate.verbatim import CorpusReader

        return CorpusReader([workspace.input(ref).path for ref in self.corpus], self.copied_words)

    def _asker(self, tasks: "Sequence[Loaded]", pool: "Pool", workspace: "Workspace", label: str) -> "Asker":
        from bactrian.evaluate.evaluation import Asker

        labels = self.sure.labels if self.sure else None
        judged = [workspace.input(ref).content_hash for ref in (self.classifier, labels, *self.corpus) if ref]
        condition = self.conditions.get(label, AskingCondition())
        return Asker(
            [replace(loaded, system=condition.system) for loaded in tasks],
            workspace,
            pool,
            lambda folder: self._engine(folder, workspace, condition.memfree),
            None if self.format == "auto" else self.format,
            self.template,
            (*judges_known_as(workspace, self), *judged, *self._known_by()),
            [workspace.input(ref).path for ref in self.train],
            self._decoded_by(workspace, condition.memfree),
        )

    def _known_by(self) -> list[str]:
        """Settings that a verdict depends on."""
        copied = [str(self.copied_words)] if self.corpus else []
        return [*copied, *([self.sure.model_dump_json()] if self.sure else [])]

    def _decoded_by(self, workspace: "Workspace", memfree: MemFreeDecoding | None) -> tuple[str, ...]:
        """What shapes answers besides the model and what it is asked."""
        return () if memfree is None else ("memfree", workspace.input(memfree.corpus).content_hash, str(memfree.n))

    def _engine(self, folder: Path, workspace: "Workspace", memfree: MemFreeDecoding | None) -> "Engine":
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.texts import whole_text
        from bactrian.generate.engines import open_engine, without_reciting

        spread = memfree is None  # what is taken out of reach is looked at token by token
        engine = open_engine(folder, workspace.hardware, template=self.template, rows=self.batch_rows, elastic=spread)
        if memfree is None:
            return engine
        rows = stream_rows(workspace.input(memfree.corpus).path)
        return without_reciting(engine, (whole_text(row) for row, _ in rows), memfree.n)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Answers half as long as they may be; prompts of public tasks of 200 tokens beyond what is shared, of 1,000
        questions where no limit is set. A token costs 2 FLOPs per parameter.
        """
        tokens, rows = 0.0, 0
        loads: list[SamplingLoad] = []
        for name, ref in self._sets().items():
            facts = inputs.get(ref, Facts())
            count = min(facts.rows, self.limits.get(name, self.limit) or facts.rows)
            passes = 1 + (self.samples or 0)
            most = self.max_new_tokens or LONGEST
            tokens += count * (facts.tokens_per_row + passes * most / 2)
            loads.append(SamplingLoad(0, count * passes, most / 2, most, count, facts.tokens_per_row))
            rows += count
        for task in self._public():
            count = self.limits.get(task.name, self.limit or 1000)
            tokens += count * (200 + (task.max_new_tokens / 2 * task.samples if task.form == "generate" else 40))
            answers, most = (count * task.samples, task.max_new_tokens) if task.form == "generate" else (0, 0)
            loads.append(SamplingLoad(0, answers, most / 2, most, count, 200 if answers else 240))
        models = list(self.models.values() if isinstance(self.models, dict) else self.models)
        asked = [inputs.get(ref, Facts()) for ref in models]
        memory = max(4.0 * each.parameters for each in asked) + 3e9
        flops = sum(2.0 * each.multiplied * tokens for each in asked)
        sampling = tuple(
            replace(load, parameters=each.parameters, active=each.active) for each in asked for load in loads
        )
        return Forecast(tokens * len(models), flops, memory, Facts(rows=rows), sampling=sampling)
