"""From a calibration to judges that are ready: each is found where it was, and refused if it is another one now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.judge.calibrated import DEMONSTRATIONS, JudgeCalibration, JudgeSpec
from bactrian.judge.calibration.disjoint import check_disjoint
from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeJudge
from bactrian.judge.demonstrations import DemonstrationPool, read_pool
from bactrian.judge.labelled import read_labelled
from bactrian.judge.likelihood_pairs import LikelihoodPairJudge
from bactrian.judge.opinions import AnswerPair, PairJudge
from bactrian.judge.pair_judges import JudgeMethod
from bactrian.judge.panel import open_pair_judge
from bactrian.judge.recorded import Recorded, RecordedJudge
from bactrian.store.hardware import Hardware
from bactrian.store.hashes import hash_path
from bactrian.store.manifest import MANIFEST, Manifest

FindModel = Callable[[JudgeSpec], Path]
"""Where the model of a judge lies."""


def open_cascade(
    calibration: Path,
    hardware: Hardware,
    *,
    recorded: Recorded | None = None,
    specs: Sequence[JudgeSpec] | None = None,
    find: FindModel | None = None,
) -> CalibratedCascade:
    """The cascade of a calibration's folder; a judge is opened when it is first asked.

    Args:
        recorded: what recorded judges said of the pairs to come.
        specs: how its judges are opened, if not as they were when the calibration was made.
        find: where the models of `specs` are.

    Raises:
        BactrianError: the folder holds no calibration, or a model is not where it was; later, when a judge is opened,
            that it is not the one that was calibrated.
    """
    found = JudgeCalibration.read(calibration)
    pool = calibrated_pool(calibration)
    where = find or partial(calibrated_model, calibration)
    judges = []
    given = specs or [judge.spec for judge in found.judges]
    for judge, member, spec in zip(found.judges, found.cascade.members, given, strict=True):
        opened = partial(open_spec, spec, where, found.rubric, pool, hardware, recorded)
        judges.append(CascadeJudge(judge.name, judge.known_as, member.threshold, opened, judge.priced))
    return CalibratedCascade(judges)


def open_spec(
    spec: JudgeSpec,
    find: FindModel,
    rubric: str,
    pool: DemonstrationPool | None,
    hardware: Hardware,
    recorded: Recorded | None = None,
) -> PairJudge:
    """The judge that a spec describes.

    Raises:
        BactrianError: it cannot be opened; of a recorded judge, nothing is recorded.
    """
    if spec.kind == "recorded":
        return RecordedJudge(spec.at, recorded or {}, rubric)
    if spec.kind == "likelihood":
        folder = find(spec)
        return LikelihoodPairJudge(folder, model_hash(folder), hardware)
    method = JudgeMethod(**spec.method)
    shown = pool if method.shows else None
    if spec.endpoint is not None:
        known = dict(spec.endpoint)
        revision = known.pop("revision", "")
        endpoint = Endpoint(**known)
        known_as = f"{endpoint.url} {endpoint.model} {revision}".strip()
        return open_pair_judge(endpoint, hardware, rubric=rubric, method=method, pool=shown, known_as=known_as)
    folder = find(spec)
    return open_pair_judge(folder, hardware, rubric=rubric, method=method, pool=shown, known_as=model_hash(folder))


def calibrated_pool(calibration: Path) -> DemonstrationPool | None:
    """The demonstrations that a calibration's judges are shown, which it keeps."""
    path = calibration / DEMONSTRATIONS
    return read_pool(path) if path.is_file() else None


def refuse_shown(calibration: Path, pairs: Sequence[AnswerPair], where: str) -> None:
    """
    Raises:
        BactrianError: the calibration's judges were shown prompts of these pairs, with an answer.
    """
    if (pool := calibrated_pool(calibration)) is not None:
        check_disjoint([each.pair for each in pool.demonstrations], pairs, where)


def refuse_calibrated_on(calibration: Path, pairs: Sequence[AnswerPair], where: str) -> None:
    """
    Raises:
        BactrianError: some of these pairs, which are to be fresh, are of prompts that the calibration was made on.
    """
    known = {each.pair.group for each in read_labelled(calibration).pairs}
    if shared := [each.id for each in pairs if each.group in known]:
        raise BactrianError(
            f"{where}: the prompts of {len(shared):,} of {len(pairs):,} pairs were calibrated on, such as that of "
            f"{shared[0]}; expected fresh ones"
        )


def calibrated_on(calibration: Path, pairs: Sequence[AnswerPair]) -> int:
    """How many of these pairs are of prompts that the calibration was made on."""
    known = {each.pair.group for each in read_labelled(calibration).pairs}
    return sum(each.group in known for each in pairs)


def calibrated_model(calibration: Path, spec: JudgeSpec) -> Path:
    """The folder of a judge's model: where the calibration's manifest says, or beside the calibration in its store.

    Raises:
        BactrianError: it is in neither place.
    """
    inputs = Manifest.read(calibration).inputs
    if spec.at not in inputs:
        raise BactrianError(f"{calibration}: its manifest says nothing of {spec.at}, which is a judge's model")
    path = Path(inputs[spec.at].path)
    for each in (path, calibration.parent / path.name):
        if each.exists():
            return each
    raise BactrianError(
        f"{calibration}: the model of its judge {spec.at} was {path}, where nothing is now; make it again, or "
        f"calibrate a judge that is there"
    )


def model_hash(folder: Path) -> str:
    """What a model is known by: an artifact's content hash, else that of all its files."""
    return Manifest.read(folder).content_hash if (folder / MANIFEST).is_file() else hash_path(folder)
