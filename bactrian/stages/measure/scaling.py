"""Stage `scaling`: methods of test-time compute on the same questions, and what their tokens buy."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.measure.scaling_records import as_run, line, summary
from bactrian.stages.measure.scaling_trees import Trees
from bactrian.stages.measure.thinking_methods import AnyMethod, By, Draw, Forcing, Point, TreeSearch, describe
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.chat import ThinkingFormat
    from bactrian.evaluate.thinking_metrics import Run
    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Workspace
    from bactrian.think.attempt import Attempt, Chosen
    from bactrian.think.forcing import Question
    from bactrian.think.thought import Budget, Thought
    from bactrian.verify import Judge, Pool

Row = dict[str, Any]


class Scaling(Stage):
    """Accuracy against thinking tokens: budget forcing, other controls, and parallel methods, compared [s1].

    Every run answers the same questions. Thoughts are kept by content, question by question: a run that was killed goes
    on where it was, methods that ask for the same thoughts share them, and a further method costs only its own.
    """

    name: ClassVar[str] = "scaling"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    model: ModelRef = Field(description="the model that thinks")
    data: DataRef = Field(description="the problems")
    methods: list[AnyMethod] = Field(min_length=1, description="each with a `method` and its settings")
    limit: int | None = Field(None, ge=1, description="problems, from the first; by default all")
    format: str = Field("auto", description="how thinking is told from answer: auto, tags, think, s1")
    max_thinking_tokens: int = Field(512, ge=1, description="longest thinking, where a method does not force a budget")
    answer_tokens: int = Field(64, ge=1, description="longest answer")
    final: str = Field("Final Answer:", description="what begins an answer after a cut")
    template: str | None = Field(None, description="chat template, where not the model's own")
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

        with Pool(workspace.hardware.threads, self.timeout) as pool:
            results, labelled = Comparing(self, workspace, pool).results()
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write_records(workspace.output / "questions.parquet", labelled)
        for method in results["scaling"]["methods"]:
            for name in ("control", "scaling", "performance"):
                if method[name] is not None:
                    workspace.metrics[f"{name}/{method['name']}"] = method[name]
        print_results(results | {"comparisons": []})

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Thinking is taken to be as long as it may be; draws that methods share are counted once."""
        model, data = inputs[self.model], inputs[self.data]
        rows = min(data.rows, self.limit or data.rows)
        most = self.max_thinking_tokens
        draws = {point.draw for method in self.methods for point in points_without_picks(method, most)}
        lengths = [(draw.n, most if draw.thinking is None else draw.thinking) for draw in draws]
        each = sum(n * (thinking + self.answer_tokens) for n, thinking in lengths)
        tokens = float(rows * (each + len(draws) * data.tokens_per_row))
        return Forecast(tokens, 2.0 * model.parameters * tokens, 4.0 * model.parameters + 2e9, Facts(rows=rows))


def points_without_picks(method: AnyMethod, most: int) -> Iterator[Point]:
    return method.points(most, lambda by, attempt: 0.0)


@dataclass
class Comparing:
    """One run of the stage."""

    stage: Scaling
    workspace: "Workspace"
    pool: "Pool"

    @cached_property
    def rows(self) -> list[Row]:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.problem_rows import question_keys, trained_keys
        from bactrian.data.io.rows import licences
        from bactrian.evaluate.recognise import known_marks, told, unseen_in
        from bactrian.verify import check_verifiers

        path = self.workspace.input(self.stage.data).path
        rows = read_rows(path, "problem")[: self.stage.limit]
        if not rows:
            raise BactrianError(f"{path}: found no problems")
        check_verifiers(rows, str(path))
        if found := unseen_in(rows, known_marks(self.workspace.store, [path])):
            raise BactrianError(
                f"scaling: {path} holds {told(found)}, which is unseen: methods are not compared on "
                f"it; look at it once, with stage evaluate"
            )
        for licence in licences(rows):
            self.workspace.add_licence(licence)
        ids = {row["id"] for row in rows}
        if len(ids) < len(rows):
            raise BactrianError(f"{path}: two of its rows have the same id")
        for ref in self.stage.train:
            source = self.workspace.input(ref)
            trained = {key for row in read_rows(source.path) for key in trained_keys(row)}
            if shared := [row["id"] for row in rows if question_keys(row) & trained]:
                raise BactrianError(
                    f"scaling: {len(shared)} of {len(rows)} questions are in the training set "
                    f"{source.name}, such as {shared[0]}"
                )
        return rows

    @cached_property
    def engine(self) -> "Engine":
        from bactrian.generate.engines import open_engine

        folder, stage = self.workspace.input(self.stage.model).path, self.stage
        return open_engine(folder, self.workspace.hardware, template=stage.template, rows=stage.batch_rows)

    @cached_property
    def form(self) -> "ThinkingFormat":
        from bactrian.chat import thinking_format

        return thinking_format(self.engine.template, self.stage.format)

    @cached_property
    def judge(self) -> "Judge":
        from bactrian.judge.panel import open_judge

        folder = self.workspace.input(str(self.stage.reward_model)).path
        return open_judge("reward_model", folder, self.workspace.hardware)

    @cached_property
    def shaping(self) -> dict[str, Any]:
        """All that shapes every thought of this model on these questions, and its verdict."""
        stage, columns = self.stage, ("id", "messages", "dataset", "ground_truth", "settings")
        rows = hashlib.sha256(json.dumps([[r.get(c) for c in columns] for r in self.rows]).encode()).hexdigest()
        return {
            "model": self.workspace.input(stage.model).content_hash,
            "questions": rows,
            "format": stage.format,
            "answer_tokens": stage.answer_tokens,
            "final": stage.final,
            "template": stage.template,
            "batch_rows": stage.batch_rows,
            "timeout": stage.timeout,
            "seed": self.workspace.seed,
            "sandbox": self.workspace.hardware.sandbox,
        }

    def results(self) -> tuple[dict[str, Any], list[tuple[Mapping[str, str], Any]]]:
        """results.json and the answers behind it, labelled for questions.parquet."""
        from bactrian.evaluate.comparison import compare_task
        from bactrian.evaluate.scoring import Averaging, score
        from bactrian.evaluate.thinking_metrics import UNIT

        task = self.workspace.input(self.stage.data).name
        methods, scores, comparisons, labelled = [], [], [], list[tuple[Mapping[str, str], Any]]()
        runs: dict[str, list[Run]] = {}
        for method in self.stage.methods:
            lines, answers = [], []
            runs[method.label] = []
            for point in method.points(self.stage.max_thinking_tokens, self.value):
                chosen = self.chosen(method, point)
                label = f"{method.label} · {point.label}"
                answers.append([self.answer(row, each) for row, each in zip(self.rows, chosen, strict=True)])
                mode = "sampled" if point.draw.temperature else "greedy"
                labelled += [({"model": label, "task": task, "mode": mode}, answer) for answer in answers[-1]]
                scored = asdict(score(label, task, mode, answers[-1]))
                scores.append(scored)
                run = as_run(point, chosen)
                runs[method.label].append(run)
                lines.append(line(point, chosen, run, scored))
            methods.append(summary(method, lines, runs[method.label], self.workspace.seed))
            if len(answers) > 1:
                place = {
                    "task": task,
                    "mode": scores[-1]["mode"],
                    "before": scores[-len(answers)]["model"],
                    "after": scores[-1]["model"],
                }
                found = compare_task(task, Averaging(), answers[0], answers[-1])
                comparisons.append(place | asdict(found.comparison))
        scaling = {"unit": UNIT, "methods": methods, "equal_tokens": self.equal_tokens(runs, methods)}
        about = {
            "n": len(self.rows),
            "data_hash": self.shaping["questions"],
            "prompt_example": self.example(),
            "verifier": ", ".join(sorted({row["dataset"] for row in self.rows})),
            **({"overlap": 0} if self.stage.train else {}),
        }
        models = [each["model"] for each in scores]
        return {
            "tasks": {task: about},
            "models": models,
            "scores": scores,
            "comparisons": comparisons,
            "scaling": scaling,
        }, labelled

    def example(self) -> str:
        return self.engine.template.write(self.rows[0]["messages"], True)

    def equal_tokens(
        self, runs: "Mapping[str, list[Run]]", methods: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The first forcing curve against every run of a parallel method, at that run's tokens."""
        from bactrian.evaluate.thinking_metrics import at_equal_tokens

        forcing = next((method.label for method in self.stage.methods if isinstance(method, Forcing)), None)
        if forcing is None:
            return []
        found = []
        for method in methods:
            for point, run in zip(method["points"], runs[method["name"]], strict=True):
                if method["kind"] == "parallel":
                    difference = at_equal_tokens(runs[forcing], run, self.workspace.seed)
                    found.append(
                        {
                            "sequential": forcing,
                            "parallel": method["name"],
                            "point": point["label"],
                            "tokens": point["thinking_tokens"],
                            "difference": difference.value,
                            "interval": difference.interval,
                        }
                    )
        return found

    def answer(self, row: Row, chosen: "Chosen") -> Any:
        """What a method answered to a question, as a row of questions.parquet; no answer at all is "unparsable".

        Its thinking tokens are those that count for it, of parallel methods of all their samples.
        """
        from bactrian.evaluate.records import Record

        prompt, attempt = row["messages"][-1]["content"], chosen.attempt
        if attempt is None:
            spent = chosen.sampled
            return Record(
                row["id"], 0, prompt, "", row["ground_truth"], None, 0.0, "unparsable", spent, "length", chosen.tokens
            )
        before = f"{self.form.opening}{attempt.thinking}{self.form.closing}"
        return Record(
            row["id"],
            attempt.sample,
            prompt,
            before + attempt.answer,
            row["ground_truth"],
            attempt.extracted,
            attempt.score,
            attempt.outcome,
            chosen.sampled,
            attempt.finish,
            chosen.tokens,
            attempt.answer_tokens,
            len(before),
        )

    def chosen(self, method: AnyMethod, point: Point) -> "list[Chosen]":
        """The method's answer to each question."""
        if isinstance(method, TreeSearch):
            return Trees(self, method).chosen(point)
        attempts = self.attempts(point.draw)
        assert point.pick is not None
        return [point.pick(attempts[row["id"]]) for row in self.rows]

    def attempts(self, draw: Draw) -> "dict[str, list[Attempt]]":
        """The verified thoughts of a draw, by question; from the memo if they were made before."""
        if draw.thinking is None:
            draw = replace(draw, thinking=self.stage.max_thinking_tokens)
        what = {"what": "thoughts", "draw": asdict(draw)}
        kept = self.kept(what, lambda rows, path: self.think(draw, rows, path))
        return {question: attempts for question, (attempts, _) in kept.items()}

    def kept(
        self, what: Mapping[str, Any], make: Callable[[list[Row], Path], None]
    ) -> "dict[str, tuple[list[Attempt], Mapping[str, Any]]]":
        """Lines of attempts by question: those of the memo, or made now, question by question, in scratch."""
        from bactrian.think import attempt
        from bactrian.verify import versions

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

    def think(self, draw: Draw, rows: list[Row], path: Path) -> None:
        """Make a draw's thoughts on these questions; each question is verified and kept when its last one is done."""
        from bactrian.progress import progress
        from bactrian.think import attempt
        from bactrian.think.forcing import think

        waiting: dict[int, dict[int, Thought]] = {}

        def done(number: int, sample: int, thought: "Thought") -> None:
            mine = waiting.setdefault(number, {})
            mine[sample] = thought
            if len(mine) == draw.n:
                thoughts = [mine[each] for each in range(draw.n)]
                attempt.append(path, self.verified(rows[number], thoughts))
                del waiting[number]
                bar.advance()

        if rows:
            title = f"scaling · {describe(draw)}"
            questions, names = [self.question(row, draw) for row in rows], [row["id"] for row in rows]
            with progress(title, total=len(self.rows), unit="question", done=len(self.rows) - len(rows)) as bar:
                think(self.engine, questions, self.form, self.budget(draw), names=names, on_thought=done)

    def question(self, row: Row, draw: Draw) -> "Question":
        from bactrian.data.io.problem_rows import question_seed
        from bactrian.think.forcing import Question, opened_prompt

        *before, last = row["messages"]
        text = f"{last['content']}\n{draw.sentence}" if draw.sentence else last["content"]
        messages = [*before, {"role": "user", "content": text}]
        prompt = opened_prompt(messages, self.engine.template, self.form, f"question {row['id']}")
        return Question(prompt, draw.n, question_seed(self.workspace.seed, row["id"]), draw.temperature)

    def budget(self, draw: Draw) -> "Budget":
        from bactrian.think.thought import Budget

        return Budget(draw.thinking, draw.waits, draw.extension, self.stage.final, self.stage.answer_tokens)

    def verified(self, row: Row, thoughts: "Sequence[Thought]") -> "list[Attempt]":
        from bactrian.think.attempt import Attempt
        from bactrian.verify import Item

        verdicts = self.pool.verify_all([Item.of(row, thought.answer) for thought in thoughts])
        return [
            Attempt.of(row["id"], i, thought, verdict)
            for i, (thought, verdict) in enumerate(zip(thoughts, verdicts, strict=True))
        ]

    def value(self, by: By, attempt: "Attempt") -> float:
        """How good an attempt is, by what best_of goes by."""
        if by == "verifier":
            return float(attempt.right)
        if by == "confidence":
            return attempt.logprob
        row = next(row for row in self.rows if row["id"] == attempt.question)
        return self.reward(row, f"{attempt.thinking}\n\n{attempt.answer}")

    def reward(self, row: Row, text: str) -> float:
        """The reward model's σ(reward) of a text as the answer to a question's last turn."""
        from bactrian.verify import Problem

        problem = Problem(row["ground_truth"], {"right_from": 0.5}, row["messages"][-1]["content"])
        return self.judge.judge([(problem, text)])[0].score if text.strip() else 0.0
