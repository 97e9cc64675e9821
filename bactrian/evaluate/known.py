"""Gold answers that are known: of some questions of each public task a hash, and one of question and answer together.

A file that asks known questions and has other answers was shuffled or changed, whatever it is called and whatever else
it holds: letters too, whose shuffling no verifier sees. Only hashes are kept (shipped_hashes.py writes known.json).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.evaluate.task import Loaded, Question
from bactrian.store.hashes import hash_json

KNOWN = Path(__file__).with_name("known.json")
MOST = 128
"""Questions of a task: those whose hashes are the smallest, which any file that holds more or fewer shares."""
ASKED, WHOLE = 8, 4
"""Hexadecimal digits of a question's hash, and of that of question and answer."""
LEAST, WRONG = 3, 0.2
"""Other answers from which a file is refused, and their share: a corrected edition changes fewer."""


@cache
def known() -> dict[str, dict[str, str]]:
    """Task → question's hash → hash of question and answer."""
    size = ASKED + WHOLE
    texts: dict[str, str] = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
    return {
        task: {text[at : at + ASKED]: text[at + ASKED : at + size] for at in range(0, len(text), size)}
        for task, text in texts.items()
    }


def marks(question: Question) -> tuple[str, str]:
    asked = [question.prompt, question.options]
    return hash_json(asked)[:ASKED], hash_json([asked, question.truth, question.right])[:WHOLE]


def sketch(questions: Sequence[Question]) -> dict[str, str]:
    """What known.json holds of a task with these questions; of those that are asked twice nothing."""
    seen: dict[str, str] = {}
    twice: set[str] = set()
    for asked, whole in map(marks, questions):
        if asked in seen:
            twice.add(asked)
        seen[asked] = whole
    return {asked: seen[asked] for asked in sorted(seen.keys() - twice)[:MOST]}


def check_known(loaded: Loaded) -> int:
    """How many of a file's questions are known.

    Raises:
        BactrianError: where too many have another answer.
    """
    answers = known().get(loaded.task.name, {})
    found = [
        (question, whole == answers[asked])
        for question in loaded.questions
        for asked, whole in [marks(question)]
        if asked in answers
    ]
    other = [question for question, same in found if not same]
    if len(other) >= LEAST and len(other) > WRONG * len(found):
        raise BactrianError(
            f"task {loaded.task.name}: {loaded.files} asks {len(found):,} questions whose gold answers are known, and "
            f"{len(other):,} have another one (the first: {other[0].prompt[:80]!r}): its gold answers were shuffled or "
            f"changed; fetch the file again"
        )
    return len(found)
