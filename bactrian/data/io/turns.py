"""Turns as other people write them → messages: names of roles, parts of content, transcripts; what cannot be mended."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bactrian.chat.messages import out_of_turn
from bactrian.data.io.misfit import TurnMisfit, shown
from bactrian.data.io.tool_turns import Turns
from bactrian.data.io.written_calls import calls_of

ROLES = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "bard", "bing"), "assistant"),
    **dict.fromkeys(("tool", "tools", "function", "function_response", "observation"), "tool"),
    **dict.fromkeys(("ipython", "environment", "tool_response", "tool_result", "function_result"), "tool"),
}
CALLERS = frozenset(("function_call", "functioncall", "tool_call", "tool_calls"))
"""Roles of turns that are nothing but calls: the assistant's."""
_SPEAKER = re.compile(r"(?:(?:\A|\n)[ \t]*|###[ \t]*)(Human|User|Assistant|System)[ \t]*:[ \t]?")
_GLAIVE_SPEAKER = re.compile(r"(?:\A|\n)[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]?")
_GLAIVE_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
NO_ANSWER_LEFT = "a last turn that nobody answers was cut off"
EMPTY_SYSTEM = "an empty system turn was left out"


def messages_of(turns: Any, field: str) -> Turns:
    """Messages from a list of {role, content} or {from, value}, in our names of roles, with what we
    read and no more: of calls and what they give also the ids, for `with_tools`.

    Turns that only call join the assistant's turn before them.

    Raises:
        TurnMisfit: for what is no list of turns, content that is no text, calls that cannot be
            read, and unknown roles.
    """
    if not isinstance(turns, list) or not turns:
        raise TurnMisfit(f"'{field}' is no list of turns", shown(turns))
    made: Turns = []
    for turn in turns:
        message = _message(turn, field)
        if made and made[-1]["role"] == "assistant" and _role_of(turn) in CALLERS:
            made[-1]["tool_calls"] = [*made[-1].get("tool_calls", []), *message["tool_calls"]]
        else:
            made.append(message)
    return made


def spoken(role: str, text: Any, field: str) -> dict[str, Any]:
    """One message from a column that should hold text.

    Raises:
        TurnMisfit: if it does not.
    """
    if not isinstance(text, str):
        raise TurnMisfit(f"'{field}' is no text", f"{shown(text)} ({type(text).__name__})")
    return {"role": role, "content": text}


def from_transcript(text: Any, field: str) -> Turns:
    """Messages of one text such as "Human: …\\n\\nAssistant: …", with or without ###.

    A speaker's name begins a line or follows ###.

    Raises:
        TurnMisfit: for a text that does not begin with one.
    """
    if not isinstance(text, str):
        raise TurnMisfit(f"'{field}' is no text", f"{shown(text)} ({type(text).__name__})")
    before, *rest = _SPEAKER.split(text)
    if not rest or before.strip():
        raise TurnMisfit(f"'{field}' is no transcript", f"it begins {shown(text[:50])}; expected Human: or ### Human:")
    said = zip(rest[::2], rest[1::2], strict=True)
    return [{"role": ROLES[speaker.lower()], "content": words.strip()} for speaker, words in said]


def from_glaive(text: Any, field: str) -> Turns:
    """Messages of one text with USER:, ASSISTANT: and FUNCTION RESPONSE: at the beginning of lines, and end tokens.

    Raises:
        TurnMisfit: for a text that does not begin with one.
    """
    if not isinstance(text, str):
        raise TurnMisfit(f"'{field}' is no text", f"{shown(text)} ({type(text).__name__})")
    before, *rest = _GLAIVE_SPEAKER.split(text)
    if not rest or before.strip():
        raise TurnMisfit(f"'{field}' is no transcript", f"it begins {shown(text[:50])}; expected USER:")
    said = zip(rest[::2], rest[1::2], strict=True)
    return [
        {"role": _GLAIVE_ROLES[speaker], "content": words.replace("<|endoftext|>", "").strip()}
        for speaker, words in said
    ]


def tidy(turns: Turns, answered: bool) -> tuple[Turns, list[str]]:
    """(messages in form, what was mended): an optional system turn, then user and assistant in turn, none empty; calls
    are followed by what they give.

    `answered`: the last turn must be the assistant's; a user's or tool's turn after it is cut off. Otherwise it must be
    a user's or tool's. Mended is only what leaves no doubt; for the rest TurnMisfit is raised: empty turns, roles out
    of turn.
    """
    mended = []
    if turns and turns[0]["role"] == "system" and not turns[0]["content"].strip():
        turns = turns[1:]
        mended.append(EMPTY_SYSTEM)
    if answered and len(kept := _answered(turns)) < len(turns):
        turns = kept
        mended.append(NO_ANSWER_LEFT)
    if all(turn["role"] == "system" for turn in turns):
        raise TurnMisfit("no turn of a user")
    _check_order(turns)
    if answered != (turns[-1]["role"] == "assistant"):
        raise TurnMisfit("no answer of the assistant" if answered else "the last turn is the assistant's")
    for number, turn in enumerate(turns, 1):
        if not turn["content"].strip() and turn["role"] != "tool" and not turn.get("tool_calls"):
            raise TurnMisfit("an empty turn", f"turn {number}, the {turn['role']}'s")
    return turns, mended


def _answered(turns: Turns) -> Turns:
    """The turns without a user's at the end, or without what tools gave there; the first question stays."""
    stop = len(turns)
    while stop > 1 and turns[stop - 1]["role"] == "tool":
        stop -= 1
    asked = stop == len(turns) > 1 and turns[-1]["role"] == "user" and turns[-2]["role"] != "system"
    return turns[: stop - 1] if asked else turns[:stop]


def _check_order(turns: Turns) -> None:
    wrong = out_of_turn(turns)
    if wrong is None:
        return
    place, _ = wrong
    if turns[place]["role"] == "tool":
        raise TurnMisfit("a turn of a tool that nothing called", f"turn {place + 1}")
    if place and turns[place - 1].get("tool_calls"):
        raise TurnMisfit("a call without a tool's turn after it", f"turn {place}")
    raise TurnMisfit("roles out of turn", ", ".join(turn["role"] for turn in turns[:8]))


def refuse_tools(turns: Turns) -> None:
    """
    Raises:
        TurnMisfit: if tools are called, in what is to be a problem.
    """
    if any(turn["role"] == "tool" or turn.get("tool_calls") for turn in turns):
        raise TurnMisfit("turns of tools, where a problem has a question and an answer")


def split_pair(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """(prompt, chosen, rejected) of two whole conversations: what both begin with, up to a user's
    or a tool's turn, is the prompt.

    Raises:
        TurnMisfit: if they begin differently, or are the same.
    """
    if chosen == rejected:
        raise TurnMisfit("chosen and rejected are the same")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and (chosen[shared - 1]["role"] not in ("user", "tool") or _goes_on(chosen, rejected, shared)):
        shared -= 1
    if not shared:
        raise TurnMisfit("chosen and rejected answer different prompts")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _goes_on(chosen: Turns, rejected: Turns, shared: int) -> bool:
    """Whether one side has another tool's turn next, so that its answers are not the assistant's alone."""
    return any(side[shared]["role"] == "tool" for side in (chosen, rejected) if shared < len(side))


def _role_of(turn: Mapping[str, Any]) -> str:
    name = turn.get("role", turn.get("from"))
    return name.strip().lower() if isinstance(name, str) else ""


def _message(turn: Any, field: str) -> dict[str, Any]:
    if not isinstance(turn, dict | Mapping):
        raise TurnMisfit(f"'{field}' is no list of turns", f"one is {shown(turn)}")
    said = turn.get("content", turn.get("value"))
    if _role_of(turn) in CALLERS:
        return {"role": "assistant", "content": "", "tool_calls": calls_of(said)}
    role = ROLES.get(_role_of(turn))
    if role is None:
        raise TurnMisfit("an unknown role", shown(turn.get("role", turn.get("from"))))
    stated = next((turn[name] for name in ("tool_calls", "function_call", "function_calls") if turn.get(name)), None)
    if stated is not None and role != "assistant":
        raise TurnMisfit("a call that is not the assistant's", f"a turn of {shown(role)}")
    if role == "tool":
        return _of_tool(turn, said, field)
    message: dict[str, Any] = {"role": role, "content": "" if said is None and stated else _content(said, field)}
    if role == "assistant":
        message |= _of_assistant(turn)
    return message | ({"tool_calls": calls_of(stated)} if stated else {})


def _of_tool(turn: Mapping[str, Any], said: Any, field: str) -> dict[str, Any]:
    """What a tool gave: text, or a value of JSON as text."""
    try:
        content = "" if said is None else _content(said, field)
    except TurnMisfit:
        if not isinstance(said, list | Mapping | int | float):
            raise
        content = json.dumps(said, ensure_ascii=False, default=str)
    named = {key: turn[key] for key in ("name", "tool_call_id") if isinstance(turn.get(key), str) and turn[key]}
    return {"role": "tool", "content": content, **named}


def _of_assistant(turn: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "weight" in turn:
        if isinstance(turn["weight"], bool) or turn["weight"] not in (0, 1):
            raise TurnMisfit("a weight that is neither 0 nor 1", shown(turn["weight"]))
        found["weight"] = float(turn["weight"])
    if "reasoning_content" in turn:
        found["reasoning_content"] = _content(turn["reasoning_content"], "reasoning_content")
    return found


def _content(content: Any, field: str) -> str:
    """Text, or the texts of a list of parts {type: text, text: …} one after the other."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and content:
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    raise TurnMisfit(f"a turn of '{field}' is no text", f"{shown(content)} ({type(content).__name__})")
