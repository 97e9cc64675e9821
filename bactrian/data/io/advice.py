"""Words for rows that do not fit where they are given: what they are, and what to write instead."""

import json
from collections.abc import Collection, Iterator, Mapping

from bactrian.data.io.adoption import Adoption
from bactrian.data.io.needs import RowNeed
from bactrian.data.io.rows import Row

SHOWN = 8
"""Columns that are shown."""
WIDTH = 40
"""Characters of a value that are shown."""
_WORDS: dict[RowNeed, str] = {
    "conversation": "conversations (messages, conversations, instruction + output, prompt + response)",
    "worked": "problems with a solution",
    "feedback": "answers labelled good or bad (messages or prompt + completion, and label: true or false)",
    "problem": "problems (messages, ground_truth, dataset; or question + answer and a verifier)",
    "pair": "pairs (prompt, chosen, rejected)",
    "text": "texts (text)",
}
_STAGES: dict[RowNeed, str] = {
    "pair": "dpo",
    "feedback": "kto",
    "problem": "rlvr",
    "conversation": "sft",
    "text": "pretrain",
}
"""What rows of a kind are for: the first that they are good for is named."""
_NAMES: dict[RowNeed, tuple[str, ...]] = {
    "pair": ("prompt", "chosen", "rejected"),
    "feedback": ("prompt", "completion", "label"),
    "problem": ("question", "answer"),
    "conversation": ("prompt", "response"),
    "text": ("text",),
}
"""The columns that rows of a kind are made of, as layouts call them."""
_ANSWERS = frozenset(("answer", "response", "completion", "solution", "targets", "output"))
_ASKED = "prompt question query instruction problem input request user human ask task"
_SAID = "response answer reply output completion solution assistant gpt target bot said"
_SYNONYMS: dict[str, str] = {
    "prompt": _ASKED,
    "question": _ASKED,
    "response": _SAID,
    "completion": _SAID,
    "answer": f"answer truth target {_SAID}",
    "chosen": "chosen better preferred winner accept good positive win best",
    "rejected": "rejected worse dispreferred loser reject bad negative lose worst",
    "label": "label good thumbs liked rating feedback",
    "text": "text content body document",
}


def expected(needs: Collection[RowNeed]) -> str:
    """What would have been taken, in words."""
    if _WORDS.keys() <= set(needs):
        return "rows in a layout that is known (docs/data.md lists them)"
    return " or ".join(words for need, words in _WORDS.items() if need in needs)


def described(row: Row) -> str:
    """The columns of a row, with the beginning of each value."""
    shown = [f"{_short(name)[1:-1]}: {_short(value)}" for name, value in list(row.items())[:SHOWN]]
    more = f", and {len(row) - SHOWN} more" if len(row) > SHOWN else ""
    return f"{{{', '.join(shown)}{more}}}" if row else "no columns"


def advice(row: Row, met: Collection[RowNeed], needs: Collection[RowNeed], how: Adoption) -> str:
    """What to write instead, a line each to follow what was expected; "" where nothing is known to help."""
    return "".join(f"\n  {line}" for line in _advised(row, met, needs, how))


def _advised(row: Row, met: Collection[RowNeed], needs: Collection[RowNeed], how: Adoption) -> Iterator[str]:
    if "label" in row and "feedback" not in needs and (not met or "conversation" in met):
        met = {"feedback"}
    stage = next((stage for need, stage in _STAGES.items() if need in met), None)
    if stage is not None:
        yield f"such rows are for stage {stage}: bactrian {stage} … --data {how.source} (in a recipe: stage: {stage})"
    if "problem" in needs and "conversation" in met and row.keys() & _ANSWERS:
        yield f"or say what checks the answers: {spelled({'verifier': 'contains'})}"
    elif "conversation" in needs and "pair" in met:
        chosen = row.get("chosen")
        layout, column = ("messages", "messages") if isinstance(chosen, list) else ("prompt_completion", "response")
        yield f"or learn from the chosen answers alone: {spelled({'layout': layout, 'columns': {column: 'chosen'}})}"
    elif not met and not how.columns:
        need = "conversation" if "conversation" in needs else next(need for need in _NAMES if need in needs)
        columns = guessed(row, _NAMES[need]) or dict.fromkeys(_NAMES[need], "THEIRS")
        yield f"name the columns: {spelled({'columns': columns})}"
        if need == "problem":
            yield "or, without answers, score what is said by a function of yours: --reward FILE.py:FUNCTION"


def spelled(settings: Mapping[str, str | Mapping[str, str]]) -> str:
    """Settings on the command line and in a recipe.

    >>> spelled({"columns": {"prompt": "q", "response": "a"}})
    '--columns "prompt=q,response=a" (in a recipe: columns: {prompt: q, response: a})'
    """
    options, lines = [], []
    for name, value in settings.items():
        if isinstance(value, str):
            options.append(f"--{name.replace('_', '-')} {value}")
            lines.append(f"{name}: {value}")
        else:
            flat = ",".join(f"{each}={column}" for each, column in value.items())
            inside = ", ".join(f"{each}: {_yaml(column)}" for each, column in value.items())
            options.append(f'--{name} "{flat}"')
            lines.append(f"{name}: {{{inside}}}")
    return f"{' '.join(options)} (in a recipe: {', '.join(lines)})"


def guessed(row: Row, names: Collection[str]) -> dict[str, str]:
    """Which columns of a row may be meant by a layout's names; empty where that cannot be told.

    What asks and what answers may have any name: then the first column and the second are meant. Which of two answers
    is the better one only a name can say.
    """
    texts = [name for name, value in row.items() if isinstance(value, str) and name not in ("id", "source", "license")]
    left, found = list(row) if "label" in names else texts, dict[str, str]()
    for name in names:
        words = _SYNONYMS[name].split()
        like = [column for word in words for column in left if word in column.lower()]
        if like:
            found[name] = like[0]
            left = [column for column in left if column != like[0]]
    for name in names:
        if name not in found and left and name not in ("chosen", "rejected", "label"):
            found[name] = left.pop(0)
    return {name: found[name] for name in names} if len(found) == len(names) else {}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    cut = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
    return json.dumps(cut, ensure_ascii=False) if isinstance(value, str) else cut


def _yaml(text: str) -> str:
    plain = text.replace("_", "").replace("-", "").isalnum()
    return text if plain else json.dumps(text, ensure_ascii=False)
