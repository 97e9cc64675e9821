"""Conversations with tools, in whatever layout → calls in the assistant's turns, what they give in turns of tools."""

import json
import re
from collections.abc import Mapping
from typing import Any

from bactrian.data.io.misfit import TurnMisfit, shown
from bactrian.data.io.written_calls import calls_in, calls_of, is_call, tools_of

Turns = list[dict[str, Any]]

REORDERED = "what tools gave was put in the order of the calls"
NO_TOOLS = "a column 'tools' that lists no tools was left out"
_RESPONSES = re.compile(r"\s*(?:<tool_response>(?:(?!</tool_response>).)*</tool_response>\s*)+", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_PROMPT = re.compile(r"You are a function calling AI model\.|# Tools\s+You may call one or more functions")
"""How Hermes and Qwen lead up to the list of tools in the system turn."""
_GLAIVE = "with access to the following functions. Use them if required -"


def with_tools(turns: Turns, column: Any) -> tuple[Turns, dict[str, str], list[str]]:
    """(turns with the calls that are written in texts, the column `tools` if any are listed, what was mended).

    Texts are read for calls only where a row is about tools: it lists some, in `column` or in a system turn that is
    known, or has turns of tools. What a turn of the assistant calls comes after what it says.

    Raises:
        TurnMisfit: for calls and schemas that cannot be read, a call of a tool that is not listed, what a tool gave
            that nothing called, and text after a call.
    """
    turns, listed = _listed_in_prompt(turns)
    about = any(turn["role"] == "tool" or turn.get("tool_calls") or _is_response(turn) for turn in turns)
    mended = []
    try:
        tools = tools_of(column) if column else []
    except TurnMisfit:
        if about:
            raise
        tools, mended = [], [NO_TOOLS]
    tools = tools or listed
    if not (tools or about):
        return turns, {}, mended
    turns = _read(turns)
    called = [call["name"] for turn in turns for call in turn.get("tool_calls", ())]
    names = {tool["function"]["name"] for tool in tools}
    if tools and (unlisted := next((name for name in called if name not in names), None)):
        raise TurnMisfit("a call of a tool that is not listed", shown(unlisted))
    turns, reordered = _linked(turns)
    return turns, _column(tools), mended + [REORDERED] * reordered


def _column(tools: list[Any]) -> dict[str, str]:
    try:
        return {"tools": json.dumps(tools, ensure_ascii=False, allow_nan=False)} if tools else {}
    except (ValueError, TypeError, RecursionError):
        raise TurnMisfit("tools that JSON cannot hold") from None


def _listed_in_prompt(turns: Turns) -> tuple[Turns, list[Any]]:
    """(turns without the part of the system turn that lists tools, the tools), where it is written in a known way:

    Hermes' and Qwen's, with tags, or Glaive's. Templates list the tools anew.
    """
    system = turns[0]["content"] if turns and turns[0]["role"] == "system" else ""
    start, schemas, stop = _tagged(system) or _after_words(system) or (0, "", 0)
    try:
        listed = tools_of(schemas)
    except TurnMisfit:
        listed = []
    if not listed:
        return turns, []
    rest = "\n\n".join(part for part in (system[:start].rstrip(), system[stop:].strip()) if part)
    return ([{**turns[0], "content": rest}] if rest else []) + turns[1:], listed


def _tagged(system: str) -> tuple[int, str, int] | None:
    """(start, schemas, stop) of a list between <tools>, with what leads up to it and the example of a call after it."""
    stop = system.rfind("</tool_call>")
    end = system.rfind("</tools>", 0, max(stop, 0))
    start = system.rfind("<tools>", 0, max(end, 0))
    if start < 0:
        return None
    begin = _PROMPT.search(system, 0, start)
    return begin.start() if begin else start, system[start + len("<tools>") : end], stop + len("</tool_call>")


def _after_words(system: str) -> tuple[int, str, int] | None:
    """(start, schemas, stop) of Glaive's list: one object after another behind a sentence."""
    place = system.find(_GLAIVE)
    first, last = system.find("{", place), system.rfind("}")
    if place < 0 or not 0 <= first < last:
        return None
    begin = max(system.rfind("\n", 0, place), system.rfind(". ", 0, place) + 1) + 1
    return (begin if begin > 1 else 0), system[first : last + 1], last + 1


def _is_response(turn: Mapping[str, Any]) -> bool:
    said = turn["content"]
    return turn["role"] == "user" and "<tool_response>" in said and _RESPONSES.fullmatch(said) is not None


def _read(turns: Turns) -> Turns:
    """The turns with calls out of texts, and with one turn for each thing that a tool gave."""
    read: Turns = []
    for place, turn in enumerate(turns):
        after = turns[place + 1] if place + 1 < len(turns) else None
        if turn["role"] == "assistant":
            read.append(_caller(turn, after is not None and after["role"] == "tool"))
        elif turn["role"] == "tool" or (_is_response(turn) and read and read[-1].get("tool_calls")):
            wrapped = _RESPONSES.fullmatch(turn["content"])
            given = _RESPONSE.findall(turn["content"]) if wrapped else [turn["content"]]
            read += [{**turn, "role": "tool", "content": each} for each in given]
        else:
            read.append(turn)
    return read


def _caller(turn: dict[str, Any], answered: bool) -> dict[str, Any]:
    """An assistant's turn with what it calls; `answered`: a tool's turn follows, so there must be a call."""
    said, calls = turn["content"], turn.get("tool_calls")
    if not calls:
        said, calls = calls_in(said)
        if not calls and answered and is_call(said):
            said, calls = "", calls_of(said.strip())
    return {**turn, "content": said if said.strip() else "", "tool_calls": calls} if calls else turn


def _linked(turns: Turns) -> tuple[Turns, bool]:
    """(turns without ids, what tools gave in the order of the calls; whether they were in another)."""
    linked: Turns = []
    calls: list[dict[str, Any]] = []
    given: list[tuple[int, dict[str, Any]]] = []
    reordered = False
    for turn in [*turns, {"role": ""}]:
        if turn["role"] == "tool":
            given.append(_result(turn, calls, len(given)))
            continue
        ordered = sorted(given, key=lambda each: each[0])
        reordered |= ordered != given
        linked += [result for _, result in ordered]
        calls, given = turn.get("tool_calls", []), []
        if calls:
            turn = {**turn, "tool_calls": [{key: call[key] for key in ("name", "arguments")} for call in calls]}
        linked += [turn] if turn["role"] else []
    return linked, reordered


def _result(turn: Mapping[str, Any], calls: list[dict[str, Any]], number: int) -> tuple[int, dict[str, Any]]:
    """(the number of the call, what it gave), by the id that a turn names, or else by its place.

    Raises:
        TurnMisfit: for an id or a name that no call has.
    """
    ids, id, name = [call.get("id") for call in calls], turn.get("tool_call_id"), turn.get("name")
    result = {"role": "tool", "content": turn["content"]}
    if id is not None and any(ids):
        if id not in ids:
            raise TurnMisfit("a turn of a tool that nothing called", f"tool_call_id {shown(id)}")
        number = ids.index(id)
        name = calls[number]["name"]
    if name is None or not calls:
        return number, result
    if name not in [call["name"] for call in calls]:
        raise TurnMisfit("a turn of a tool that nothing called", f"name {shown(name)}")
    return number, {**result, "name": name}
