"""Stage `evaluate`: models answer held-out problems, and their scores and differences get error bars."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.data.io.problem_rows import question_seed
from bactrian.errors import BactrianError
from bactrian.stages.judge.judged import Judged
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.scoring import Answer, Mode
    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Pool

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Problem rows under a name; `digest` is the SHA-256 of all that models and verifiers read of them."""

    name: str
    rows: list[Row]
    digest: str


@dataclass(frozen=True)
class Answered:
    """One model's answers to one task in one mode, with the text of its first prompt and its template's digest."""

    model: str
    task: Task
    mode: "Mode"
    answers: "list[Answer]"
    prompt_example: str
    template_hash: str


class Evaluate(Judged):
    """Scores of models on held-out problems, with intervals, and paired tests between models.

    Each model's answers to one task in one mode are kept by content, so that a further model costs only its own. A run
    that was killed asks only for the answers that were not finished.
    """

    name: ClassVar[str] = "evaluate"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    models: dict[str, ModelRef] | list[ModelRef] = Field(description="models in the order in which they were made")
    data: DataRef | None = Field(None, description="the problems; for several sets use tasks")
    tasks: dict[str, DataRef] = Field({}, description="name → problems")
    train: list[DataRef] = Field([], description="training sets: none may share a question with the problems")
    baseline: str | None = Field(None, description="a model that every other is also compared with")
    limit: int | None = Field(None, ge=1, description="problems of each task, from the first; by default all")
    final: bool = Field(False, description="this is a final candidate: it may look at problems of an unseen suite")
    reason: str = Field("", description="why unseen problems are looked at now, for the ledger")
    samples: int = Field(0, ge=0, description="sampled answers to each problem, besides the greedy one")
    temperature: float = Field(1.0, gt=0, description="of the sampled answers")
    top_p: float = Field(1.0, gt=0, le=1, description="of the sampled answers")
    k: list[int] = Field([], description="pass@k of the sampled answers for each k; k ≤ samples")
    max_new_tokens: int = Field(256, ge=1, description="longest answer")
    stop: list[str] = Field([], description="texts that end an answer")
    template: str | None = Field(None, description="chat template, where not the model's own")
    batch_rows: int = Field(64, ge=1, description="answers generated side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers on which a verifier may itself fail")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.models:
            raise ValueError("models: expected at least one")
        if (self.data is None) == (not self.tasks):
            raise ValueError("expected either data or tasks")
        if self.k and not 1 <= min(self.k) <= max(self.k) <= self.samples:
            raise ValueError(f"k: found {self.k}, expected numbers from 1 to samples ({self.samples})")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.records import print_table, write_answers
        from bactrian.verify import Pool

        tasks = self._tasks(workspace)
        looks = self._declare(tasks, workspace)
        self._refuse_overlap(tasks, workspace)
        self._refuse_too_long(workspace)
        judges = self.judges(workspace, (row for task in tasks for row in task.rows))
        with Pool(workspace.hardware.threads, self.timeout, judges) as pool:
            answered = [
                each
                for label, ref in self._labels(workspace)
                for each in self._model(label, ref, tasks, pool, workspace)
            ]
        results = self._results(answered, tasks, workspace)
        for name, number in looks.items():
            results["tasks"][name]["looks"] = number
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        labelled = [
            ({"model": a.model, "task": a.task.name, "mode": a.mode}, answer) for a in answered for answer in a.answers
        ]
        write_answers(workspace.output / "questions.parquet", labelled)
        workspace.metrics["tokens"] = float(sum(answer.tokens for each in answered for answer in each.answers))
        for each in results["scores"]:
            workspace.metrics[f"{each['task']}/{each['mode']}/{each['model']}"] = each["score"]
        print_table(results["scores"], results["comparisons"])

    def _labels(self, workspace: "Workspace") -> list[tuple[str, str]]:
        """(label, reference) of each model. Raises BactrianError for two of one label or an unknown baseline."""
        if isinstance(self.models, dict):
            labels = list(self.models.items())
        else:
            labels = [(workspace.input(ref).name, ref) for ref in self.models]
        names = [label for label, _ in labels]
        if len(set(names)) < len(names):
            raise BactrianError(
                f"evaluate: models: two are called the same ({', '.join(names)}); name them by a mapping"
            )
        if self.baseline is not None and self.baseline not in names:
            raise BactrianError(f"evaluate: baseline: found {self.baseline!r}, expected one of {', '.join(names)}")
        return labels

    def _tasks(self, workspace: "Workspace") -> list[Task]:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.verify import check_verifiers

        named = self.tasks or {workspace.input(self.data).name: self.data} if self.data else self.tasks
        tasks = []
        for name, ref in named.items():
            rows = read_rows(workspace.input(ref).path, "problem")[: self.limit]
            check_verifiers(rows, str(workspace.input(ref).path))
            for licence in licences(rows):
                workspace.add_licence(licence)
            ids = [row["id"] for row in rows]
            if len(set(ids)) < len(ids):
                twice = next(each for each in ids if ids.count(each) > 1)
                raise BactrianError(f"evaluate: task {name}: two rows have the id {twice}")
            columns = ("id", "messages", "dataset", "ground_truth", "settings")
            shaping = [[row.get(column) for column in columns] for row in rows]
            tasks.append(Task(name, rows, hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()))
        return tasks

    def _declare(self, tasks: Sequence[Task], workspace: "Workspace") -> dict[str, int]:
        """Task → looks by the ledger, of problems that are of an unseen suite, whatever their file is called.

        Raises BactrianError where there are such and the look is not declared.
        """
        from bactrian.evaluate.recognise import declare

        refs = self.tasks.values() if self.tasks else [self.data or ""]
        return declare(
            "evaluate",
            {task.name: task.rows for task in tasks},
            {label: workspace.input(ref).content_hash for label, ref in self._labels(workspace)},
            self.final,
            self.reason,
            workspace,
            [workspace.input(ref).path for ref in refs],
        )

    def _refuse_overlap(self, tasks: Sequence[Task], workspace: "Workspace") -> None:
        """Raises BactrianError naming the questions of a task that a training set holds too."""
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.problem_rows import refuse_trained

        for ref in self.train:
            trained = read_rows(workspace.input(ref).path)
            for task in tasks:
                refuse_trained(f"task {task.name}", task.rows, trained, workspace.input(ref).name)

    def _refuse_too_long(self, workspace: "Workspace") -> None:
        """Raises BactrianError naming a model whose context has no room for a prompt and max_new_tokens."""
        from bactrian.model.language_model import context_of

        for label, ref in self._labels(workspace):
            context = context_of(workspace.input(ref).path)
            if context is not None and self.max_new_tokens >= context:
                raise BactrianError(
                    f"evaluate: max_new_tokens: found {self.max_new_tokens}, expected less than {context}, "
                    f"the context of model {label}"
                )

    def _model(
        self, label: str, ref: str, tasks: Sequence[Task], pool: "Pool", workspace: "Workspace"
    ) -> list[Answered]:
        """All of one model's answers. The model is loaded when the first of them is not there yet."""
        from bactrian.sandbox import versions as packages
        from bactrian.verify import versions

        engine: Engine | None = None
        modes: list[Mode] = ["greedy", "sampled"] if self.samples else ["greedy"]
        answered = []
        for task in tasks:
            for mode in modes:
                judges = self.judges_known_as(workspace)
                shaping = self._shaping(workspace.input(ref).content_hash, task, mode, workspace.seed)
                walls = [workspace.hardware.sandbox, dict(packages())]
                shaping |= {"sandbox": walls, "judges": judges, "verifiers": versions(task.rows)}
                memo = workspace.memo(**shaping)
                if not memo.exists:
                    engine = engine or load_engine(workspace.input(ref).path, self, workspace)
                    kept = workspace.scratch / f"{memo.path.name}.jsonl"
                    self._answer(engine, label, task, mode, pool, workspace.seed, memo.begin(), kept)
                    memo.commit()
                    kept.unlink()
                answered.append(read_memo(memo.path, label, task, mode))
        return answered

    def _shaping(self, model: str, task: Task, mode: "Mode", seed: int) -> dict[str, Any]:
        """All that shapes one model's answers to one task in one mode, and their verdicts."""
        always = {
            "what": "answers",
            "model": model,
            "task": task.digest,
            "mode": mode,
            "max_new_tokens": self.max_new_tokens,
            "stop": self.stop,
            "template": self.template,
            "batch_rows": self.batch_rows,
            "timeout": self.timeout,
            "failures": self.failures,
        }
        drawn = {"samples": self.samples, "temperature": self.temperature, "top_p": self.top_p, "seed": seed}
        return always | (drawn if mode == "sampled" else {})

    def _answer(
        self,
        engine: "Engine",
        label: str,
        task: Task,
        mode: "Mode",
        pool: "Pool",
        seed: int,
        folder: Path,
        kept: Path,
    ) -> None:
        """Generate, into `kept` as answers come, and grade; write answers.parquet and about.json into `folder`.

        Raises BactrianError where the verifier fails.
        """
        from bactrian.chat import ThinkingReader, prompt_ids
        from bactrian.evaluate.records import write_answers
        from bactrian.evaluate.scoring import grade, refuse_failures
        from bactrian.generate.engine import Request
        from bactrian.generate.kept import generate_kept
        from bactrian.progress import progress

        title = f"{label} · {task.name} · {mode}"
        greedy = Request((0,), max_new_tokens=self.max_new_tokens, stop=tuple(self.stop), temperature=0.0)
        drawn = (
            replace(greedy, n=self.samples, temperature=self.temperature, top_p=self.top_p) if self.samples else greedy
        )
        requests, prompts = [], []
        for row in task.rows:
            ids = prompt_ids(row["messages"], engine.template, f"task {task.name}, row {row['id']}")
            prompts.append(engine.template.write(row["messages"], True))
            settings = drawn if mode == "sampled" else greedy
            requests.append(replace(settings, prompt=tuple(ids), seed=question_seed(seed, row["id"])))
        with progress(f"evaluate · {title}", unit="token") as bar:
            completions = generate_kept(engine, requests, kept, lambda tokens: bar.advance(tokens))
        answers = grade(task.rows, prompts, completions, pool, ThinkingReader(engine.template))
        refuse_failures(title, answers, self.failures)
        write_answers(folder / "answers.parquet", (({}, answer) for answer in answers))
        about = {"prompt_example": prompts[0], "template_hash": engine.template.digest}
        (folder / "about.json").write_text(json.dumps(about))

    def _results(self, answered: Sequence[Answered], tasks: Sequence[Task], workspace: "Workspace") -> dict[str, Any]:
        """results.json, as in docs/design.md; each score also says with which prompt, template and limit it was got."""
        from bactrian.evaluate.scoring import compare, score

        labels = [label for label, _ in self._labels(workspace)]
        scores, comparisons, about = [], [], {}
        for each in answered:
            k = self.k if each.mode == "sampled" else []
            settings = {
                "prompt_example": each.prompt_example,
                "template_hash": each.template_hash,
                "max_new_tokens": self.max_new_tokens,
                "verifier": verifiers(each.task),
            }
            scores.append(asdict(score(each.model, each.task.name, each.mode, each.answers, k)) | settings)
            about[each.task.name] = settings
        by_place = {(each.task.name, each.mode, each.model): each.answers for each in answered}
        for task, mode in dict.fromkeys((each.task.name, each.mode) for each in answered):
            for before, after in pairs_to_compare(labels, self.baseline):
                found = compare(by_place[task, mode, before], by_place[task, mode, after], workspace.seed)
                place = {"task": task, "mode": mode, "before": before, "after": after}
                comparisons.append(place | asdict(found))
        overlap = {"overlap": 0} if self.train else {}
        described = {
            task.name: {"n": len(task.rows), "data_hash": task.digest, **about[task.name], **overlap} for task in tasks
        }
        return {"tasks": described, "models": labels, "scores": scores, "comparisons": comparisons}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Answers are taken to be half as long as they may be; a token costs 2 FLOPs per parameter."""
        models = [
            inputs.get(ref, Facts()) for ref in (self.models.values() if isinstance(self.models, dict) else self.models)
        ]
        data = [inputs.get(ref, Facts()) for ref in ([self.data] if self.data else list(self.tasks.values()))]
        rows = [min(facts.rows, self.limit or facts.rows) for facts in data]
        passes = 1 + self.samples
        tokens = sum(n * (f.tokens_per_row + passes * self.max_new_tokens / 2) for n, f in zip(rows, data, strict=True))
        flops = sum(2.0 * model.parameters * tokens for model in models)
        memory = max(4.0 * model.parameters for model in models) + 2e9
        return Forecast(tokens=tokens * len(models), flops=flops, peak_memory=memory, makes=Facts(rows=sum(rows)))


def load_engine(folder: Path, stage: Evaluate, workspace: "Workspace") -> "Engine":
    """The engine on a model folder, as the hardware settings want it."""
    from bactrian.generate.engines import open_engine

    return open_engine(folder, workspace.hardware, template=stage.template, rows=stage.batch_rows)


def read_memo(folder: Path, label: str, task: Task, mode: "Mode") -> Answered:
    """One model's answers as `Evaluate._answer` left them."""
    from bactrian.evaluate.records import read_answers

    about = json.loads((folder / "about.json").read_text())
    return Answered(label, task, mode, read_answers(folder / "answers.parquet"), **about)


def pairs_to_compare(labels: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Each model with the next, the first with the last, and the baseline with every other; none twice."""
    pairs = [*pairwise(labels), *([(labels[0], labels[-1])] if len(labels) > 1 else [])]
    pairs += [(baseline, label) for label in labels if baseline is not None and label != baseline]
    return [pair for i, pair in enumerate(pairs) if pair not in pairs[:i] and pair[::-1] not in pairs[:i]]


def verifiers(task: Task) -> str:
    return ", ".join(sorted({row["dataset"] for row in task.rows}))
