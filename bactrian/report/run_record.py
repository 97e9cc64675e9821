"""run.json and results.json as the report reads them: lenient, because a page about a broken run is worth most.

Unknown keys are ignored and nulls count as absent. docs/design.md says what each field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from bactrian.store.manifest import Manifest


class FileRecord(BaseModel):
    """Base of the file records."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _absent_when_null(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value


class StepRecord(FileRecord):
    """One entry of `steps` in run.json."""

    name: str
    stage: str = ""
    kind: str = ""
    key: str = ""
    path: str | None = None
    status: str = ""
    seconds: float | None = None
    inputs: dict[str, str | list[str] | None] = {}


class RunRecord(FileRecord):
    """run.json."""

    name: str
    recipe: str = ""
    recipe_path: str = ""
    command: str | list[str] = ""
    started: float | str | None = None
    seconds: float | None = None
    steps: list[StepRecord] = []


class TaskRecord(FileRecord):
    """One task of results.json. `overlap`: how many of its questions occur in training data; absent = not checked."""

    n: int | None = None
    data_hash: str = ""
    verifier: str = ""
    looks: int | None = None
    max_new_tokens: int | None = None
    prompt_example: str = ""
    template_hash: str = ""
    overlap: int | None = None


class FlagRecord(FileRecord):
    """Something that looks wrong with a score."""

    name: str = ""
    text: str = ""


class CleanRecord(FileRecord):
    """A score on the questions that a model's training data do not hold; `held` are those that they do."""

    held: int = 0
    questions: int = 0
    score: float | None = None
    interval: tuple[float, float] | None = None


class ScoreRecord(FileRecord):
    """One model's score on one task in one mode. `metric`: what is averaged, where it is not the share right."""

    model: str
    task: str
    mode: str = "greedy"
    questions: int | None = None
    samples: int = 1
    score: float | None = None
    interval: tuple[float, float] | None = None
    counts: dict[str, int | None] = {}
    pass_at_k: dict[str, float | None] = {}
    flags: list[FlagRecord] = []
    metric: str = ""
    macro: bool = False
    clean: CleanRecord | None = None
    mean_tokens: float | None = None
    mean_thinking_tokens: float | None = None
    mean_answer_tokens: float | None = None


class ComparisonRecord(FileRecord):
    """A paired test of two models on the same questions."""

    task: str
    mode: str = "greedy"
    before: str
    after: str
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_holm: float | None = None
    test: str = ""
    gained: float | None = None
    lost: float | None = None

    @property
    def shown(self) -> bool:
        """Whether a difference was shown: p below 0.05 and an interval that leaves out zero, both."""
        if self.p is None or self.interval is None:
            return False
        low, high = self.interval
        return self.p < 0.05 and (low > 0 or high < 0)


class ScalingPoint(FileRecord):
    """One run of a method of test-time compute; tokens are means over questions."""

    label: str = ""
    thinking_tokens: float | None = None
    sampled_tokens: float | None = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    within: float | None = None
    cut: int = 0
    waits: int = 0
    loops: int = 0
    unanswered: int = 0


class ScalingMethod(FileRecord):
    """A method and its metrics."""

    name: str
    kind: str = "sequential"
    control: float | None = None
    scaling: float | None = None
    scaling_interval: tuple[float, float] | None = None
    per_doubling: float | None = None
    per_doubling_interval: tuple[float, float] | None = None
    performance: float | None = None
    performance_interval: tuple[float, float] | None = None
    points: list[ScalingPoint] = []


class EqualTokens(FileRecord):
    """The sequential curve against a parallel run at that run's tokens."""

    sequential: str = ""
    parallel: str = ""
    point: str = ""
    tokens: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None


class ScalingRecord(FileRecord):
    """What a step of stage `scaling` adds to results.json."""

    unit: str = ""
    methods: list[ScalingMethod] = []
    equal_tokens: list[EqualTokens] = []


class ResultsRecord(FileRecord):
    """results.json."""

    tasks: dict[str, TaskRecord] = {}
    models: list[str] = []
    scores: list[ScoreRecord] = []
    comparisons: list[ComparisonRecord] = []
    scaling: ScalingRecord | None = None


@dataclass(frozen=True)
class Metrics:
    """metrics.jsonl by column: `columns[key]` holds (step, value) for each finite value."""

    columns: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    lines: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class ReportedStep:
    """A step with whatever of its artifact is still there; `note` says what is not."""

    record: StepRecord
    folder: Path | None = None
    manifest: Manifest | None = None
    metrics: Metrics | None = None
    results: ResultsRecord | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def kind(self) -> str:
        return self.record.kind or (self.manifest.kind if self.manifest else "")

    @property
    def inputs(self) -> dict[str, list[str]]:
        """Setting → the steps or outside sources that it names."""
        pairs = ((ref, [given] if isinstance(given, str) else given or []) for ref, given in self.record.inputs.items())
        return dict(pairs)


@dataclass(frozen=True)
class ReportedRun:
    """All that the page is made from."""

    record: RunRecord
    folder: Path
    steps: tuple[ReportedStep, ...]

    @property
    def command(self) -> str:
        given = self.record.command
        return given if isinstance(given, str) else " ".join(given)

    @property
    def evaluations(self) -> list[ReportedStep]:
        """The steps that left readable results, in order."""
        return [step for step in self.steps if step.results is not None]
