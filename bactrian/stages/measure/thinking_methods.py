"""The methods that stage `scaling` compares: what each asks of the model, and how it chooses an answer [s1]."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import Settings
from bactrian.think.draws import MethodPoint, ThoughtDraw

if TYPE_CHECKING:
    from bactrian.think.attempt import Attempt

MethodKind = Literal["sequential", "parallel"]
AttemptValue = Literal["confidence", "reward_model", "verifier"]


Budgets = Annotated[list[int], Field(min_length=1, description="tokens of thinking asked for, one run each")]


class Method(Settings):
    """A way to spend tokens on thinking."""

    kind: ClassVar[MethodKind] = "sequential"
    method: str

    @property
    def label(self) -> str:
        return self.method

    @abstractmethod
    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        """Its runs. limit: the stage's; value: number of an attempt by a `AttemptValue`."""


class BudgetForcing(Method):
    """Budget forcing: thinking is cut at each budget, and its end suppressed up to each number of times (`waits`)."""

    method: Literal["forcing"]
    budgets: Budgets
    waits: list[int] = Field([0], min_length=1, description="how many endings are taken back, one run each")
    extension: str = Field("Wait", description="what is written in an ending's place; may be empty")

    @property
    def label(self) -> str:
        return "forcing" if self.waits == [0] else f"forcing, {self.extension.strip() or 'no string'!r}"

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        from bactrian.think.attempt import only

        for budget in self.budgets:
            for waits in self.waits:
                label = str(budget) + (f", {waits} waits" if waits else "")
                draw = ThoughtDraw("", budget, waits, self.extension if waits else "")
                yield MethodPoint(label, draw, only(0, budget), 0, budget)


class StatedBudget(Method):
    """Base of the methods that state a budget in the prompt."""

    force: bool = Field(False, description="also cut the thinking at what was asked for")

    def stated(self, label: str, sentence: str, least: float, most: float, limit: int) -> MethodPoint:
        from bactrian.think.attempt import only

        cut = int(most) if self.force and most < limit else None
        return MethodPoint(label, ThoughtDraw(sentence, cut), only(least, most), least, most)

    @property
    def label(self) -> str:
        return self.method + (" + forcing" if self.force else "")


class StatedTokens(StatedBudget):
    """Token-conditional control: the prompt states the number of tokens."""

    method: Literal["tokens"]
    budgets: Budgets
    sentence: str = Field("Think for up to {n} tokens.", description="what the prompt says; {n}: the number")

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        for budget in self.budgets:
            yield self.stated(str(budget), self.sentence.replace("{n}", str(budget)), 0, budget, limit)


class StatedSteps(StatedBudget):
    """Step-conditional control: the prompt states the number of steps, which count down; so many tokens each."""

    method: Literal["steps"]
    steps: list[int] = Field(min_length=1, description="steps asked for, one run each")
    tokens_per_step: int = Field(100, ge=1, description="a step's tokens, for what was asked in tokens")
    sentence: str = Field(
        'Think in up to {n} steps. Begin each with how many are left: "{n} steps left".', description="{n}: the number"
    )

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        for steps in self.steps:
            most = steps * self.tokens_per_step
            yield self.stated(f"{steps} steps", self.sentence.replace("{n}", str(steps)), 0, most, limit)


class StatedClasses(StatedBudget):
    """Class-conditional control: the prompt asks for brief or for long thinking."""

    method: Literal["classes"]
    brief: int = Field(ge=1, description="brief thinking has so many tokens at most")
    long: int = Field(ge=1, description="long thinking has so many at least")
    brief_sentence: str = "Think briefly."
    long_sentence: str = "Think for a long time."

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        yield self.stated("brief", self.brief_sentence, 0, self.brief, limit)
        yield self.stated("long", self.long_sentence, self.long, limit, limit)


class Rejection(Method):
    """Rejection sampling: draw until the thinking ends by itself within the budget."""

    method: Literal["rejection"]
    budgets: Budgets
    tries: int = Field(8, ge=1, description="draws at most; after that there is no answer")
    temperature: float = Field(1.0, gt=0)

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        from bactrian.think.attempt import first_within

        for budget in self.budgets:
            draw = ThoughtDraw("", budget, temperature=self.temperature, n=self.tries)
            yield MethodPoint(str(budget), draw, first_within(budget), 0, budget)


class SeveralSamples(Method):
    """Base of the methods that answer once from several samples, each with its thinking forced to a budget."""

    kind: ClassVar[MethodKind] = "parallel"

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

    def drawn(self) -> ThoughtDraw:
        return ThoughtDraw("", self.budget, temperature=self.temperature, n=max(self.samples))


class Majority(SeveralSamples):
    """Majority voting over samples [self-consistency]."""

    method: Literal["majority"]

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        from bactrian.think.attempt import majority

        for count in self.samples:
            yield MethodPoint(f"{count} samples", self.drawn(), majority(count, self.budget), 0, count * self.budget)


class BestOfSamples(SeveralSamples):
    """Best of n samples by a reward model, by the model's own confidence, or by the verifier (an upper bound)."""

    method: Literal["best_of"]
    by: AttemptValue = Field("confidence", description="verifier: it knows the answer, so that this is pass@n, a bound")

    @property
    def what(self) -> str:
        return f"best by {self.by.replace('_', ' ')}" + (" (bound)" if self.by == "verifier" else "")

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        from bactrian.think.attempt import best_by

        def worth(attempt: "Attempt") -> float:
            return float(value(self.by, attempt))

        for count in self.samples:
            yield MethodPoint(
                f"{count} samples", self.drawn(), best_by(count, self.budget, worth), 0, count * self.budget
            )


class TreeSearch(Method):
    """Tree search guided by a process reward (REBASE-like): see bactrian/think/tree.py."""

    kind: ClassVar[MethodKind] = "parallel"

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

    def points(self, limit: int, value: Any) -> Iterator[MethodPoint]:
        for width in self.widths:
            draw = ThoughtDraw("", self.budget, temperature=self.temperature, n=width)
            yield MethodPoint(f"width {width}", draw, None, 0, width * self.budget)


AnyMethod = Annotated[
    BudgetForcing | StatedTokens | StatedSteps | StatedClasses | Rejection | Majority | BestOfSamples | TreeSearch,
    Field(discriminator="method"),
]
