"""What a method of test-time compute asks of a model: thoughts to draw, and how one answer is chosen of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bactrian.think.attempt import Pick


@dataclass(frozen=True)
class ThoughtDraw:
    """Thoughts to draw: a sentence after the question, limits, how many. The same draw is made once for all methods.

    thinking: budget in tokens; None: the stage's limit, as where a method asks but does not force.
    """

    sentence: str = ""
    thinking: int | None = None
    waits: int = 0
    extension: str = ""
    temperature: float = 0.0
    n: int = 1


@dataclass(frozen=True)
class MethodPoint:
    """A method at one setting. least, most: bounds of the thinking that was asked for; its control is kept to them."""

    label: str
    draw: ThoughtDraw
    pick: Pick | None  # None: the method makes its own thoughts (tree)
    least: float
    most: float


def describe(draw: ThoughtDraw) -> str:
    """A draw in a few words, for progress."""
    length = f"{draw.thinking} tokens" if draw.thinking is not None else "as long as it likes"
    waits, samples = f"{draw.waits} waits" if draw.waits else "", f"{draw.n} samples" if draw.n > 1 else ""
    parts = [length, waits, samples, draw.sentence[:40]]
    return ", ".join(filter(None, parts))
