"""Where in a rendered prompt the question itself begins: after a system turn, instructions and worked examples.

A prompt of a few shots is mostly the same shots again. Whoever reads answers wants the question; pages fold the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_USER = re.compile(
    r"<\|im_start\|>user\n|<\|start_header_id\|>user<\|end_header_id\|>\n\n|<\|user\|>\n"
    r"|<start_of_turn>user\n|\[INST\] ?"
)
_BREAK = re.compile(r"\n\n|(?=<\|)")
_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>|<(?:start|end)_of_turn>|</?s>|\[/?INST\]")
_LABEL = re.compile(r"(?:\A|\n\n)(?P<label>[A-Z][\w ]{0,20}:)")
_HEADER = re.compile(r"(?:assistant|user|model|system)\s*\Z")


def question_starts(prompts: Sequence[str]) -> list[int]:
    """For each prompt of one task, as one model was asked, the place where its question begins; 0: nothing to fold.

    Three signs, of which the last one in the text counts: the last user turn of a known chat template; the last break
    (an empty line, a control token) before the prompts differ; the last block that begins with the label of the first
    ("Question:"), for examples that differ from prompt to prompt. A sign after which nothing is left is none.

    >>> question_starts(["Q: 1+1?\\nA: 2\\n\\nQ: 2+3?\\nA:", "Q: 1+1?\\nA: 2\\n\\nQ: 9-4?\\nA:"])
    [14, 14]
    """
    distinct = set(prompts)
    shared = _common(min(distinct), max(distinct)) if len(distinct) > 1 else ""
    breaks = [found.end() for found in _BREAK.finditer(shared)]
    return [_start(prompt, breaks) for prompt in prompts]


def _common(first: str, second: str) -> str:
    """What both begin with; of the first and the last in order that is what all begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return first[: next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))]


def _start(prompt: str, breaks: Sequence[int]) -> int:
    turns = [found.end() for found in _USER.finditer(prompt)]
    signs = [*turns, *breaks[-2:], *_same_label(prompt)]
    return max((sign for sign in signs if sign < len(prompt) and bare(prompt[sign:])), default=0)


def _same_label(prompt: str) -> list[int]:
    labels = [(found["label"], found.start("label")) for found in _LABEL.finditer(prompt)]
    return [place for label, place in labels[1:] if label == labels[0][0]][-1:]


def bare(text: str) -> str:
    """A piece of a prompt as people would write it: without control tokens and the header of the turn that follows.

    >>> bare("How many?<|im_end|>\\n<|im_start|>assistant\\n")
    'How many?'
    """
    pieces = _CONTROL.split(text)
    kept = [piece for number, piece in enumerate(pieces) if not (number and _HEADER.fullmatch(piece.strip()))]
    return "".join(kept).strip()
