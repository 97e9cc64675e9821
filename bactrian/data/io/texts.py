"""The texts in a row of any kind: what was asked, what was answered, and how long it is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bactrian.data.io.rows import Row

_SIDES = ("messages", "prompt", "chosen", "rejected")
BYTES_PER_TOKEN = 4.0
"""UTF-8 bytes of an English token, about, where no tokenizer is given."""


def turns(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every message of a row, in order; of a pair those of the prompt, then of both answers."""
    for side in _SIDES:
        yield from row.get(side) or ()


def prompt_text(row: Mapping[str, Any]) -> str:
    """All user turns, one after the other; of plain text the text."""
    return "\n".join([turn["content"] for turn in turns(row) if turn["role"] == "user"]) or str(row.get("text") or "")


def answer_text(row: Mapping[str, Any]) -> str:
    """All assistant turns with what was thought before them (of a pair those of both answers), or the solution."""
    said = [part for turn in turns(row) if turn["role"] == "assistant" for part in _spoken(turn)]
    return "\n".join([*said, *filter(None, [row.get("solution")])])


def trace_text(row: Mapping[str, Any]) -> str:
    """The reasoning of a row: what an assistant thought before answering, or else the whole answer."""
    thought = [turn["reasoning_content"] for turn in turns(row) if turn.get("reasoning_content")]
    return "\n".join(thought) or answer_text(row)


def whole_text(row: Mapping[str, Any]) -> str:
    """Everything in a row that a model could read, system turn and solution included."""
    said = [part for turn in turns(row) for part in _spoken(turn)]
    return "\n".join([*said, *(row[name] for name in ("text", "solution") if row.get(name))])


def map_texts(row: Row, change: Callable[[str], str]) -> Row:
    """The row with every text that `whole_text` reads put through `change`; rows that do not change are not copied."""
    new: Row = {}
    for side in _SIDES:
        if side in row:
            new[side] = [_map_turn(turn, change) for turn in row[side]]
    new |= {name: change(row[name]) for name in ("text", "solution") if row.get(name)}
    return row if all(row[name] == value for name, value in new.items()) else {**row, **new}


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, where no tokenizer says."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return round(size / BYTES_PER_TOKEN)


def _spoken(turn: Mapping[str, Any]) -> list[str]:
    return [turn[field] for field in ("reasoning_content", "content") if turn.get(field)]


def _map_turn(turn: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    spoken = {field: change(turn[field]) for field in ("reasoning_content", "content") if turn.get(field)}
    return {**turn, **spoken}
