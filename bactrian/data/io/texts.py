"""The texts in a row of any kind: what was asked, what was answered, and how long it is."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bactrian.chat.tool_calls import calls_within, map_strings
from bactrian.data.io.rows import Row

SIDES = ("messages", "prompt", "chosen", "rejected")
"""Columns of messages."""
TEXTS = ("text", "solution", "prefix", "chosen_text", "rejected_text")
"""Columns of plain text that are learnt from."""
BYTES_PER_TOKEN = 4.0
"""UTF-8 bytes of an English token, about, where no tokenizer is given."""


def turns(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every message of a row, in order; of a pair those of the prompt, then of both answers."""
    for side in SIDES:
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
    """Everything that is said in a row: system turn, calls of tools, what they give, and solution included.

    What tools are listed is not: many rows list the same, and are not alike for that.
    """
    said = [part for turn in turns(row) for part in _spoken(turn)]
    return "\n".join([*said, *(row[name] for name in TEXTS if row.get(name))])


def map_texts(row: Row, change: Callable[[str], str]) -> Row:
    """The row with every text that `whole_text` reads put through `change`; rows that do not change are not copied.

    Of a call these are the texts among its arguments, so that they stay JSON.
    """
    new: Row = {}
    for side in SIDES:
        if side in row:
            new[side] = [_map_turn(turn, change) for turn in row[side]]
    new |= {name: change(row[name]) for name in TEXTS if row.get(name)}
    return row if all(row[name] == value for name, value in new.items()) else {**row, **new}


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, where no tokenizer says."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return round(size / BYTES_PER_TOKEN)


def token_text(row: Mapping[str, Any]) -> str:
    """All that becomes tokens: what is said, and the tools that are listed."""
    return "\n".join(filter(None, [whole_text(row), row.get("tools")]))


def _spoken(turn: Mapping[str, Any]) -> list[str]:
    return [*filter(None, [turn.get("reasoning_content"), turn.get("content")]), *map(call_text, calls_within([turn]))]


def call_text(call: Mapping[str, Any]) -> str:
    """A tool's name and the JSON of what it is called with."""
    return f"{call['name']} {call['arguments']}"


def _map_turn(turn: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    spoken: dict[str, Any] = {
        field: change(turn[field]) for field in ("reasoning_content", "content") if turn.get(field)
    }
    if turn.get("tool_calls"):
        calls = turn["tool_calls"]
        spoken["tool_calls"] = [{**call, "arguments": _map_json(call["arguments"], change)} for call in calls]
    return {**turn, **spoken}


def _map_json(text: str, change: Callable[[str], str]) -> str:
    """JSON text with the texts that are its values put through `change`."""
    value = json.loads(text)
    mapped = map_strings(value, change, keys=False)
    return text if mapped == value else json.dumps(mapped, ensure_ascii=False)
