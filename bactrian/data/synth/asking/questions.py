"""Questions about requests, written from their attributes: of any level in each, and with one attribute moved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from bactrian.data.synth.asking.requests import KINDS, THINGS, UnderspecifiedRequest

ATTRIBUTES = ("clarity", "focus", "answerability", "accuracy", "relevance", "openness")
VAGUE = ("kind of", "or so", "somehow", "more or less")
JARGON = ("in the schema", "at runtime", "per the enum", "in the parser")
HIGH, MIDDLE, LOW = 5, 3, 1
USUAL = {HIGH: 0.15, MIDDLE: 0.7, LOW: 0.15}
"""How often a question that nobody has improved is of each level, in each attribute."""
FLAWS = {HIGH: 0, MIDDLE: 1, LOW: 2}


@dataclass(frozen=True)
class QuestionPlan:
    """levels: of each attribute but relevance and focus, which follow from `slots`; seed: of the words chosen."""

    slots: tuple[str, ...]
    levels: Mapping[str, int]
    seed: int

    def json(self) -> str:
        return json.dumps({"slots": list(self.slots), "levels": dict(self.levels), "seed": self.seed})

    @classmethod
    def read(cls, text: str) -> QuestionPlan:
        """From the JSON of `json`.

        Raises:
            ValueError: it is none.
        """
        try:
            found = json.loads(text)
            return cls(tuple(found["slots"]), dict(found["levels"]), int(found["seed"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no plan of a question: {error!r}") from None


def drawn_plan(request: UnderspecifiedRequest, random: Random, shares: Mapping[int, float] = USUAL) -> QuestionPlan:
    """A question's plan; each attribute's level is drawn by itself."""
    levels = {name: random.choices(list(shares), list(shares.values()))[0] for name in ATTRIBUTES}
    plan = QuestionPlan((), levels, random.randrange(2**31))
    return _focused(_aimed(plan, request, levels["relevance"]), request, levels["focus"])


def best_plan(request: UnderspecifiedRequest, seed: int = 0) -> QuestionPlan:
    """The plan of a question that is as good as can be in every attribute."""
    return drawn_plan(request, Random(seed), {HIGH: 1.0})


def moved(plan: QuestionPlan, request: UnderspecifiedRequest, attributes: Sequence[str], level: int) -> QuestionPlan:
    """The plan with these attributes at another level and all others as they were."""
    for name in attributes:
        if name == "relevance":
            plan = _aimed(plan, request, level)
        elif name == "focus":
            plan = _focused(plan, request, level)
        plan = replace(plan, levels={**plan.levels, name: level})
    return plan


def written(plan: QuestionPlan, request: UnderspecifiedRequest) -> str:
    """The question in words: "You want to sort the books. What is the order? Is it up or down?"."""
    random = Random(plan.seed)
    vague, jargon = random.sample(VAGUE, 2), random.sample(JARGON, 2)
    asked = " and ".join(f"the {slot}" for slot in plan.slots)
    tail = [*vague[: FLAWS[plan.levels["clarity"]]], *jargon[: FLAWS[plan.levels["answerability"]]]]
    parts = [_premise(plan.levels["accuracy"], request, random), f"What is {' '.join([asked, *tail])}?"]
    values = request.slots[plan.slots[0]]
    suggested = random.choice(values)
    if plan.levels["openness"] == HIGH:
        parts.append(f"Is it {' or '.join(values)}?")
    elif plan.levels["openness"] == LOW:
        parts.append(f"It is {suggested}, right?")
    return " ".join(filter(None, parts))


def _premise(level: int, request: UnderspecifiedRequest, random: Random) -> str:
    """What the question takes the request to be; of a low level another one."""
    kinds, things = random.sample(list(KINDS), 2), random.sample(THINGS, 2)
    if level == MIDDLE:
        return ""
    if level == HIGH:
        return f"You want to {request.premise}."
    other = next(kind for kind in kinds if kind != request.kind)
    return f"You want to {KINDS[other].words.format(things=things[0])}."


def _aimed(plan: QuestionPlan, request: UnderspecifiedRequest, level: int) -> QuestionPlan:
    """With a first slot of this level, or of the nearest that there is; the other slots stay where they can."""
    levels, random = request.slot_levels(), Random(f"{plan.seed}/slot")
    nearest = min(set(levels.values()), key=lambda each: (abs(each - level), each))
    first = random.choice([slot for slot, each in levels.items() if each == nearest])
    others = [slot for slot in plan.slots[1:] if slot != first]
    if len(others) < len(plan.slots) - 1:  # the first of the others has become the first of all
        others.append(next(slot for slot in levels if slot not in (first, *others)))
    return replace(plan, slots=(first, *others))


def _focused(plan: QuestionPlan, request: UnderspecifiedRequest, level: int) -> QuestionPlan:
    """With the first slot alone, or with one or two others."""
    others = [slot for slot in request.slots if slot != plan.slots[0]]
    more = Random(f"{plan.seed}/others").sample(others, FLAWS[level])
    return replace(plan, slots=(plan.slots[0], *more))
