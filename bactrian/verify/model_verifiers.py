"""The seam for verifiers that are models: a judge that reads answers, a reward model that scores them.

Rows name them as any other verifier, `judge` or `reward_model`. The models come from outside (judge/models.py has
both), as `Pool(judges={"judge": …})`: this room loads none.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from bactrian.errors import BactrianError
from bactrian.verify.final_answer import answer_part
from bactrian.verify.registry import complete, register, verifier
from bactrian.verify.verdict import Problem, Verdict, unparsable


class Judge(Protocol):
    """Gives verdicts on many answers at once, as a model is quicker so. Same problems and answers, same verdicts."""

    def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict for each (problem, answer), in order; the thinking is cut already."""
        ...


@register("judge", examples=(), place="judge", settings={"rubric": "", "right_from": 7.0})
def by_judge(problem: Problem, completion: str) -> Verdict:
    """A language model's rating from 1 to 10, as a score in [0, 1]; right from `right_from`; `rubric`: what counts."""
    raise BactrianError("rows of dataset 'judge' need a model that judges: give the setting judge")


@register("reward_model", examples=(), place="judge", settings={"right_from": 0.5})
def by_reward_model(problem: Problem, completion: str) -> Verdict:
    """A reward model's σ(reward) as the score; right from `right_from`."""
    raise BactrianError("rows of dataset 'reward_model' need one: give the setting reward_model")


UNREAD = "the judge gave no verdict"
"""How the reason of a verdict begins where a judge answered, and no verdict can be read in its words."""
UNANSWERED = "the judge did not answer"
"""How it begins where the judge was asked, and failed."""
ABSTAINS = "the cascade abstains"
"""The reason of a verdict that a calibrated cascade does not give."""
UNSURE = "the judge is not sure enough"
"""How the reason of a label begins that a calibrated judge does not give."""


@register("cascade", examples=(), place="judge")
def by_cascade(problem: Problem, completion: str) -> Verdict:
    """Whether a calibrated cascade prefers the answer to the ground truth, which is another answer."""
    raise BactrianError("rows of dataset 'cascade' need a calibration: give the setting reward.calibration of rlvr")


Asked = tuple[Any, ...]
"""As the pool's Item: dataset, completion, ground truth, settings, prompt, earlier turns; what follows is not read."""


def ask(judge: Judge | None, items: Sequence[Asked]) -> list[Verdict]:
    """A judge's verdicts on items, thinking cut.

    Raises:
        BactrianError: if there is no judge.
    """
    if judge is None:
        return [verifier(items[0][0]).check(Problem(""), "")]
    said: list[Verdict | None] = []
    asked = []
    for dataset, completion, ground_truth, settings, prompt, earlier, *_ in items:
        problem = Problem(ground_truth, complete(dataset, settings), prompt, earlier)
        answer = answer_part(completion, problem.settings["thinking"])
        if answer is None or not answer.strip():
            said.append(unparsable("no answer after the thinking section"))
        else:
            said.append(None)
            asked.append((problem, answer))
    told = iter(judge.judge(asked) if asked else [])
    return [next(told) if verdict is None else verdict for verdict in said]
