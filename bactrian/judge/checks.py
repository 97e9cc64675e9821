"""Whether a calibration still holds: by the confidences of what was judged since, and by fresh labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.judge.calibrated import CALIBRATION, JudgeCalibration
from bactrian.judge.calibration.drift import DriftReport, FreshLabels, check_fresh_labels, drift
from bactrian.judge.calibration.thresholds import one_per_group
from bactrian.judge.calibration_run import judged_items
from bactrian.judge.cascade_verdicts import CalibratedCascade, sureness
from bactrian.judge.judged_rows import ABSTAINED
from bactrian.judge.labelled import LabelledPair, LabelledPairs, read_labelled, read_pair
from bactrian.judge.opinions import Opinion
from bactrian.store.cache import cache_folder
from bactrian.store.manifest import MANIFEST, Manifest

DIGITS = 9
"""Of confidences that are compared: rows keep them as they were, or made to sum to 1 again, and equal ones must tie."""
NOTHING = Opinion(fault="nothing is recorded")
Confidences = Mapping[str, Sequence[tuple[str, float]]]
"""Judge → (group of the prompt, confidence) of each pair that it was asked about, in order."""


@dataclass(frozen=True)
class CalibrationCheck:
    """What was found, by judge. `void`: the guarantee does not hold any more."""

    traffic: dict[str, DriftReport]
    labels: dict[str, FreshLabels]

    @property
    def void(self) -> bool:
        alarms = any(found.alarm is not None for found in self.traffic.values())
        return alarms or any(found.verdict == "broken" for found in self.labels.values())

    def record(self) -> dict[str, Any]:
        return {
            "void": self.void,
            "traffic": {name: found.to_json() for name, found in self.traffic.items()},
            "labels": {name: found.to_json() for name, found in self.labels.items()},
        }


def check_traffic(calibration: Path, judged: Sequence[Path], level: float, seed: int = 0) -> dict[str, DriftReport]:
    """Each judge's confidences on what it was asked since, against those on the labelled pairs that came as far.

    Args:
        judged: what judge left, or binarise, prefer or winrate with a calibration; in order, as one stream.
        level: of a false alarm by any of the judges.

    Raises:
        BactrianError: the folders are not what they should be, or nothing was judged by this calibration.
    """
    found = JudgeCalibration.read(calibration)
    before, now = reference_of(found, calibration), dict[str, list[tuple[str, float]]]()
    for folder in judged:
        refuse_judged_by_another(calibration, folder)
        said = judged_confidences(folder)
        if strange := sorted(said.keys() - set(found.names)):
            raise BactrianError(f"{folder}: judged by {strange[0]}, which is none of {', '.join(found.names)}")
        for name, confidences in said.items():
            now.setdefault(name, []).extend(confidences)
    asked = [name for name in found.names if now.get(name) and before.get(name)]
    if not asked:
        shown = ", ".join(map(str, judged))
        raise BactrianError(f"{shown}: no row says how sure a judge of this calibration was")
    return {
        name: drift(_one_each(before[name], seed), _one_each(now[name], seed), level=level / len(asked), seed=seed)
        for name in asked
    }


def refuse_judged_by_another(calibration: Path, judged: Path) -> None:
    """Judges of the same names may have been trusted from other confidences on, and then others have come as far.

    Raises:
        BactrianError: the manifest of what was judged names another calibration; a file has none, and is believed.
    """
    if not (judged / MANIFEST).is_file() or not (calibration / MANIFEST).is_file():
        return
    made = Manifest.read(judged)
    used = made.inputs.get(str(made.settings.get("calibration")))
    if used is not None and used.content_hash != Manifest.read(calibration).content_hash:
        raise BactrianError(f"{judged}: was judged by another calibration, {used.path}; expected {calibration}")


def reference_of(found: JudgeCalibration, folder: Path) -> Confidences:
    """Confidences on the labelled pairs, of each judge on those that no judge before it accepts."""
    labelled = read_labelled(folder)
    left, reference = list(labelled.pairs), dict[str, list[tuple[str, float]]]()
    for name, member in zip(found.names, found.cascade.members, strict=True):
        if not member.threshold.calibrated:
            continue
        said = [each.recorded.get(name, NOTHING) for each in left]
        # as rows of what was judged have it: a draw is 0.5 there, whatever a threshold makes of it
        reference[name] = [(each.pair.group, opinion.confidence) for each, opinion in zip(left, said, strict=True)]
        taken = member.threshold.accepts([sureness(opinion) for opinion in said])
        left = [each for each, accepted in zip(left, taken, strict=True) if not accepted]
    return reference


def judged_confidences(judged: Path) -> Confidences:
    """Of what a cascade decided and of what it abstained on, in the order in which it stood.

    Raises:
        BactrianError: a row does not say how sure its judges were.
    """
    rows = list(stream_rows(judged))
    apart = judged / ABSTAINED
    if apart.is_file() and apart.stat().st_size:
        rows += list(stream_rows(apart))
    for row, where in rows:
        if not isinstance(row.get("confidences"), Mapping) or not isinstance(row.get("place"), int):
            raise BactrianError(f"{where}: found no `confidences` and `place`, expected what a cascade judged")
    found: dict[str, list[tuple[str, float]]] = {}
    for row, where in sorted(rows, key=lambda each: int(each[0]["place"])):
        group = read_pair(row, where).pair.group
        for name, confidence in row["confidences"].items():
            found.setdefault(name, []).append((group, float(confidence)))
    return found


@contextmanager
def kept_until_done(calibration: Path, fresh: LabelledPairs) -> Iterator[Journal]:
    """What judges say in one check, for the next one where this one breaks off. A later check asks anew: a judge that
    has become another one would not be noticed otherwise."""
    read = f"{hashlib.sha256((calibration / CALIBRATION).read_bytes()).hexdigest()} {fresh.digest}"
    path = cache_folder() / "checks" / f"{hashlib.sha256(read.encode()).hexdigest()[:32]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with Journal(path) as journal:
        yield journal
    path.unlink(missing_ok=True)


def check_labels(
    found: JudgeCalibration,
    cascade: CalibratedCascade,
    pairs: Sequence[LabelledPair],
    seed: int = 0,
    journal: Journal | None = None,
) -> dict[str, FreshLabels]:
    """What each judge accepts of freshly labelled pairs, and how much of it is wrong. The judges are asked.

    Args:
        journal: keeps every opinion as it comes.

    Raises:
        BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
    """
    verdicts = cascade.verdicts([each.pair for each in pairs], journal)
    checked = {}
    for name, member in zip(found.names, found.cascade.members, strict=True):
        asked = [
            (each, dict(verdict.opinions)[name])
            for each, verdict in zip(pairs, verdicts, strict=True)
            if name in dict(verdict.opinions)
        ]
        if not asked:
            continue
        mine = [each for each, _ in asked]
        items = judged_items(name, mine, [said for _, said in asked])
        groups = [each.pair.group for each in mine]
        threshold = member.threshold
        checked[name] = check_fresh_labels(
            threshold, items.confidences, items.wrong, groups, delta=threshold.delta, seed=seed
        )
    return checked


def check_lines(found: CalibrationCheck) -> list[str]:
    """For people."""
    said = []
    for name, drifted in found.traffic.items():
        told = (
            f"confidences have changed (after {drifted.alarm:,} of {drifted.seen:,})"
            if drifted.alarm is not None
            else f"confidences are like those calibrated on, as far as {drifted.seen:,} can tell"
        )
        medians = " → ".join(f"{value:.3f}" for value in drifted.medians)
        said.append(
            f"{name}: {told}; median {medians}; wealth at most {drifted.highest:.3g}, "
            f"alarm from {1 / drifted.level:.0f}"
        )
    for name, fresh in found.labels.items():
        told = {
            "holds": "the guarantee holds",
            "broken": "the guarantee is broken",
            "open": f"open: about {fresh.more:,} more accepted pairs with labels would settle it",
        }[fresh.verdict]
        said.append(
            f"{name}: {told}; {fresh.errors} of {fresh.accepted} fresh verdicts are wrong, risk {fresh.low:.1%} to "
            f"{fresh.high:.1%}, allowed {fresh.alpha:.1%}"
        )
    said.append("void: calibrate again before these judges are used" if found.void else "nothing speaks against it")
    return said


def _one_each(values: Sequence[tuple[str, float]], seed: int) -> list[float]:
    """One confidence of each prompt, in order."""
    kept = one_per_group([group for group, _ in values], seed)
    return [round(values[place][1], DIGITS) for place in kept]


def dump(found: CalibrationCheck) -> str:
    return json.dumps(found.record(), indent=1, ensure_ascii=False)
