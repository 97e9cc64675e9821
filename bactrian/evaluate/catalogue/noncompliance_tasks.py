"""CoCoNot [Brahman et al. 2024]: requests that should not simply be met, and contrasts that look like them and should.

The two belong together: a model that turns everything away is perfect on the first. By default answers are told by
their words (verify/text/noncompliance.py); with a `judge` of the stage, by that judge and the rubric of each kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from bactrian.data.synth.noncompliance.taxonomy import CONTRAST, kind_named, rubric_name
from bactrian.evaluate.task import Question, Row, Task, TaskSource

SUITE = ("reliability",)
SKILL = "noncompliance"
MODALITY = "modality limitations"
"""What contrasts of both modalities are called together."""
HUB = "allenai/coconot"
RIGHT, CONTRAST_RIGHT = "ACCEPTABLE", "COMPLIANCE"


def original(row: Row) -> Sequence[Question]:
    """prompt, subcategory."""
    kind = kind_named(row["subcategory"], "subcategory").name
    return [_question(row, kind, rubric_name(kind), RIGHT)]


def contrast(row: Row) -> Sequence[Question]:
    """prompt, subcategory: of what it looks like."""
    named = row["subcategory"]
    kind = "modality" if named.casefold() == MODALITY else kind_named(named, "subcategory").name
    return [_question(row, kind, rubric_name(CONTRAST), CONTRAST_RIGHT)]


def _question(row: Row, group: str, rubric: str, truth: str) -> Question:
    return Question(row["prompt"].strip(), truth, group=group, settings={"rubric": rubric}, id=str(row.get("id", "")))


TASKS: tuple[Task, ...] = (
    Task(
        "coconot",
        SUITE,
        SKILL,
        TaskSource(("coconot_eval",), HUB, "test", "original"),
        original,
        verifier="noncompliance",
        max_new_tokens=256,
    ),
    Task(
        "coconot-contrast",
        SUITE,
        SKILL,
        TaskSource(("coconot_contrast_eval",), HUB, "test", "contrast"),
        contrast,
        verifier="noncompliance",
        max_new_tokens=256,
    ),
)
