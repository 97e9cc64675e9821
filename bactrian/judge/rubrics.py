"""What judges are asked about two answers: rubrics as data, and the frame that fences the texts judged.

A rubric is a text that says what counts. The shipped ones have names; any other comes from a file. Frame and rubric
together are what a judge's identity holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.judge.fences import fenced, mark_of
from bactrian.judge.models import spoken
from bactrian.judge.opinions import AnswerPair

LETTERS = ("A", "B")
PAIR_RUBRICS: Mapping[str, str] = {
    "helpfulness": (
        "You compare two answers to the same request. The better one is what the person who asked would rather have: "
        "it does what was asked, is correct, and says what is useful and nothing beside the point. Length by itself is "
        "no merit, and neither is the order in which the answers stand."
    ),
    "alpaca_eval": (
        "Two models answered the same instruction, and a ranking is made of them. Of the two answers, say which one "
        "most people would prefer: the more accurate, complete and fluent one, as if both had been written for you."
    ),
    "follows_instruction": (
        "You compare how well two answers carry out an instruction. What counts first is whether an answer does "
        "exactly what the instruction says, under every condition that it sets. An answer to another question is "
        "worse, however well it is written. Tone, detail and length count only between answers that both do what was "
        "said."
    ),
}
ASKED = "Which answer is better? Write A or B and nothing else."
ASKED_IN_WORDS = (
    "Which answer is better, and how sure are you of it, from 50 (a guess) to 100 (certain)? Say why in a sentence or "
    'two, then end with one line, such as "Better: A. Certainty: 80".'
)


def pair_rubric(rubric: str) -> str:
    """The text of a rubric: a shipped one's by its name, else the text itself.

    Raises:
        BactrianError: for one word that names none, and for no text.
    """
    if rubric in PAIR_RUBRICS:
        return PAIR_RUBRICS[rubric]
    if len(rubric.split()) < 2:
        meant = nearest(rubric, PAIR_RUBRICS)
        hint = f'; did you mean "{meant}"?' if meant else ""
        raise BactrianError(f"rubric: found {rubric!r}, expected a text, or one of {', '.join(PAIR_RUBRICS)}{hint}")
    return rubric.strip()


def pair_block(pair: AnswerPair, swapped: bool, asked: str = ASKED) -> str:
    """The texts of a pair in marks, its second answer first if `swapped`, and the question."""
    instruction = spoken(pair.prompt)
    answers = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    mark = mark_of(instruction, pair.reference, *answers)
    parts = [fenced("instruction", instruction, mark)]
    if pair.reference:
        parts.append(fenced("reference: a good answer", pair.reference, mark))
    parts += [fenced(f"answer {letter}", answer, mark) for letter, answer in zip(LETTERS, answers, strict=True)]
    return "\n\n".join([*parts, asked])
