"""Settings that name judges of pairs and calibrations of them, and the way from them to what judge/ takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.errors.wording import show
from bactrian.stages.judge.judge_refs import ModelServer
from bactrian.stages.stage import ModelRef, Reference, Settings, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.judge.answer_pairs import AnsweredPair
    from bactrian.judge.bills import JudgePrice
    from bactrian.judge.calibrated import JudgeSpec
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge

CalibrationRef = Annotated[str, Reference(Kind.DATA, held_out=True)]
"""Of the calibration's labelled pairs nothing is in what a stage makes; it adds their licences itself."""
CALIBRATE = "calibrate"


class PriceSettings(Settings):
    """What a judge costs, in any one currency."""

    tokens_in: float = Field(0.0, ge=0, description="a million tokens read")
    tokens_out: float = Field(0.0, ge=0, description="a million tokens written")
    comparison: float = Field(0.0, ge=0, description="a comparison, besides")

    @property
    def price(self) -> "JudgePrice":
        from bactrian.judge.bills import JudgePrice

        return JudgePrice(self.tokens_in, self.tokens_out, self.comparison)


class PairJudgeSettings(Settings):
    """A judge of pairs: a language model that is asked, a model's rewards or likelihoods, or what a file has of one."""

    model: ModelRef | None = Field(None, description="language model that is asked")
    server: ModelServer | None = Field(None, description="one behind a server")
    reward_model: ModelRef | None = Field(None, description="whose rewards are compared")
    likelihood: ModelRef | None = Field(None, description="language model whose own likelihood of the answers counts")
    recorded: str | None = Field(None, min_length=1, description="a judge whose opinions stand in the rows, by name")
    name: str | None = Field(None, min_length=1, description="what it is called; by default as it is named above")
    method: Literal["single", "annotators", "randomised", "verbalised"] | None = Field(
        None, description="of a language model; by default annotators where there are demonstrations, else single"
    )
    annotators: int = Field(5, ge=1, description="simulated annotators")
    shown: int = Field(5, ge=1, description="demonstrations that each of them is shown")
    price: PriceSettings = Field(default_factory=PriceSettings, description="what it costs")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [
            name
            for name in ("model", "server", "reward_model", "likelihood", "recorded")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"found {', '.join(given) or 'none'}, expected one of model, server, reward_model, likelihood, recorded"
            )
        if self.method is not None and given[0] in ("reward_model", "likelihood", "recorded"):
            raise ValueError(f"method: a {given[0]} is not asked anything; expected none")
        return self

    @property
    def label(self) -> str:
        """What rows and tables call it."""
        served = self.server.label if self.server else None
        return str(self.name or self.model or served or self.reward_model or self.likelihood or self.recorded)

    def shows(self, demonstrations: bool) -> bool:
        """Whether it needs demonstrations, of which there are some or none."""
        asked = self.model is not None or self.server is not None
        return asked and (self.method in ("annotators", "randomised") or (self.method is None and demonstrations))

    def spec(self, demonstrations: bool) -> "JudgeSpec":
        """How it is opened; `demonstrations`: whether there are some to show."""
        from bactrian.judge.calibrated import JudgeSpec
        from bactrian.judge.pair_judges import JudgeMethod

        if self.recorded is not None:
            return JudgeSpec(kind="recorded", at=self.recorded)
        if self.likelihood is not None:
            return JudgeSpec(kind="likelihood", at=self.likelihood)
        if self.reward_model is not None:
            return JudgeSpec(kind="reward_model", at=self.reward_model, method=asdict(JudgeMethod("reward")))
        how: Any = self.method or ("annotators" if demonstrations else "single")
        method = asdict(JudgeMethod(how, self.annotators, self.shown))
        if self.server is not None:
            endpoint = {**asdict(self.server.endpoint()), "revision": self.server.revision}
            return JudgeSpec(kind="server", endpoint=endpoint, method=method)
        return JudgeSpec(kind="model", at=str(self.model), method=method)


def check_judge_names(judges: Sequence[PairJudgeSettings]) -> None:
    """For validators.

    Raises:
        ValueError: two judges have one name.
    """
    names = [judge.label for judge in judges]
    if len(set(names)) < len(names):
        raise ValueError(f"judges: found {', '.join(names)}, expected each with a name of its own (name: …)")


def model_folder(workspace: "Workspace", spec: "JudgeSpec") -> "Path":
    """Where the model of a judge of this stage's own settings lies."""
    return workspace.input(spec.at).path


def calibration_clash(
    field: tuple[str | int, ...], ref: str | None, steps: Mapping[str, Stage]
) -> list[tuple[tuple[str | int, ...], str, str]]:
    """For `Stage.clashes`: a step that a setting names as a calibration has to be one."""
    stage = steps.get(ref) if ref is not None else None
    if stage is None or stage.name == CALIBRATE:
        return []
    return [(field, f"{show(ref)}, a step of stage {stage.name}", f"a step of stage {CALIBRATE}")]


def add_calibration_licences(workspace: "Workspace", ref: str) -> None:
    """The terms of the labels and of the judges' models are those of the verdicts too."""
    for licence in workspace.input(ref).licences:
        workspace.add_licence(licence)


def usable_calibration(workspace: "Workspace", ref: str) -> "Path":
    """The folder of a calibration that trusts some judge with something.

    Raises:
        BactrianError: it holds no calibration, or one that trusts nobody.
    """
    from bactrian.judge.calibrated import JudgeCalibration
    from bactrian.judge.judged_rows import refuse_useless

    folder = workspace.input(ref).path
    refuse_useless(JudgeCalibration.read(folder), str(folder))
    return folder


def cascade_judge(
    workspace: "Workspace", calibration: str | None, rows: Iterable[Mapping[str, Any]]
) -> "dict[str, Judge]":
    """The cascade as a verifier, for `Pool(judges=…)`; nothing where no row names it.

    Raises:
        BactrianError: rows name it and no calibration is given; nothing of it may be trusted; judges were shown a row.
    """
    from bactrian.judge.cascade_answers import AnswerAgainst
    from bactrian.judge.opened import open_cascade, refuse_shown
    from bactrian.judge.opinions import AnswerPair

    asked = [row for row in rows if row["dataset"] == "cascade"]
    if not asked:
        return {}
    if calibration is None:
        raise BactrianError("rows of dataset 'cascade' need a calibration: give the setting reward.calibration")
    folder = usable_calibration(workspace, calibration)
    refuse_shown(folder, [AnswerPair(str(row["id"]), tuple(row["messages"]), "", "") for row in asked], "problems")
    add_calibration_licences(workspace, calibration)
    return {"cascade": AnswerAgainst(open_cascade(folder, workspace.hardware))}


def label_pairs(workspace: "Workspace", calibration: str, drawn: "Sequence[AnsweredPair]", stage: str) -> None:
    """Have drawn pairs decided by a calibrated cascade, and write what comes of it into the workspace's output.

    Raises:
        BactrianError: nothing may be trusted or nothing was decided; judges were shown a prompt; a judge is not the one
            that was calibrated, or stopped answering (what it said is kept).
    """
    from bactrian.data.io.journal import Journal
    from bactrian.judge.answer_pairs import cascade_pairs
    from bactrian.judge.judged_rows import write_judged
    from bactrian.judge.opened import open_cascade, refuse_shown
    from bactrian.progress import say

    if not drawn:
        raise BactrianError(f"{stage}: no pairs: no prompt has two different answers that ended")
    folder = usable_calibration(workspace, calibration)
    refuse_shown(folder, [each.pair for each in drawn], "pairs to judge")
    cascade = open_cascade(folder, workspace.hardware)
    with Journal(workspace.scratch / "opinions.jsonl") as journal:
        found = cascade_pairs(cascade, drawn, journal)
    if not found.pairs:
        raise BactrianError(f"{stage}: no pairs: the cascade abstains on all {len(drawn):,}, and nothing is guessed")
    for licence in write_judged(workspace.output, found.pairs, found.apart, found.summary):
        workspace.add_licence(licence)
    add_calibration_licences(workspace, calibration)
    workspace.metrics.update(found.summary.metrics())
    say("\n".join(found.summary.lines(stage)))
