"""The texts of a training row that count: what it asks, or all that it says."""

from collections.abc import Mapping
from typing import Any, Literal

from bactrian.errors import BactrianError

Side = Literal["prompts", "all"]

_PROMPTS = ("question", "problem", "prompt", "instruction", "input", "text", "goal", "question_stem")
"""Columns that hold what is asked, in rows of none of the project's own layouts; instruction goes with input."""


def texts_of(row: Mapping[str, Any], where: str, side: Side = "prompts") -> list[str]:
    """Each user turn as a text of its own, or with "all" every turn; a row of plain text is one
    text.

    Raises:
        BactrianError: naming the row where nothing in it can be read so.
    """
    if side == "prompts":
        return asked_of(row, where)
    turns = [turn for name in ("messages", "prompt", "chosen", "rejected") for turn in _turns(row.get(name), where)]
    spoken = [str(turn.get("content", "")) for turn in turns]
    spoken += [str(call.get("arguments", "")) for turn in turns for call in turn.get("tool_calls") or ()]
    other = [value for key, value in row.items() if isinstance(value, str) and key not in ("id", "source", "license")]
    return [*spoken, *other]


def asked_of(row: Mapping[str, Any], where: str) -> list[str]:
    """What a row asks: its user turns, else the text of the first column whose name says so."""
    for name in ("messages", "prompt"):
        if isinstance(row.get(name), list):
            return [str(turn.get("content", "")) for turn in _turns(row[name], where) if turn.get("role") == "user"]
    for name in _PROMPTS:
        if isinstance(row.get(name), str):
            more = row.get("input") if name == "instruction" else None
            return ["\n".join(filter(None, (row[name], more if isinstance(more, str) else None)))]
    raise BactrianError(
        f"{where}: found the columns {', '.join(map(repr, row)) or 'none'}, expected messages, prompt, "
        f"text or one of {', '.join(_PROMPTS)}"
    )


def _turns(value: Any, where: str) -> list[Mapping[str, Any]]:
    turns = value if isinstance(value, list) else []
    if not all(isinstance(turn, Mapping) for turn in turns):
        raise BactrianError(f"{where}: field 'messages': expected a list of messages, found {str(turns)[:60]}")
    return turns
