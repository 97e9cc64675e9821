"""Stage `scaling`: methods of test-time compute on the same questions, and what their tokens buy."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import VerifierField, known_verifier
from bactrian.stages.measure.thinking_methods import AnyMethod, BudgetForcing, TreeSearch
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, ProblemRef, SamplingLoad, Stage, TemplateRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace
    from bactrian.think.attempt import Chosen
    from bactrian.think.draws import MethodPoint
    from bactrian.think.kept_thoughts import KeptThoughts
    from bactrian.think.kept_trees import BranchRewards, KeptTrees
    from bactrian.think.scaling_metrics import MethodRun
    from bactrian.verify import Pool

Row = dict[str, Any]
Reward = Callable[[Mapping[str, Any], str], float]
Labelled = list[tuple[Mapping[str, str], Any]]


class Scaling(Stage):
    """Accuracy against thinking tokens: budget forcing, other controls, and parallel methods, compared [s1].

    Every run answers the same questions. Thoughts are kept by content, question by question: a run that was killed goes
    on where it was, methods that ask for the same thoughts share them, and a further method costs only its own.
    """

    name: ClassVar[str] = "scaling"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    model: ModelRef = Field(description="the model that thinks")
    data: ProblemRef = Field(description="the problems")
    verifier: VerifierField = None
    methods: list[AnyMethod] = Field(min_length=1, description="each with a `method` and its settings")
    limit: int | None = Field(None, ge=1, description="problems, from the first; by default all")
    format: str = Field("auto", description="how thinking is told from answer: auto, tags, think, s1")
    max_thinking_tokens: int = Field(512, ge=1, description="longest thinking, where a method does not force a budget")
    answer_tokens: int = Field(64, ge=1, description="longest answer")
    final: str = Field("Final Answer:", description="what begins an answer after a cut")
    template: TemplateRef = Field(None, description="chat template, where not the model's own")
    reward_model: ModelRef | None = Field(None, description="for best_of and tree by reward_model")
    process_reward: ModelRef | None = Field(None, description="for tree by process_reward: from that stage")
    train: list[DataRef] = Field([], description="training sets: none may share a question with the problems")
    batch_rows: int = Field(64, ge=1, description="thoughts side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [method.label for method in self.methods]
        if len(set(labels)) < len(labels):
            raise ValueError(f"methods: two are called the same ({', '.join(labels)}); put their settings in one list")
        for name in ("reward_model", "process_reward"):
            if getattr(self, name) is None and any(getattr(method, "by", "") == name for method in self.methods):
                raise ValueError(f"methods: one goes by {name}; expected the setting {name}")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.records import write_records
        from bactrian.evaluate.score_tables import print_results
        from bactrian.verify import Pool

        rows = self._rows(workspace)
        with Pool(workspace.hardware.threads, self.timeout) as pool:
            results, labelled = self._results(self._thoughts(rows, pool, workspace), workspace)
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write_records(workspace.output / "questions.parquet", labelled)
        for method in results["scaling"]["methods"]:
            for name in ("control", "scaling", "performance"):
                if method[name] is not None:
                    workspace.metrics[f"{name}/{method['name']}"] = method[name]
        print_results(results | {"comparisons": []})

    def _rows(self, workspace: "Workspace") -> list[Row]:
        """The problems.

        Raises:
            BactrianError: for none, unseen ones, twice the same id, or one that was trained on.
        """
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.problem_rows import question_keys, trained_keys
        from bactrian.data.io.rows import licences
        from bactrian.evaluate.recognise import known_marks, told, unseen_in
        from bactrian.verify import check_verifiers

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem", known_verifier(self.verifier))[: self.limit]
        if not rows:
            raise BactrianError(f"{path}: found no problems")
        check_verifiers(rows, str(path))
        if found := unseen_in(rows, known_marks(workspace.store, [path])):
            held = f"scaling: {path} holds {told(found)}, which is unseen"
            raise BactrianError(f"{held}: methods are not compared on it; look at it once, with stage evaluate")
        for licence in licences(rows):
            workspace.add_licence(licence)
        if len({row["id"] for row in rows}) < len(rows):
            raise BactrianError(f"{path}: two of its rows have the same id")
        for ref in self.train:
            source = workspace.input(ref)
            trained = {key for row in read_rows(source.path) for key in trained_keys(row)}
            if shared := [row["id"] for row in rows if question_keys(row) & trained]:
                raise BactrianError(
                    f"scaling: {len(shared)} of {len(rows)} questions are in the training set "
                    f"{source.name}, such as {shared[0]}"
                )
        return rows

    def _thoughts(self, rows: list[Row], pool: "Pool", workspace: "Workspace") -> "KeptThoughts":
        from bactrian.chat import thinking_format
        from bactrian.generate.engines import open_engine
        from bactrian.think.kept_thoughts import KeptThoughts, ThoughtLimits

        folder = workspace.input(self.model).path
        engine = open_engine(folder, workspace.hardware, template=self.template, rows=self.batch_rows)
        limits = ThoughtLimits(self.max_thinking_tokens, self.answer_tokens, self.final)
        form = thinking_format(engine.template, self.format)
        return KeptThoughts(rows, engine, form, pool, workspace, limits, self._shaping(rows, workspace))

    def _shaping(self, rows: Sequence[Row], workspace: "Workspace") -> dict[str, Any]:
        """All that shapes every thought of this model on these questions, and its verdict."""
        columns = ("id", "messages", "dataset", "ground_truth", "settings")
        return {
            "model": workspace.input(self.model).content_hash,
            "questions": hashlib.sha256(json.dumps([[r.get(c) for c in columns] for r in rows]).encode()).hexdigest(),
            "format": self.format,
            "answer_tokens": self.answer_tokens,
            "final": self.final,
            "template": self.template,
            "batch_rows": self.batch_rows,
            "timeout": self.timeout,
            "seed": workspace.seed,
            "sandbox": workspace.hardware.sandbox,
        }

    def _results(self, thoughts: "KeptThoughts", workspace: "Workspace") -> tuple[dict[str, Any], Labelled]:
        """results.json and the answers behind it, labelled for questions.parquet."""
        from bactrian.evaluate.comparison import compare_task
        from bactrian.evaluate.records import Record
        from bactrian.evaluate.scoring import Averaging, score
        from bactrian.think.attempt import attempt_value
        from bactrian.think.scaling_metrics import UNIT
        from bactrian.think.scaling_report import answer_columns, equal_tokens, method_run, method_summary, run_line

        task, reward = workspace.input(self.data).name, self._reward(workspace)
        methods, scores, comparisons, labelled = [], [], [], Labelled()
        runs: dict[str, list[MethodRun]] = {}
        for method in self.methods:
            lines, answers = [], []
            runs[method.label] = []
            for point in method.points(self.max_thinking_tokens, attempt_value(thoughts.rows, reward)):
                chosen = self._chosen(method, point, thoughts, reward, workspace)
                label = f"{method.label} · {point.label}"
                columns = [answer_columns(*each, thoughts.form) for each in zip(thoughts.rows, chosen, strict=True)]
                answers.append([Record(**each) for each in columns])
                mode = "sampled" if point.draw.temperature else "greedy"
                labelled += [({"model": label, "task": task, "mode": mode}, answer) for answer in answers[-1]]
                scored = asdict(score(label, task, mode, answers[-1]))
                scores.append(scored)
                runs[method.label].append(run := method_run(point, chosen))
                lines.append(run_line(point, chosen, run, scored))
            methods.append(method_summary(method.label, method.kind, lines, runs[method.label], workspace.seed))
            if len(answers) > 1:
                ends = {"before": scores[-len(answers)]["model"], "after": scores[-1]["model"]}
                place = {"task": task, "mode": scores[-1]["mode"], **ends}
                found = compare_task(task, Averaging(), answers[0], answers[-1])
                comparisons.append(place | asdict(found.comparison))
        forcing = next((method.label for method in self.methods if isinstance(method, BudgetForcing)), None)
        at_equal = equal_tokens(forcing, runs, methods, workspace.seed) if forcing is not None else []
        return {
            "tasks": {task: self._about(thoughts)},
            "models": [each["model"] for each in scores],
            "scores": scores,
            "comparisons": comparisons,
            "scaling": {"unit": UNIT, "methods": methods, "equal_tokens": at_equal},
        }, labelled

    def _about(self, thoughts: "KeptThoughts") -> dict[str, Any]:
        rows = thoughts.rows
        return {
            "n": len(rows),
            "data_hash": thoughts.shaping["questions"],
            "prompt_example": thoughts.engine.template.write(rows[0]["messages"], True),
            "verifier": ", ".join(sorted({row["dataset"] for row in rows})),
            **({"overlap": 0} if self.train else {}),
        }

    def _chosen(
        self, method: AnyMethod, point: "MethodPoint", thoughts: "KeptThoughts", reward: Reward, workspace: "Workspace"
    ) -> "list[Chosen]":
        """The method's answer to each question."""
        if isinstance(method, TreeSearch):
            return self._trees(method, thoughts, reward, workspace).chosen(point.draw)
        attempts = thoughts.attempts(point.draw)
        assert point.pick is not None
        return [point.pick(attempts[row["id"]]) for row in thoughts.rows]

    def _trees(
        self, method: TreeSearch, thoughts: "KeptThoughts", reward: Reward, workspace: "Workspace"
    ) -> "KeptTrees":
        from bactrian.think.kept_trees import KeptTrees, TreeSettings

        ref = {"reward_model": self.reward_model, "process_reward": self.process_reward}.get(method.by)
        judge = workspace.input(ref).content_hash if ref else ""
        settings = TreeSettings(method.label, method.budget, method.step_tokens, method.balance, method.by, judge)
        return KeptTrees(thoughts, settings, self._branch_rewards(method, thoughts, reward, workspace))

    def _branch_rewards(
        self, method: TreeSearch, thoughts: "KeptThoughts", reward: Reward, workspace: "Workspace"
    ) -> "BranchRewards":
        """What says how good the branches of a question's tree are so far."""
        from bactrian.model.reward_model import open_scorer
        from bactrian.think.steps import StepScorer
        from bactrian.think.tree import confidence

        engine = thoughts.engine

        @cache
        def scorer() -> StepScorer:
            folder = workspace.input(str(self.process_reward)).path
            return StepScorer(open_scorer(folder, workspace.hardware, template=self.template), engine)

        if method.by == "process_reward":
            return lambda row, question, branches: scorer()(question.prompt, [each.ids for each in branches])
        if method.by == "reward_model":
            return lambda row, question, branches: [max(reward(row, engine.text(b.ids)), 1e-6) for b in branches]
        return lambda row, question, branches: confidence(branches)

    def _reward(self, workspace: "Workspace") -> Reward:
        """The reward model's view of a text as a problem's answer."""
        from bactrian.judge.panel import reward_of_texts

        folder = workspace.input(self.reward_model).path if self.reward_model else None
        return reward_of_texts(folder, workspace.hardware)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Thinking is taken to be as long as it may be; draws that methods share are counted once."""
        model, data = inputs[self.model], inputs[self.data]
        rows = min(data.rows, self.limit or data.rows)
        most = self.max_thinking_tokens
        draws = {point.draw for method in self.methods for point in method.points(most, lambda by, attempt: 0.0)}
        lengths = [(draw.n, most if draw.thinking is None else draw.thinking) for draw in draws]
        each = sum(n * (thinking + self.answer_tokens) for n, thinking in lengths)
        tokens = float(rows * (each + len(draws) * data.tokens_per_row))
        sampling = tuple(
            SamplingLoad(model.parameters, rows * n, length, length, rows, data.tokens_per_row, active=model.active)
            for n, thinking in lengths
            for length in [thinking + self.answer_tokens]
        )
        flops, memory = 2.0 * model.multiplied * tokens, 4.0 * model.parameters + 2e9
        return Forecast(tokens, flops, memory, Facts(rows=rows), sampling=sampling)
