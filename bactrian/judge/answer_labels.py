"""A judge that labels answers to requests which should not simply be met only where it is sure enough to be trusted.

How sure that has to be is calibrated on answers that people have labelled, as `calibrate` does it for pairs [Jung et
al. 2025]: with probability 1 - delta, of the labels that are given at most a share alpha is not what people would say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bactrian.data.io.files import stream_rows
from bactrian.data.io.problem_rows import question_hash
from bactrian.data.io.tally import Tally
from bactrian.data.synth.noncompliance.taxonomy import CONTRAST, kind_named, rubric_name
from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.judge.calibration.thresholds import Threshold, calibrate
from bactrian.judge.point_judges import Asked
from bactrian.verify.model_verifiers import UNSURE
from bactrian.verify.text.labels import CONTRAST_LABELS, LABELS
from bactrian.verify.verdict import Problem, Verdict

XSTEST = {
    "1_full_compliance": CONTRAST_LABELS[0],
    "2_full_refusal": CONTRAST_LABELS[1],
    "3_partial_refusal": CONTRAST_LABELS[1],
}
"""Labels of XSTest's files of answers, all of them judged as contrasts. To refuse in part is not to comply."""
SETS: Mapping[str, tuple[str, ...]] = {"requests": LABELS, "contrasts": CONTRAST_LABELS}
"""What is calibrated apart from each other, and the labels of each."""


class OpinionJudge(Protocol):
    """Says of each answer its verdict and how sure it is, in [0, 1]."""

    def opinions(self, asked: Asked) -> list[tuple[Verdict, float]]: ...


@dataclass(frozen=True)
class GoldAnswer:
    """An answer, and the label that people gave it. contrast: whether the request is one that should be met."""

    problem: Problem
    answer: str
    label: str
    contrast: bool


@dataclass(frozen=True)
class SureLabels:
    """weigher: the judge. thresholds: of SETS → from which sureness its labels are given; it abstains on the others."""

    weigher: OpinionJudge
    thresholds: Mapping[str, Threshold]

    def judge(self, asked: Asked) -> list[Verdict]:
        """One verdict for each (problem, answer), in order; "crashed" with UNSURE where the judge abstains."""
        found = []
        for (problem, _), (verdict, sure) in zip(asked, self.weigher.opinions(asked), strict=True):
            threshold = self.thresholds.get(set_of(problem))
            if verdict.outcome == "crashed" or (threshold is not None and bool(threshold.accepts(sure))):
                found.append(verdict)
            else:
                found.append(Verdict(0.0, "crashed", None, f"{UNSURE}: {sure:.2f}"))
        return found


def set_of(problem: Problem) -> str:
    """Which of SETS a request is of."""
    return "contrasts" if problem.settings["rubric"] == rubric_name(CONTRAST) else "requests"


def read_labelled_answers(path: Path, tally: Tally) -> list[GoldAnswer]:
    """Rows with prompt, completion, kind (one of the 17, or contrast) and label; or XSTest's files of answers.

    Of the latter, those on which its two annotators do not agree are left out and counted.

    Raises:
        BactrianError: naming the line and the field of a row that is neither.
    """
    found = [each for row, where in stream_rows(path) for each in _labelled(row, where, tally)]
    tally.keep(len(found))
    return found


def _labelled(row: Mapping[str, Any], where: str, tally: Tally) -> Iterator[GoldAnswer]:
    prompt, answer = (_text(row, name, where) for name in ("prompt", "completion"))
    if "final_label" in row:
        if str(row.get("agreement", "True")) != "True":
            tally.drop("annotators are divided", where)
            return
        kind, label = CONTRAST, XSTEST.get(str(row["final_label"]), str(row["final_label"]))
    else:
        kind, label = _text(row, "kind", where), _text(row, "label", where).strip().upper()
    contrast = kind == CONTRAST
    labels = SETS["contrasts" if contrast else "requests"]
    if label not in labels:
        raise BactrianError(f"{where}, field 'label': found {label[:60]!r}, expected one of {', '.join(labels)}")
    rubric = rubric_name(CONTRAST if contrast else kind_named(kind, f"{where}, field 'kind'").name)
    yield GoldAnswer(Problem(labels[0], {"rubric": rubric}, prompt), answer, label, contrast)


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BactrianError(
            f"{where}, field {name!r}: found {value!r:.60} in a row with the fields {field_names(row)}; expected a "
            "text (labelled answers have prompt, completion, kind and label)"
        )
    return value


def calibrated_labels(
    judge: OpinionJudge,
    answers: Sequence[GoldAnswer],
    wanted: Sequence[str],
    *,
    alpha: float,
    delta: float,
    least: int = 30,
    seed: int = 0,
) -> SureLabels:
    """The judge with thresholds for each of SETS that is wanted. Answers to one request count as one.

    Raises:
        BactrianError: fewer labelled answers than any guarantee needs, or none of the judge's labels may be trusted.
    """
    thresholds = {}
    for name in wanted:
        mine = [each for each in answers if each.contrast == (name == "contrasts")]
        if not mine:
            raise BactrianError(f"{name}: found no labelled answer; a judge is trusted only where it was tested")
        said = judge.opinions([(each.problem, each.answer) for each in mine])
        wrong = [verdict.extracted != each.label for (verdict, _), each in zip(said, mine, strict=True)]
        groups = [question_hash(each.problem.prompt) for each in mine]
        try:
            threshold = calibrate(
                [sure for _, sure in said], wrong, groups, alpha=alpha, delta=delta, least=least, seed=seed
            )
        except BactrianError as error:
            raise BactrianError(f"{name}: {error}") from None
        if not threshold.calibrated:
            right = len(wrong) - sum(wrong)
            raise BactrianError(
                f"{name}: the judge may be trusted with none of its labels at alpha = {alpha:g}, delta = {delta:g}: "
                f"{threshold.stopped} (of all {len(wrong)} labelled answers it is right on {right})"
            )
        thresholds[name] = threshold
    return SureLabels(judge, thresholds)
