"""Language models as verifiers of single answers. The seam is verify/model_verifiers.py."""

from __future__ import annotations

from collections.abc import Sequence

from bactrian.generate.chat_request import Responder
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, Chooser
from bactrian.judge.asked_judges import replies_to
from bactrian.judge.models import turn
from bactrian.judge.point_rubrics import PointRubric, point_rubric
from bactrian.verify.model_verifiers import UNANSWERED
from bactrian.verify.verdict import Problem, Verdict

READ_BY = "what the judge is asked"
Asked = Sequence[tuple[Problem, str]]


class ModelJudge:
    """Asks a language model, here or behind a server, greedily, in the words of each row's rubric.

    `rubric`: one for all rows instead. A judge that gives no verdict has failed: "crashed".
    """

    def __init__(self, responder: Responder, rubric: PointRubric | None = None) -> None:
        self.responder, self.rubric = responder, rubric

    def judge(self, asked: Asked) -> list[Verdict]:
        rubrics = [self.rubric or rubric_of(problem) for problem, _ in asked]
        found: dict[int, Verdict] = {}
        for longest in sorted({rubric.max_new_tokens for rubric in rubrics}):
            places = [place for place, rubric in enumerate(rubrics) if rubric.max_new_tokens == longest]
            questions = [rubrics[place].question(*asked[place]) for place in places]
            replies = replies_to(self.responder, questions, READ_BY, longest)
            for place, reply in zip(places, replies, strict=True):
                failed = f"{UNANSWERED}: {reply.fault}" if reply.fault else ""  # its text is nothing that a judge said
                found[place] = (
                    Verdict(0.0, "crashed", None, failed)
                    if failed
                    else rubrics[place].verdict(asked[place][0], reply.text)
                )
        return [found[place] for place in range(len(asked))]


class WeighingJudge:
    """Weighs the options of each row's rubric by their probabilities: the mean rating, the probability of the label."""

    def __init__(self, chooser: Chooser, rubric: PointRubric | None = None) -> None:
        self.chooser, self.rubric = chooser, rubric

    def judge(self, asked: Asked) -> list[Verdict]:
        return [verdict for verdict, _ in self.opinions(asked)]

    def opinions(self, asked: Asked) -> list[tuple[Verdict, float]]:
        """Each verdict, and how sure it is: the probability of the likeliest option; 0 where the judge failed."""
        rubrics = [self.rubric or rubric_of(problem) for problem, _ in asked]
        requests = [
            ChoiceRequest(
                (turn("user", rubric.question(problem, answer, weighed=True)),),
                rubric.options,
                READ_BY,
                prefilled=rubric.prefilled,
            )
            for rubric, (problem, answer) in zip(rubrics, asked, strict=True)
        ]
        replies: dict[int, ChoiceReply] = {}
        self.chooser.choose(requests, replies.__setitem__)
        return [
            (weighed(rubric, problem, replies[place]), max(replies[place].probabilities, default=0.0))
            for place, (rubric, (problem, _)) in enumerate(zip(rubrics, asked, strict=True))
        ]


def weighed(rubric: PointRubric, problem: Problem, reply: ChoiceReply) -> Verdict:
    """A reply's verdict; "crashed" where it has a fault."""
    if reply.fault:
        return Verdict(0.0, "crashed", None, f"{UNANSWERED}: {reply.fault}")
    return rubric.weighed_verdict(problem, reply.probabilities, reply.mass)


def rubric_of(problem: Problem) -> PointRubric:
    """The rubric that a row of dataset `judge` names."""
    return point_rubric(problem.settings["rubric"])
