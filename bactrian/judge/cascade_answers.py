"""A calibrated cascade as the verifier `cascade`: is an answer better than the one that its row holds against it?"""

from __future__ import annotations

from collections.abc import Sequence

from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeVerdict
from bactrian.judge.models import turn
from bactrian.judge.opinions import FIRST, AnswerPair
from bactrian.verify import Problem, Verdict
from bactrian.verify.model_verifiers import ABSTAINS


class AnswerAgainst:
    """Score 1 where the cascade prefers the answer to the row's ground truth, 0 where it prefers that one.

    Where it abstains it has not judged ("crashed"): the answer is worth neither, and says nothing to who trains on it.
    """

    def __init__(self, cascade: CalibratedCascade) -> None:
        self.cascade = cascade

    def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """
        Raises:
            BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
        """
        pairs = [
            AnswerPair(
                f"answer {number}",
                (*map(dict, problem.earlier), turn("user", problem.prompt)),
                answer,
                problem.ground_truth,
            )
            for number, (problem, answer) in enumerate(asked, 1)
        ]
        return [_verdict(each) for each in self.cascade.verdicts(pairs)]


def _verdict(found: CascadeVerdict) -> Verdict:
    if found.preferred is None:
        return Verdict(0.0, "crashed", None, ABSTAINS)
    better = found.preferred == FIRST
    reason = (
        f"{'better' if better else 'worse'} than the row's answer, says {found.judge} ({found.confidence:.2f} sure)"
    )
    return Verdict(float(better), "right" if better else "wrong", None, reason)
