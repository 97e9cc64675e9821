"""What every stage of a recipe is: a frozen record of settings that can run, and can say beforehand what that costs."""

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bactrian.store.manifest import Kind
from bactrian.store.own_files import OwnCode, OwnUse, names_file

if TYPE_CHECKING:
    from bactrian.data.io.needs import RowNeed
    from bactrian.store.artifact import Workspace
    from bactrian.store.hardware import HardwareSettings


@dataclass(frozen=True)
class Reference:
    """Marks a text setting as the name of an artifact of this kind (a step, embedded:…, a path or a Hub id).

    What is `held_out` is only compared with: none of it, nor its licence, is in what the stage makes. `rows`: what
    data must hold, any of these; others' files are then read by a `source` of the recipe's own (recipe/adopted.py).
    """

    kind: Kind
    held_out: bool = False
    rows: "tuple[RowNeed, ...]" = ()


ModelRef = Annotated[str, Reference(Kind.MODEL)]
DataRef = Annotated[str, Reference(Kind.DATA)]
ConversationRef = Annotated[str, Reference(Kind.DATA, rows=("conversation", "worked"))]
FeedbackRef = Annotated[str, Reference(Kind.DATA, rows=("feedback",))]
PairRef = Annotated[str, Reference(Kind.DATA, rows=("pair",))]
ProblemRef = Annotated[str, Reference(Kind.DATA, rows=("problem",))]
HeldOutRef = Annotated[str, Reference(Kind.DATA, held_out=True)]
HeldOutProblemRef = Annotated[str, Reference(Kind.DATA, held_out=True, rows=("problem",))]
ResultsRef = Annotated[str, Reference(Kind.RESULTS)]
VerifierName = Annotated[str | None, OwnCode("verifier")]
TemplateRef = Annotated[str | None, OwnCode("template")]
PromptTemplateRef = Annotated[str, OwnCode("prompt")]


TOKENS_PER_ROW = 500.0
"""Of an instruction and its answer, about, where nothing is known."""
Basis = Literal["", "counted", "sampled", "stated", "bytes", "assumed"]
"""Where a number of tokens is from: a count, a sample of the rows, the recipe's word, their bytes, or a usual value."""


@dataclass(frozen=True)
class Facts:
    """What is known of an input before it exists; 0 where it does not apply or is not known.

    active: of a model's parameters those that a token is multiplied by, which are not those of its embedding, nor of
    experts that it does not go through; 0: all.
    """

    parameters: int = 0
    rows: int = 0
    tokens_per_row: float = 0.0
    basis: Basis = ""  # of tokens_per_row; where a stage does not say it, that of what it reads
    error: float = 0.0  # standard error of tokens_per_row over itself, where it was sampled
    active: int = 0

    @property
    def multiplied(self) -> int:
        """Parameters that products are counted by."""
        return self.active or self.parameters


@dataclass(frozen=True)
class ModelPass:
    """Rows that go through one model, forward alone or backward too."""

    parameters: float
    tokens: float
    rows: float
    flops_a_token: float  # by parameter: 2 forward, 6 with the backward, 8 where layers are computed again in it
    padded: float = 0.0  # tokens if each row were as long as it may be; 0: as it is
    micro_tokens: int = 4096  # of one forward and backward, where rows are packed
    attention: float = 0.0  # FLOPs in all that no parameter makes, where the length of sequences is known
    batch: float = 0.0  # rows of an update; 0: not known
    active: float = 0.0  # of the parameters, those that a token is multiplied by (see Facts); 0: all

    @property
    def products(self) -> float:
        """FLOPs of a token, without attention."""
        return (self.active or self.parameters) * self.flops_a_token

    @property
    def flops(self) -> float:
        """Without padding."""
        return self.products * self.tokens + self.attention


@dataclass(frozen=True)
class SamplingLoad:
    """Answers that one model samples: `tokens` each on average and `longest` at most, in `rounds` that end together."""

    parameters: float
    answers: float
    tokens: float
    longest: float
    prompts: float  # read once each, however many answers they get
    prompt_tokens: float
    rounds: float = 1.0
    active: float = 0.0  # of the parameters, those that a token is multiplied by (see Facts); 0: all

    @property
    def multiplied(self) -> float:
        """Parameters that products are counted by."""
        return self.active or self.parameters

    @property
    def all_tokens(self) -> float:
        """Of answers and prompts together."""
        return self.answers * self.tokens + self.prompts * self.prompt_tokens

    @property
    def flops(self) -> float:
        """Two for each token and each parameter that it is multiplied by."""
        return 2 * self.multiplied * self.all_tokens


@dataclass(frozen=True)
class Forecast:
    """What making a step will take: tokens through the model, floating-point operations, peak memory in bytes.

    `passes` and `sampling` say of what the operations are made, for hours of GPUs, where a stage knows. money: for what
    servers answer, at the prices that the settings give.
    """

    tokens: float = 0.0
    flops: float = 0.0
    peak_memory: float = 0.0
    makes: Facts = Facts()
    passes: tuple[ModelPass, ...] = ()
    sampling: tuple[SamplingLoad, ...] = ()
    money: float = 0.0


def answer_tokens(most: int) -> float:
    """How long a sampled answer is taken to be, of at most so many tokens: half of few, a quarter of many.

    Answers to maths questions have 100 to 300 tokens and free ones 300 to 600, where 1,024 to 2,048 are allowed.
    """
    return max(min(most / 2, 100.0), most / 4)


def rows_sampled(model: Facts, prompts: float, prompt_tokens: float, most: int, samples: float = 1) -> SamplingLoad:
    """Answers to prompts, all at once. `most`: tokens that an answer may have; `samples`: answers to each prompt."""
    answers = prompts * samples
    return SamplingLoad(
        model.parameters, answers, answer_tokens(most), most, prompts, prompt_tokens, active=model.active
    )


class Need(NamedTuple):
    """What in a step needs an extra of the package: ("near: true", "data")."""

    what: str
    extra: str


@dataclass(frozen=True)
class ReferenceUse:
    """One reference of a stage: where it stands in the settings, its text, and the kind of artifact it must name."""

    path: tuple[str | int, ...]
    ref: str
    kind: Kind
    held_out: bool = False
    rows: "tuple[RowNeed, ...]" = ()

    @property
    def field(self) -> str:
        """The place in words: "data", "models.0", "sources.2.data"."""
        return ".".join(map(str, self.path))


class Settings(BaseModel):
    """Base of every record in a recipe: unknown settings are errors, values do not change, NaN is no number."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )  # a help text needs no validator

    def needs(self) -> Iterable[Need]:
        """What of the package's extras these very settings need; records inside speak for themselves."""
        return ()


class Stage(Settings, ABC):
    """A stage's settings and action together; the recipe step, the sub-command and the documentation come from it.

    Records inside a stage's settings derive from Settings. Modules of stages import torch, transformers, pyarrow and
    library layers inside `run`, never at the top.
    """

    name: ClassVar[str]
    makes: ClassVar[Kind]
    labels_inputs: ClassVar[bool] = False  # True where the output shows the inputs' names: then renaming one remakes it
    passes_rows: ClassVar[bool] = False  # True where the rows that it leaves are some of those that it reads
    joint: ClassVar[bool] = False  # True where all processes of a run make the step together; else the leader does
    positional: ClassVar[str] = ""  # the setting whose values stand bare on the command line: bactrian winrate A B

    seed: int | None = Field(None, ge=0, lt=2**63, description="seed of this step; by default the recipe's")

    @abstractmethod
    def run(self, workspace: "Workspace") -> None:
        """Make the artifact in `workspace.output`.

        Raises:
            BactrianError: for bad input.
        """

    def resolved(self) -> Self:
        """The same stage with what its key must name beyond the settings given, such as hashes of
        files that it finds.

        Called once, where the key is made; what it gives is run. Settings are checked without any
        file.

        Raises:
            BactrianError: for what is not there.
        """
        return self

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """What `run` will take, given what is known of each reference. Loads no torch."""
        return Forecast()

    def clashes(self, steps: Mapping[str, "Stage"]) -> list[tuple[tuple[str | int, ...], str, str]]:
        """What is wrong given the settings of the recipe's steps: field, what was found, what is expected."""
        return []

    def clashes_with(self, hardware: "HardwareSettings") -> list[tuple[tuple[str | int, ...], str, str]]:
        """What is wrong given the recipe's hardware: field, what was found, what is expected."""
        return []

    def seconds_limit(self) -> float | None:
        """Seconds after which this stage stops by itself, whatever its forecast; None where it does not."""
        return None

    def references(self) -> list[ReferenceUse]:
        """Every reference in the settings, in the order of the fields; inside lists, dicts and nested records too."""
        found = _marked_in(self, (), Reference)
        return [ReferenceUse(at, ref, mark.kind, mark.held_out, mark.rows) for at, ref, mark in found]

    def all_needs(self) -> list[Need]:
        """What of the package's extras all the settings need, verifiers by name included."""
        verifiers = set(self.judged_by())
        return [*_needs_in(self), *verifier_needs(sorted(verifiers))]

    def own_parts(self) -> list[OwnUse]:
        """Every setting that names a part of a user's own file, such as `reward.py:polite`."""
        found = _marked_in(self, (), OwnCode)
        return [OwnUse(at, text, mark.kind) for at, text, mark in found if names_file(text, mark.kind)]

    def judged_by(self) -> list[str]:
        """The verifiers that settings name, which judge answers in place of those that rows name."""
        return [text for _, text, mark in _marked_in(self, (), OwnCode) if mark.kind == "verifier"]


class Divisible(Stage):
    """A stage made of parts of which some can be left out, so that `ablate:` can ask what each is worth."""

    @abstractmethod
    def parts(self) -> list[tuple[str, ...]]:
        """The names of each part: its own, and those of groups that it belongs to."""

    @abstractmethod
    def keeping(self, kept: Sequence[int]) -> Self:
        """The same stage with these parts only, by their numbers in `parts()`, and nothing else changed."""


class CannotExpand(Exception):
    """A step whose settings name no steps: where in them, what is found there, and what is expected."""

    def __init__(self, place: tuple[str | int, ...], found: str, expected: str) -> None:
        super().__init__(f"{'.'.join(map(str, place))}: found {found}, expected {expected}")
        self.place, self.found, self.expected = place, found, expected


class Expanding(Stage):
    """A stage that stands for several steps: a study, with all the runs that it compares.

    The steps that it adds to its recipe are steps as any other: planned, made once, resumed, and shared where settings
    are the same.
    """

    @abstractmethod
    def expanded(self, name: str, steps: "Mapping[str, Stage]") -> "dict[str, Stage]":
        """The steps that the step `name` stands for, in their order; the last is itself, reading the others.

        Args:
            steps: those that the recipe says. Names of added ones begin with `name` and `~`.

        Raises:
            CannotExpand: for settings that name no steps.
        """


def changed_stage(stage: Stage, changes: Mapping[str, Any]) -> Stage:
    """A stage with some settings that are others; of a group what is not named stays.

    Raises:
        ValueError: the settings do not fit it; in pydantic's words.
    """
    from bactrian.train.options import SettingsGroup

    settings = stage.model_dump()
    for name, value in changes.items():
        whole = isinstance(value, Mapping) and isinstance(getattr(stage, name, None), SettingsGroup)
        settings[name] = {**settings[name], **value} if whole else value
    return type(stage).model_validate(settings)


def verifier_needs(names: Iterable[str]) -> list[Need]:
    """The extras of verifiers by name."""
    from bactrian.store.extras import EXTRA_OF_VERIFIER

    return [Need(f"the verifier {name}", EXTRA_OF_VERIFIER[name]) for name in names if name in EXTRA_OF_VERIFIER]


def _needs_in(value: object) -> "Iterator[Need]":
    if isinstance(value, BaseModel):
        if isinstance(value, Settings) or hasattr(value, "needs"):
            yield from value.needs()
        for name in type(value).model_fields:
            yield from _needs_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _needs_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _needs_in(each)


Mark = TypeVar("Mark", Reference, OwnCode)


def _marked_in(record: BaseModel, at: tuple[str | int, ...], kind: type[Mark]) -> "Iterator[Marked[Mark]]":
    for name, field in type(record).model_fields.items():
        annotation = field.rebuild_annotation()
        yield from _marked_of(annotation, getattr(record, name), (*at, name), kind)


def _marked_of(annotation: Any, value: object, at: tuple[str | int, ...], kind: type[Mark]) -> "Iterator[Marked[Mark]]":
    if isinstance(value, BaseModel):
        yield from _marked_in(value, at, kind)
    elif isinstance(value, str):
        if (mark := mark_in(annotation, kind)) is not None:
            yield at, value, mark
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _marked_of(annotation, item, (*at, key), kind)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _marked_of(annotation, item, (*at, index), kind)


Marked = tuple[tuple[str | int, ...], str, Mark]
"""Where a marked text stands in the settings, the text, and its mark."""


def mark_in(annotation: Any, kind: type[Mark]) -> Mark | None:
    """The mark of this kind anywhere in an annotation such as `dict[str, ModelRef] | None`."""
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, kind):
            return mark
    return next((mark for part in typing.get_args(annotation) if (mark := mark_in(part, kind)) is not None), None)


def reference_mark(annotation: Any) -> Reference | None:
    """The mark of the reference anywhere in an annotation."""
    return mark_in(annotation, Reference)
