"""A question that asks for what a request leaves open, rated by rules (docs/asking.md)."""

import json
from typing import Any

from bactrian.errors import BactrianError
from bactrian.verify.registry import register
from bactrian.verify.text.question_levels import ATTRIBUTES, HIGH, LOW, levels
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable


def asking_truth(text: str) -> dict[str, Any]:
    """A ground truth, read.

    Raises:
        BactrianError: it is none.
    """
    try:
        found = json.loads(text)
        slots = {name: (list(slot["values"]), int(slot["level"])) for name, slot in found["slots"].items()}
        if not slots or not isinstance(found["premise"], str):
            raise ValueError("no slots, or no premise")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BactrianError(
            f'ground_truth: found {text[:80]!r}, expected JSON like {{"premise": …, "slots": {{"order": {{"values": '
            f'["up", "down"], "level": 5}}}}}} ({error!r})'
        ) from None
    return dict(found)


def _check_truth(problem: Problem) -> None:
    try:
        asking_truth(problem.ground_truth)
    except BactrianError as error:
        raise ValueError(str(error)) from None
    attribute = problem.settings["attribute"]
    if attribute and attribute not in ATTRIBUTES:
        raise ValueError(f"settings.attribute: found {attribute!r}, expected one of {', '.join(ATTRIBUTES)}")


_TRUTH = json.dumps(
    {
        "premise": "sort the books",
        "slots": {"order": {"values": ["up", "down"], "level": 5}, "limit": {"values": ["one", "two"], "level": 1}},
    }
)


@register(
    "asking",
    examples=(
        Example("You want to sort the books. What is the order? Is it up or down?", _TRUTH, "right"),
        Example("What is the order?", _TRUTH, "right"),
        Example("What is the limit kind of or so at runtime in the schema? It is one, right?", _TRUTH, "wrong"),
        Example("What is the order?", _TRUTH, "wrong", {"attribute": "accuracy", "right_from": 0.75}),
        Example("Please tell me more.", _TRUTH, "unparsable"),
        Example("What is the colour?", _TRUTH, "unparsable"),
        Example("", _TRUTH, "unparsable"),
    ),
    settings={"attribute": "", "right_from": 0.5},
    check_truth=_check_truth,
)
def asking(problem: Problem, completion: str) -> Verdict:
    """The mean of a question's six attributes, or one of them, as a score in [0, 1]; right from `right_from`."""
    found = levels(asking_truth(problem.ground_truth), completion)
    if not found:
        return unparsable("it asks for nothing that the request leaves open or says")
    wanted = [problem.settings["attribute"]] if problem.settings["attribute"] else list(ATTRIBUTES)
    score = sum((found[name] - LOW) / (HIGH - LOW) for name in wanted) / len(wanted)
    told = ", ".join(f"{name} {found[name]}" for name in wanted)
    return Verdict(
        score, "right" if score >= problem.settings["right_from"] else "wrong", completion.strip()[:200], told
    )
