"""Where stage `problems` gets problems: settings of each maker, and of files in several layouts."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Need, Settings, verifier_needs

if TYPE_CHECKING:
    from bactrian.data.io.rows import RowKind
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class ProblemSource(Settings):
    """One source of problems."""

    def tokens(self, given: Facts) -> float:
        """Of a question and its solution, about, for forecasts; `given`: what is known of the file that it reads."""
        return given.tokens_per_row or 100.0


class MadeProblems(ProblemSource):
    """Base of the sources that make problems."""

    count: int = Field(ge=1, description="rows to make")
    split: Literal["train", "dev", "unseen"] = Field(
        "train",
        description="part of the problem space, by the question's hash: they never share a question, whatever the seed",
    )


class Sums(MadeProblems):
    """ "Compute 21 - 12 - 23", worked step by step."""

    source: Literal["sums"]
    terms: tuple[int, int] = Field((2, 4), description="fewest and most terms")
    digits: tuple[int, int] = Field((1, 2), description="fewest and most digits of a term")

    def tokens(self, given: Facts) -> float:
        terms, digits = sum(self.terms) / 2, sum(self.digits) / 2
        return terms * (digits + 1) + (terms - 1) * 3 * (digits + 1.5) + 8

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.procedural import sums

        return sums(seed, self.count + spare, terms=self.terms, digits=self.digits, split=self.split)


class WordProblems(MadeProblems):
    """Grade-school stories in a closed vocabulary, worked step by step."""

    source: Literal["word_problems"]
    largest: int = Field(20, ge=4, description="largest number in a question")
    operations: tuple[int, int] = Field((1, 3), description="fewest and most operations")

    def tokens(self, given: Facts) -> float:
        return 18 + 26 * sum(self.operations) / 2

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.procedural import word_problems

        count = self.count + spare
        return word_problems(seed, count, largest=self.largest, operations=self.operations, split=self.split)


class TrackingProblems(MadeProblems):
    """A digit through a chain of operations, with traces of thinking that are as long as the chain."""

    source: Literal["tracking"]
    steps: tuple[int, int] = Field((2, 16), description="fewest and most operations")
    signs: str = Field("+-*", description="operations, some of + - *")
    largest: int = Field(9, ge=1, le=9, description="largest number that is added or taken away")
    again: float = Field(0.3, ge=0, le=1, description='share of the traces that go over it once more after "Wait"')
    slips: float = Field(0.5, ge=0, le=1, description="share of these whose first pass has a wrong step")

    def tokens(self, given: Facts) -> float:
        return 14 + sum(self.steps) / 2 * (5 + 8 * (1 + self.again))

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.digit_chains import tracking

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


class ProgramProblems(MadeProblems):
    """Python functions described in one sentence, with tests that the sandbox runs; one of them is shown."""

    source: Literal["programs"]
    kinds: list[FunctionKind] = Field(list(get_args(FunctionKind)), description="what the functions work on")
    tests: int = Field(5, ge=2, description="of each function, the shown one included")
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.programs import programs

        count = self.count + spare
        return programs(seed, count, kinds=self.kinds, tests=self.tests, verifier=self.verifier, split=self.split)


class ConstraintProblems(MadeProblems):
    """Everyday prompts with one or more verifiable constraints on the answer, without solutions."""

    source: Literal["constraints"]
    kinds: list[ConstraintKind] = Field(
        list(get_args(ConstraintKind)),
        description="of constraint, of those in the training set that a short answer can keep to",
    )
    per_prompt: tuple[int, int] = Field((1, 2), description="fewest and most constraints of a prompt")

    def needs(self) -> Iterable[Need]:
        """Their verifier."""
        return verifier_needs(["instructions"])

    def tokens(self, given: Facts) -> float:
        return 12 + 12 * sum(self.per_prompt) / 2

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.synth.instructed import constraints

        count = self.count + spare
        return constraints(seed, count, kinds=self.kinds, per_prompt=self.per_prompt, split=self.split)


class ReasoningGym(MadeProblems):
    """One of reasoning-gym's tasks."""

    source: Literal["reasoning_gym"]
    task: str = Field(description="its name, such as chain_sum")
    config: dict[str, Any] = Field({}, description="the task's own settings")

    def needs(self) -> Iterable[Need]:
        """The package that makes them."""
        return [Need("source: reasoning_gym", "problems")]

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.elsewhere import gym_problems

        return gym_problems(self.task, self.config, seed, self.split)


class ProblemsOfFile(ProblemSource):
    """Base of the sources that read a file."""

    data: DataRef
    count: int | None = Field(None, ge=1, description="rows to take, from the first; by default all")

    def read(self, workspace: "Workspace", kind: "RowKind | None" = None) -> tuple[list[Row], str]:
        """The file's rows, and its path for messages."""
        from bactrian.data.io.files import read_rows

        path = workspace.input(self.data).path
        return read_rows(path, kind), str(path)


class GSM8K(ProblemsOfFile):
    """A file in GSM8K's layout: question, and an answer of worked steps that ends in `#### N`."""

    source: Literal["gsm8k"]
    verifier: Literal["gsm8k", "gsm8k_strict"] = "gsm8k"
    license: str = Field("MIT", description="licence of the file's rows; GSM8K's is MIT")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.elsewhere import gsm8k_problems

        return gsm8k_problems(*self.read(workspace), self.verifier, "openai/gsm8k", self.license)


class HumanEval(ProblemsOfFile):
    """A file in HumanEval's layout, or HumanEval+'s: a prompt that begins a function, and tests of it."""

    source: Literal["humaneval"]
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")
    license: str = Field("MIT", description="licence of the file's rows; HumanEval's is MIT")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.code_tasks import humaneval_problems

        return humaneval_problems(*self.read(workspace), self.verifier, self.license)


class MBPP(ProblemsOfFile):
    """A file in MBPP's layout: a task in a sentence, and tests, of which the first `shown` stand in the question."""

    source: Literal["mbpp"]
    verifier: Literal["code", "code_rate"] = Field("code", description="all tests must pass, or the share that does")
    shown: int = Field(1, ge=0, description="tests in the question; the usual prompt shows 3, that is nearly all")
    license: str = Field("CC BY 4.0", description="licence of the file's rows; MBPP's is CC BY 4.0")

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.code_tasks import mbpp_problems

        return mbpp_problems(*self.read(workspace), self.verifier, self.license, self.shown)


class QuestionFile(ProblemsOfFile):
    """A file in the layout of MATH (problem, solution, answer), IFEval, or MMLU (question, choices, answer)."""

    source: Literal["questions"]
    verifier: str | None = Field(None, description="by default math, ifeval or choice, as the layout is")
    license: str = Field("unknown", description="licence of the file's rows")

    def needs(self) -> Iterable[Need]:
        """The verifier, where it is named."""
        return verifier_needs([self.verifier] if self.verifier else [])

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.question_files import questions
        from bactrian.verify import check_verifiers
        from bactrian.verify.maths.solution import boxed

        given, path = self.read(workspace)
        rows = list(questions(given, path, self.verifier, self.license, boxed))
        check_verifiers(rows, path)
        return iter(rows)


class ProblemFile(ProblemsOfFile):
    """Problem rows that are there already: an artifact, a file or a folder."""

    source: Literal["file"]

    def problems(self, seed: int, spare: int, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.verify import check_verifiers

        rows, path = self.read(workspace, "problem")
        check_verifiers(rows, path)
        return iter(rows)


AnyProblemSource = Annotated[
    Sums
    | WordProblems
    | TrackingProblems
    | ProgramProblems
    | ConstraintProblems
    | ReasoningGym
    | GSM8K
    | HumanEval
    | MBPP
    | QuestionFile
    | ProblemFile,
    Field(discriminator="source"),
]
