"""A calibration as an artifact keeps it: which judges, asked what, may be trusted from which confidence on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.judge.bills import JudgePrice
from bactrian.judge.calibration.cascades import Cascade
from bactrian.judge.calibration.thresholds import CalibrationRecord
from bactrian.judge.opinions import JudgeIdentity

CALIBRATION = "calibration.json"
DEMONSTRATIONS = "demonstrations.jsonl"
SHOWN = 60


class JudgeSpec(CalibrationRecord):
    """How a judge is opened again.

    kind: what it is. at: the reference in the calibration's manifest that names its model; of a server nothing, of a
    recorded judge its name in the rows. endpoint: how a server is reached, and its revision. method: how it comes to a
    probability, as `JudgeMethod` has it.
    """

    kind: Literal["model", "server", "reward_model", "likelihood", "recorded"]
    at: str = ""
    endpoint: dict[str, Any] | None = None
    method: dict[str, Any] = Field(default_factory=dict)


class CalibratedJudge(CalibrationRecord):
    """One judge of a calibration: what it is, what it costs, and how it did on the labelled pairs.

    about: agreement with people, quality of the confidences, share whose verdict changed with the order, its bill.
    """

    name: str
    spec: JudgeSpec
    identity: dict[str, str]
    price: dict[str, float]
    about: dict[str, Any]

    @property
    def known_as(self) -> JudgeIdentity:
        return JudgeIdentity(**self.identity)

    @property
    def priced(self) -> JudgePrice:
        return JudgePrice(**self.price)


class JudgeCalibration(CalibrationRecord):
    """All that calibration.json says.

    labels: hash, counts and licences of the labelled pairs. expected: what the cascade did with the very pairs that
    it was calibrated on.
    """

    format: Literal[1] = 1
    rubric: str
    judges: tuple[CalibratedJudge, ...]
    cascade: Cascade
    grid: tuple[float, ...] | None = None
    labels: dict[str, Any]
    demonstrations: dict[str, Any]
    expected: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> JudgeCalibration:
        """The calibration in an artifact's folder.

        Raises:
            BactrianError: there is none, or it cannot be read, or its bounds do not hold.
        """
        path = folder / CALIBRATION
        if not path.is_file():
            raise BactrianError(f"{folder}: found no {CALIBRATION}, expected what the stage calibrate leaves")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BactrianError(f"{path}: not JSON ({error})") from None
        return cls.from_json(data, str(path))

    def write(self, folder: Path) -> None:
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / CALIBRATION).write_text(text + "\n", encoding="utf-8")

    @property
    def names(self) -> list[str]:
        return [judge.name for judge in self.judges]

    def lines(self) -> list[str]:
        """What was found, in a line for each judge, for people."""
        said = []
        for judge, member in zip(self.judges, self.cascade.members, strict=True):
            found, agreement = member.threshold, float(judge.about["agreement"])
            told = (
                f"trusted from a confidence of {found.value:.3f}: {found.errors} of {found.n} wrong, "
                f"at most {found.bound:.1%} with probability {1 - found.delta:.3g}"
                if found.calibrated
                else f"always abstains: {found.stopped}"
            )
            said.append(f"{judge.name}: agrees on {agreement:.1%} of all pairs; {told}")
        return said


def refuse_other(calibrated: JudgeIdentity, found: JudgeIdentity, judge: str) -> None:
    """A calibration holds for one judge, asked in one way, and for no other.

    Raises:
        BactrianError: naming all that differs.
    """
    differs = [
        f"{name}: calibrated with {_shown(was)}, found {_shown(now)}"
        for name in (each.name for each in fields(JudgeIdentity))
        if (was := getattr(calibrated, name)) != (now := getattr(found, name))
    ]
    if differs:
        raise BactrianError(
            f"judge {judge}: the calibration does not hold for it; {'; '.join(differs)}. Calibrate again, or use "
            f"what was calibrated"
        )


def identity_record(identity: JudgeIdentity) -> dict[str, str]:
    return asdict(identity)


def price_record(price: JudgePrice) -> dict[str, float]:
    return asdict(price)


def write_demonstrations(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Those that the judges were shown, so that the artifact can open them again."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / DEMONSTRATIONS).write_text(text, encoding="utf-8")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…") if text else "none"
