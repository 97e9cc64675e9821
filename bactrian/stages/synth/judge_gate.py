"""A judge as a gate: settings that name it, and what it makes of rows. Of one that is not calibrated that is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from bactrian.stages.judge.calibrated_judges import CalibrationRef, calibration_clash
from bactrian.stages.stage import Facts, ModelRef, SamplingLoad, Settings, Stage
from bactrian.stages.synth.generators import (
    Askers,
    DataGenerator,
    SynthesisBudget,
    expected_money,
    sampling_loads,
)

if TYPE_CHECKING:
    from bactrian.data.curate.quality import Flaw
    from bactrian.generate.chat_request import ChatRequest, OnReply
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
RATED_FROM, REWARDED_FROM = 7.0, -10.0
"""Where `at_least` says nothing: of ratings from 1 to 10, and of rewards [Magpie, Xu et al. 2024]."""
NOT_CALIBRATED = "not calibrated: how often people would agree is not known"
ABSTAINS = "the judge abstains"
LONGEST = 4096
"""Tokens of a prompt and its answer that a reward model reads."""
ROWS_AT_ONCE, VERDICT_TOKENS, QUESTION_TOKENS = 64, 128, 120.0


class JudgeGate(Settings):
    """Who judges rows: a calibrated cascade, by which a row has to beat another answer; a model that rates; rewards."""

    calibration: CalibrationRef | None = Field(
        None, description="what `calibrate` left: the row's answer must beat the seed's own; may abstain"
    )
    by: DataGenerator | None = Field(None, description="a model that rates rows from 1 to 10; it is not calibrated")
    rubric: str = Field("", description="what counts, for `by`")
    reward_model: ModelRef | None = Field(None, description="whose rewards count; it is not calibrated")
    at_least: float | None = Field(None, description="least rating (7), or reward (-10)")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [name for name in ("calibration", "by", "reward_model") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {', '.join(given) or 'none'}, expected one of calibration, by, reward_model")
        if self.calibration is not None and self.at_least is not None:
            raise ValueError("at_least: found beside calibration, which has thresholds of its own")
        if self.rubric and self.by is None:
            raise ValueError("rubric: only `by` is told one; a calibration has its own")
        return self

    @property
    def label(self) -> str:
        return str(self.calibration or self.reward_model or (self.by.label if self.by else ""))

    @property
    def calibrated(self) -> bool:
        return self.calibration is not None


@dataclass(frozen=True)
class JudgedText:
    """What a judge reads of a row: the prompt's messages, the answer, and another answer that it has to beat."""

    key: str
    prompt: tuple[Row, ...]
    answer: str
    other: str = ""


@dataclass
class GateVerdicts:
    """flaws: of each row why it is dropped, or None. scores: the rating, reward or confidence; None without one.

    record: what is told of the judge. metrics: what it took.
    """

    flaws: "list[Flaw | None]"
    scores: list[float | None]
    record: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)


def check_judge_gate(gate: JudgeGate | None, compares: bool, why: str) -> None:
    """For validators of settings.

    Raises:
        ValueError: a calibrated judge where rows have no other answer to be compared with; `why` says so.
    """
    if gate is not None and gate.calibrated and not compares:
        raise ValueError(f"gates.judge.calibration: a calibrated judge compares two answers, and {why}; name `by`")


def judge_clashes(gate: JudgeGate | None, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
    """For `Stage.clashes`."""
    return calibration_clash(("gates", "judge", "calibration"), gate.calibration if gate else None, steps)


def gate_verdicts(workspace: "Workspace", gate: JudgeGate, rows: Sequence[JudgedText], name: str) -> GateVerdicts:
    """What the judge makes of rows; what it has said before is not asked for again.

    Raises:
        BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
    """
    if gate.calibration is not None:
        return _cascade_verdicts(workspace, gate.calibration, rows, name)
    if gate.reward_model is not None:
        return _rewards(workspace, gate, rows)
    return _ratings(workspace, gate, rows, name)


def _cascade_verdicts(workspace: "Workspace", ref: str, rows: Sequence[JudgedText], name: str) -> GateVerdicts:
    """A row passes where the cascade prefers it; which of the two comes first is drawn."""
    from random import Random

    from bactrian.data.curate.quality import Flaw
    from bactrian.data.io.journal import Journal
    from bactrian.judge.judged_rows import judged_summary
    from bactrian.judge.opened import open_cascade, refuse_shown
    from bactrian.judge.opinions import AnswerPair
    from bactrian.stages.judge.calibrated_judges import add_calibration_licences, usable_calibration

    folder = usable_calibration(workspace, ref)
    places = [Random(f"judge/{workspace.seed}/{row.key}").randrange(2) for row in rows]
    pairs = [
        AnswerPair(row.key, row.prompt, *((row.answer, row.other) if place == 0 else (row.other, row.answer)))
        for row, place in zip(rows, places, strict=True)
    ]
    refuse_shown(folder, pairs, f"rows of {name}")
    cascade = open_cascade(folder, workspace.hardware)
    with Journal(workspace.scratch / "opinions.jsonl") as journal:
        verdicts = cascade.verdicts(pairs, journal)
    add_calibration_licences(workspace, ref)
    flaws: list[Flaw | None] = []
    for verdict, place in zip(verdicts, places, strict=True):
        sure = f"{verdict.judge or 'nobody'}, {verdict.confidence:.2f} sure"
        if verdict.abstains:
            flaws.append(Flaw(ABSTAINS, f"{verdict.confidence:.2f} sure"))
        else:
            flaws.append(None if verdict.preferred == place else Flaw("the judge prefers the other answer", sure))
    summary = judged_summary(cascade, verdicts)
    record = {"judge": ref, "calibrated": True, **summary.record()}
    metrics = {f"judge_{key}": value for key, value in summary.metrics().items() if key != "pairs"}
    return GateVerdicts(flaws, [verdict.confidence for verdict in verdicts], record, metrics)


def _rewards(workspace: "Workspace", gate: JudgeGate, rows: Sequence[JudgedText]) -> GateVerdicts:
    from bactrian.judge.answer_scores import AnswerToScore, scores_by_rewards
    from bactrian.judge.models import turn
    from bactrian.judge.panel import open_reward_judge

    judge = open_reward_judge(workspace.input(str(gate.reward_model)).path, workspace.hardware)
    answers = [AnswerToScore(row.key, list(row.prompt), [turn("assistant", row.answer)]) for row in rows]
    scores = scores_by_rewards(judge, answers, LONGEST, LONGEST)
    least = REWARDED_FROM if gate.at_least is None else gate.at_least
    return _scored(gate, scores, least, "reward", {})


def _ratings(workspace: "Workspace", gate: JudgeGate, rows: Sequence[JudgedText], name: str) -> GateVerdicts:
    from bactrian.judge.answer_scores import AnswerToScore, scores_by_judge
    from bactrian.judge.models import turn
    from bactrian.judge.point_judges import ModelJudge

    assert gate.by is not None
    answers = [AnswerToScore(row.key, list(row.prompt), [turn("assistant", row.answer)]) for row in rows]
    with Askers(workspace, [gate.by], SynthesisBudget(), ROWS_AT_ONCE) as askers:
        found = scores_by_judge(ModelJudge(_KeptJudge(askers, gate.by.label, name)), answers, gate.rubric)
        cost = {f"judge_{key}": value for key, value in askers.metrics().items()}
    ratings = [each if isinstance(each, str) else round(1 + 9 * each, 6) for each in found]
    least = RATED_FROM if gate.at_least is None else gate.at_least
    return _scored(gate, ratings, least, "rating", cost)


def _scored(
    gate: JudgeGate, scores: Sequence[float | str], least: float, what: str, metrics: dict[str, float]
) -> GateVerdicts:
    """A row without a score has no verdict: it is dropped for that, and not for what it is."""
    from bactrian.data.curate.quality import Flaw

    def flaw(score: float | str) -> Flaw | None:
        if isinstance(score, str):
            return Flaw("the judge gives no verdict", score[:120])
        return Flaw(f"the judge's {what} is below {least:g}", f"{score:.3g}") if score < least else None

    told = [score for score in scores if not isinstance(score, str)]
    record = {
        "judge": gate.label,
        "calibrated": False,
        "warning": f"{gate.label} is {NOT_CALIBRATED}",
        f"least_{what}": least,
        "without_verdict": len(scores) - len(told),
        f"mean_{what}": sum(told) / len(told) if told else None,
    }
    return GateVerdicts(
        [flaw(score) for score in scores],
        [None if isinstance(score, str) else score for score in scores],
        record,
        metrics,
    )


class _KeptJudge:
    """Answers a judge's questions as generators are asked: kept in the store, counted and priced."""

    def __init__(self, askers: Askers, label: str, name: str) -> None:
        self.askers, self.label, self.name = askers, label, name

    def answer(self, asked: "Sequence[ChatRequest]", on_reply: "OnReply") -> None:
        requests = {str(place): (self.label, request) for place, request in enumerate(asked)}
        for key, reply in self.askers.ask(requests, f"{self.name} · judge").items():
            on_reply(int(key), reply)


def judge_costs(
    gate: JudgeGate | None, inputs: Mapping[str, Facts], rows: float, tokens: float
) -> tuple[tuple[SamplingLoad, ...], float]:
    """What a rating judge of this run will sample, and money for one behind a server; `tokens` of each row."""
    if gate is None or gate.by is None:
        return (), 0.0
    asked = tokens + QUESTION_TOKENS
    loads = sampling_loads([gate.by], inputs, rows, asked, VERDICT_TOKENS)
    return loads, expected_money([gate.by], rows, asked, VERDICT_TOKENS)
