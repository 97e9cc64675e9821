"""The methods that stage `scaling` compares: what each asks of the model, and how it chooses an answer [SPEC §6.5]."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import Settings

if TYPE_CHECKING:
    from bactrian.think.attempt import Attempt, Pick

Kind = Literal["sequential", "parallel"]
By = Literal["confidence", "reward_model", "verifier"]


@dataclass(frozen=True)
class Draw:
    """Thoughts that are asked for: a sentence after the question, limits, how many. The same draw is made once for all.

    thinking: budget in tokens; None: the stage's limit, as where a method asks but does not force.
    """

    sentence: str = ""
    thinking: int | None = None
    waits: int = 0
    extension: str = ""
    temperature: float = 0.0
    n: int = 1


@dataclass(frozen=True)
class Point:
    """A method at one setting. least, most: bounds of the thinking that was asked for; its control is kept to them."""

    label: str
    draw: Draw
    pick: "Pick | None"  # None: the method makes its own thoughts (tree)
    least: float
    most: float


Budgets = Annotated[list[int], Field(min_length=1, description="tokens of thinking asked for, one run each")]


class Method(Settings):
    """A way to spend tokens on thinking."""

    kind: ClassVar[Kind] = "sequential"
    method: str

    @property
    def label(self) -> str:
        return self.method

    @abstractmethod
    def points(self, limit: int, value: Any) -> Iterator[Point]:
        """Its runs. limit: the stage's; value: number of an attempt by a `By`."""


class Forcing(Method):
    """Budget forcing: thinking is cut at each budget, and its end taken back up to each number of waits."""

    method: Literal["forcing"]
    budgets: Budgets
    waits: list[int] = Field([0], min_length=1, description="how many endings are taken back, one run each")
    extension: str = Field("Wait", description="what is written in an ending's place; may be empty")

    @property
    def label(self) -> str:
        return "forcing" if self.waits == [0] else f"forcing, {self.extension.strip() or 'no string'!r}"

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        from bactrian.think.attempt import only

        for budget in self.budgets:
            for waits in self.waits:
                label = str(budget) + (f", {waits} waits" if waits else "")
                draw = Draw("", budget, waits, self.extension if waits else "")
                yield Point(label, draw, only(0, budget), 0, budget)


class Asked(Method):
    """Base of the methods that state a budget in the prompt."""

    force: bool = Field(False, description="also cut the thinking at what was asked for")

    def asked(self, label: str, sentence: str, least: float, most: float, limit: int) -> Point:
        from bactrian.think.attempt import only

        cut = int(most) if self.force and most < limit else None
        return Point(label, Draw(sentence, cut), only(least, most), least, most)

    @property
    def label(self) -> str:
        return self.method + (" + forcing" if self.force else "")


class Tokens(Asked):
    """Token-conditional control: the prompt states the number of tokens."""

    method: Literal["tokens"]
    budgets: Budgets
    sentence: str = Field("Think for up to {n} tokens.", description="what the prompt says; {n}: the number")

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        for budget in self.budgets:
            yield self.asked(str(budget), self.sentence.replace("{n}", str(budget)), 0, budget, limit)


class Steps(Asked):
    """Step-conditional control: the prompt states the number of steps, which count down; so many tokens each."""

    method: Literal["steps"]
    steps: list[int] = Field(min_length=1, description="steps asked for, one run each")
    tokens_per_step: int = Field(100, ge=1, description="a step's tokens, for what was asked in tokens")
    sentence: str = Field(
        'Think in up to {n} steps. Begin each with how many are left: "{n} steps left".', description="{n}: the number"
    )

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        for steps in self.steps:
            most = steps * self.tokens_per_step
            yield self.asked(f"{steps} steps", self.sentence.replace("{n}", str(steps)), 0, most, limit)


class Classes(Asked):
    """Class-conditional control: the prompt asks for brief or for long thinking."""

    method: Literal["classes"]
    brief: int = Field(ge=1, description="brief thinking has so many tokens at most")
    long: int = Field(ge=1, description="long thinking has so many at least")
    brief_sentence: str = "Think briefly."
    long_sentence: str = "Think for a long time."

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        yield self.asked("brief", self.brief_sentence, 0, self.brief, limit)
        yield self.asked("long", self.long_sentence, self.long, limit, limit)


class Rejection(Method):
    """Rejection sampling: draw until the thinking ends by itself within the budget."""

    method: Literal["rejection"]
    budgets: Budgets
    tries: int = Field(8, ge=1, description="draws at most; after that there is no answer")
    temperature: float = Field(1.0, gt=0)

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        from bactrian.think.attempt import first_within

        for budget in self.budgets:
            draw = Draw("", budget, temperature=self.temperature, n=self.tries)
            yield Point(str(budget), draw, first_within(budget), 0, budget)


class Sampled(Method):
    """Base of the methods that answer once from several samples, each with its thinking forced to a budget."""

    kind: ClassVar[Kind] = "parallel"

    samples: list[int] = Field(min_length=1, description="samples, one run each; they are drawn once for all runs")
    budget: int = Field(ge=0, description="tokens of thinking of each sample at most")
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if min(self.samples) < 1:
            raise ValueError(f"samples: found {self.samples}, expected numbers from 1")
        return self

    @property
    def label(self) -> str:
        return f"{self.what} of thoughts of {self.budget}"

    @property
    def what(self) -> str:
        return self.method

    def drawn(self) -> Draw:
        return Draw("", self.budget, temperature=self.temperature, n=max(self.samples))


class Majority(Sampled):
    """Majority voting over samples [self-consistency]."""

    method: Literal["majority"]

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        from bactrian.think.attempt import majority

        for count in self.samples:
            yield Point(f"{count} samples", self.drawn(), majority(count, self.budget), 0, count * self.budget)


class BestOf(Sampled):
    """Best of n samples by a reward model, by the model's own confidence, or by the verifier (an upper bound)."""

    method: Literal["best_of"]
    by: By = Field("confidence", description="verifier: it knows the answer, so that this is pass@n, a bound")

    @property
    def what(self) -> str:
        return f"best by {self.by.replace('_', ' ')}" + (" (bound)" if self.by == "verifier" else "")

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        from bactrian.think.attempt import best_by

        def worth(attempt: "Attempt") -> float:
            return float(value(self.by, attempt))

        for count in self.samples:
            yield Point(f"{count} samples", self.drawn(), best_by(count, self.budget, worth), 0, count * self.budget)


class TreeSearch(Method):
    """Tree search guided by a process reward (REBASE-like): see bactrian/think/tree.py."""

    kind: ClassVar[Kind] = "parallel"

    method: Literal["tree"]
    widths: list[int] = Field(min_length=1, description="branches at once, one run each")
    budget: int = Field(ge=1, description="tokens of thinking of each branch at most")
    step_tokens: int = Field(32, ge=1, description="a step is a line, or so many tokens")
    balance: float = Field(0.1, gt=0, description="temperature of the softmax over rewards")
    by: Literal["confidence", "reward_model", "process_reward"] = Field(
        "confidence", description="what says how good a thought so far is: process_reward was trained to, on steps"
    )
    temperature: float = Field(1.0, gt=0)

    @property
    def label(self) -> str:
        return f"tree by {self.by.replace('_', ' ')} of thoughts of {self.budget}"

    def points(self, limit: int, value: Any) -> Iterator[Point]:
        for width in self.widths:
            draw = Draw("", self.budget, temperature=self.temperature, n=width)
            yield Point(f"width {width}", draw, None, 0, width * self.budget)


AnyMethod = Annotated[
    Forcing | Tokens | Steps | Classes | Rejection | Majority | BestOf | TreeSearch, Field(discriminator="method")
]


def describe(draw: Draw) -> str:
    """A draw in a few words, for progress."""
    length = f"{draw.thinking} tokens" if draw.thinking is not None else "as long as it likes"
    waits, samples = f"{draw.waits} waits" if draw.waits else "", f"{draw.n} samples" if draw.n > 1 else ""
    parts = [length, waits, samples, draw.sentence[:40]]
    return ", ".join(filter(None, parts))
