"""Stages `problems` and `corpus`: verifiable problems with worked solutions, and procedural text to pretrain on."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SEEDS_APART = 1_000_003
"""Between the seeds of two tasks of one step."""

NONSENSE = "Answer: qzx"
"""An answer that no verifier may take for right."""
Split = Annotated[
    Literal["train", "dev", "unseen"],
    Field(
        description="part of the problem space, by the question's hash: they never share a question, whatever the seed"
    ),
]
Count = Annotated[int, Field(ge=1, description="rows to make")]


class Task(BaseModel):
    """One source of problems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def tokens(self, given: Facts) -> float:
        """Of a question and its solution, about, for forecasts; `given`: what is known of the file that it reads."""
        return given.tokens_per_row or 100.0


class Sums(Task):
    """ "Compute 21 - 12 - 23", worked step by step."""

    source: Literal["sums"]
    count: Count
    split: Split = "train"
    terms: tuple[int, int] = Field((2, 4), description="fewest and most terms")
    digits: tuple[int, int] = Field((1, 2), description="fewest and most digits of a term")

    def tokens(self, given: Facts) -> float:
        terms, digits = sum(self.terms) / 2, sum(self.digits) / 2
        return terms * (digits + 1) + (terms - 1) * 3 * (digits + 1.5) + 8

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.procedural import sums

        return sums(seed, self.count + spare, terms=self.terms, digits=self.digits, split=self.split)


class WordProblems(Task):
    """Grade-school stories in a closed vocabulary, worked step by step."""

    source: Literal["word_problems"]
    count: Count
    split: Split = "train"
    largest: int = Field(20, ge=4, description="largest number in a question")
    operations: tuple[int, int] = Field((1, 3), description="fewest and most operations")

    def tokens(self, given: Facts) -> float:
        return 18 + 26 * sum(self.operations) / 2

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.procedural import word_problems

        count = self.count + spare
        return word_problems(seed, count, largest=self.largest, operations=self.operations, split=self.split)


class Tracking(Task):
    """A digit through a chain of operations, with traces of thinking that are as long as the chain."""

    source: Literal["tracking"]
    count: Count
    split: Split = "train"
    steps: tuple[int, int] = Field((2, 16), description="fewest and most operations")
    signs: str = Field("+-*", description="operations, some of + - *")
    largest: int = Field(9, ge=1, le=9, description="largest number that is added or taken away")
    again: float = Field(0.3, ge=0, le=1, description='share of the traces that go over it once more after "Wait"')
    slips: float = Field(0.5, ge=0, le=1, description="share of these whose first pass has a wrong step")

    def tokens(self, given: Facts) -> float:
        return 14 + sum(self.steps) / 2 * (5 + 8 * (1 + self.again))

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.tracking import tracking

        count = self.count + spare
        return tracking(
            seed,
            count,
            steps=self.steps,
            signs=self.signs,
            largest=self.largest,
            again=self.again,
            slips=self.slips,
            split=self.split,
        )


FunctionKind = Literal["numbers", "texts", "lists"]
ConstraintKind = Literal["lowercase", "uppercase", "no_commas", "quotation", "title", "ending", "word_limit", "keyword"]


class Programs(Task):
    """Python functions described in one sentence, with tests that the sandbox runs; one of them is shown."""

    source: Literal["programs"]
    count: Count
    split: Split = "train"
    kinds: list[FunctionKind] = Field(list(get_args(FunctionKind)), description="what the functions work on")
    tests: int = Field(5, ge=2, description="of each function, the shown one included")
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.programs import programs

        count = self.count + spare
        return programs(seed, count, kinds=self.kinds, tests=self.tests, verifier=self.verifier, split=self.split)


class Constraints(Task):
    """Everyday prompts with one or more verifiable constraints on the answer, without solutions."""

    source: Literal["constraints"]
    count: Count
    split: Split = "train"
    kinds: list[ConstraintKind] = Field(
        list(get_args(ConstraintKind)),
        description="of constraint, of those in the training set that a short answer can keep to",
    )
    per_prompt: tuple[int, int] = Field((1, 2), description="fewest and most constraints of a prompt")

    def tokens(self, given: Facts) -> float:
        return 12 + 12 * sum(self.per_prompt) / 2

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.instructed import constraints

        count = self.count + spare
        return constraints(seed, count, kinds=self.kinds, per_prompt=self.per_prompt, split=self.split)


class ReasoningGym(Task):
    """One of reasoning-gym's tasks."""

    source: Literal["reasoning_gym"]
    task: str = Field(description="its name, such as chain_sum")
    count: Count
    split: Split = "train"
    config: dict[str, Any] = Field({}, description="the task's own settings")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.elsewhere import gym_problems

        return gym_problems(self.task, self.config, seed, self.split)


class GSM8K(Task):
    """A file in GSM8K's layout: question, and an answer of worked steps that ends in `#### N`."""

    source: Literal["gsm8k"]
    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")
    verifier: Literal["gsm8k", "gsm8k_strict"] = "gsm8k"
    license: str = Field("MIT", description="licence of the file's rows; GSM8K's is MIT")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.elsewhere import gsm8k_problems
        from bactrian.data.io.files import read_rows

        given = workspace.input(self.data)
        return gsm8k_problems(read_rows(given.path), str(given.path), self.verifier, "openai/gsm8k", self.license)


class HumanEval(Task):
    """A file in HumanEval's layout, or HumanEval+'s: a prompt that begins a function, and tests of it."""

    source: Literal["humaneval"]
    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")
    license: str = Field("MIT", description="licence of the file's rows; HumanEval's is MIT")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.code_tasks import humaneval_problems
        from bactrian.data.io.files import read_rows

        given = workspace.input(self.data)
        return humaneval_problems(read_rows(given.path), str(given.path), self.verifier, self.license)


class MBPP(Task):
    """A file in MBPP's layout: a task in a sentence, and tests, of which the first `shown` stand in the question."""

    source: Literal["mbpp"]
    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")
    shown: int = Field(1, ge=0, description="tests in the question; the usual prompt shows 3, that is nearly all")
    license: str = Field("CC BY 4.0", description="licence of the file's rows; MBPP's is CC BY 4.0")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.code_tasks import mbpp_problems
        from bactrian.data.io.files import read_rows

        given = workspace.input(self.data)
        return mbpp_problems(read_rows(given.path), str(given.path), self.verifier, self.license, self.shown)


class Questions(Task):
    """A file in the layout of MATH (problem, solution, answer), IFEval, or MMLU (question, choices, answer)."""

    source: Literal["questions"]
    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")
    verifier: str | None = Field(None, description="by default math, ifeval or choice, as the layout is")
    license: str = Field("unknown", description="licence of the file's rows")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.questions import questions
        from bactrian.verify import check_verifiers
        from bactrian.verify.maths.solution import boxed

        given = workspace.input(self.data)
        rows = list(questions(read_rows(given.path), str(given.path), self.verifier, self.license, boxed))
        check_verifiers(rows, str(given.path))
        return iter(rows)


class Given(Task):
    """Problem rows that are there already: an artifact, a file or a folder."""

    source: Literal["file"]
    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.files import read_rows
        from bactrian.verify import check_verifiers

        given = workspace.input(self.data)
        rows = read_rows(given.path, "problem")
        check_verifiers(rows, str(given.path))
        return iter(rows)


AnyTask = Annotated[
    Sums
    | WordProblems
    | Tracking
    | Programs
    | Constraints
    | ReasoningGym
    | GSM8K
    | HumanEval
    | MBPP
    | Questions
    | Given,
    Field(discriminator="source"),
]


class Problems(Stage):
    """Verifiable problems with worked solutions: generated, from reasoning-gym, or from a file.

    Every solution is put to the row's own verifier first, and so is nonsense; rows whose verifier refuses the one or
    accepts the other are dropped, counted and shown.
    """

    name: ClassVar[str] = "problems"
    makes: ClassVar[Kind] = Kind.DATA

    tasks: list[AnyTask] = Field(min_length=1, description="where the problems come from")
    exclude: list[HeldOutRef] = Field([], description="held-out rows: whatever shares a question with them is dropped")
    system: str = Field("", description="a system turn for every row")
    instruction: str = Field("", description="a last line added to every question")
    as_conversations: bool = Field(False, description="write the worked solution as an assistant turn, for SFT")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows, write_rows
        from bactrian.data.io.problem_rows import question_keys
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say

        held_out = {
            key for ref in self.exclude for row in read_rows(workspace.input(ref).path) for key in question_keys(row)
        }
        tally, rows, seen = Tally(), [], set[str]()
        for number, task in enumerate(self.tasks):
            fresh = (
                row
                for row in task.problems(workspace.seed + number * SEEDS_APART, len(held_out | seen), workspace)
                if self._wanted(row, seen, held_out, tally)
            )
            checked = solved(islice(fresh, task.count), tally)
            if task.count is not None and len(checked) < task.count:
                say(f"problems: task {number} ({task.source}) gave {len(checked)} rows of the {task.count} asked for")
            rows += checked
        tally.keep(len(rows))
        say(f"problems: {tally}")
        for licence in licences(rows):
            workspace.add_licence(licence)
        workspace.metrics.update(tally.counts())
        write_rows([self._finish(row) for row in rows], workspace.output, card=f"# Problems\n\n```\n{tally}\n```")

    def _wanted(self, row: Row, seen: set[str], held_out: set[str], tally: Any) -> bool:
        """Whether a row is new and not held out; what is refused is counted."""
        from bactrian.data.io.problem_rows import question_keys, trained_keys

        keys = question_keys(row)
        if trained_keys(row) & held_out:
            tally.drop("its question is held out", str(row["id"]))
        elif keys & seen:
            tally.drop("its question came before", str(row["id"]))
        else:
            seen |= keys
            return True
        return False

    def _finish(self, row: Row) -> Row:
        """The row with the system turn and the instruction; the solution as a turn if conversations are wanted."""
        from bactrian.data.io.problem_rows import worked_turn

        *before, question = row["messages"]
        asked = f"{question['content']}\n{self.instruction}" if self.instruction else question["content"]
        first = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*first, *before, {"role": "user", "content": asked}]
        if not self.as_conversations:
            return {**row, "messages": messages}
        if "solution" not in row:
            raise BactrianError(
                f"problems: row {row['id']} ({row['source']}) has no 'solution', as_conversations needs it"
            )
        return {"messages": [*messages, worked_turn(row)]} | {name: row[name] for name in ("id", "source", "license")}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        given = [inputs.get(getattr(task, "data", ""), Facts()) for task in self.tasks]
        rows = [task.count or known.rows for task, known in zip(self.tasks, given, strict=True)]
        tokens = sum(n * task.tokens(known) for n, task, known in zip(rows, self.tasks, given, strict=True))
        around = 10 + (len(self.system) + len(self.instruction)) / 4  # the template's tokens, and what each row repeats
        return Forecast(makes=Facts(rows=sum(rows), tokens_per_row=tokens / sum(rows) + around if sum(rows) else 0.0))


def solved(rows: Iterator[Row], tally: Any) -> list[Row]:
    """The rows whose verifier takes their solution (if they have one) for right, and NONSENSE not.

    A verifier of form alone may rightly be content with nonsense. Rows that a model judges are kept: it is not here.
    """
    from bactrian.verify import Item, verifier, verify_all

    given = list(rows)
    kept = [row for row in given if verifier(row["dataset"]).place == "judge"]
    drawn = [row for row in given if verifier(row["dataset"]).place != "judge"]
    golden = verify_all([Item.of(row, row.get("solution", "")) for row in drawn])
    nonsense = verify_all([Item.of(row, NONSENSE) for row in drawn])
    for row, gold, junk in zip(drawn, golden, nonsense, strict=True):
        if "solution" in row and gold.outcome != "right":
            tally.drop(f"its verifier finds its solution {gold.outcome}", f"{row['id']}: {gold.reason}")
        elif junk.outcome == "right" and not verifier(row["dataset"]).of_form:
            tally.drop("its verifier takes nonsense for right", f"{row['id']}: {junk.reason}")
        else:
            kept.append(row)
    return kept


class Corpus(Stage):
    """Procedural text in the vocabulary of the word problems, to pretrain a tiny model on."""

    name: ClassVar[str] = "corpus"
    makes: ClassVar[Kind] = Kind.DATA

    count: int = Field(100_000, ge=1, description="texts, about 60 words each")
    largest: int = Field(20, ge=4, description="largest operand")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import write_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.synth.procedural import corpus
        from bactrian.progress import progress

        rows = []
        with progress("corpus", total=self.count, unit="text") as bar:
            for row in corpus(workspace.seed, self.count, largest=self.largest):
                rows.append(row)
                bar.advance()
        for licence in licences(rows[:1]):
            workspace.add_licence(licence)
        workspace.metrics["rows_kept"] = float(len(rows))
        write_rows(rows, workspace.output, card="# Procedural text for pretraining")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(makes=Facts(rows=self.count, tokens_per_row=62.0))
