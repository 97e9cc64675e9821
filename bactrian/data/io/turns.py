"""Turns as other people write them → messages: names of roles, parts of content, transcripts; what cannot be mended."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Turns = list[dict[str, Any]]

ROLES = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "bard", "bing"), "assistant"),
}
TOOLS = frozenset(
    (
        "tool",
        "tools",
        "function",
        "function_call",
        "function_response",
        "observation",
        "ipython",
        "environment",
        "tool_call",
        "tool_calls",
        "tool_response",
    )
)
_SPEAKER = re.compile(r"(?:(?:\A|\n)[ \t]*|###[ \t]*)(Human|User|Assistant|System)[ \t]*:[ \t]?")
NO_ANSWER_LEFT = "a last turn that nobody answers was cut off"
EMPTY_SYSTEM = "an empty system turn was left out"


class TurnMisfit(Exception):
    """Why a row cannot be used: `reason` groups such rows, `detail` is of this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def messages_of(turns: Any, field: str) -> Turns:
    """Messages from a list of {role, content} or {from, value}, in our names of roles, with what we
    read and no more.

    Raises:
        TurnMisfit: for what is no list of turns, turns of tools, content that is no text, and
            unknown roles.
    """
    if not isinstance(turns, list) or not turns:
        raise TurnMisfit(f"'{field}' is no list of turns", _short(turns))
    return [_message(turn, field) for turn in turns]


def spoken(role: str, text: Any, field: str) -> dict[str, Any]:
    """One message from a column that should hold text.

    Raises:
        TurnMisfit: if it does not.
    """
    if not isinstance(text, str):
        raise TurnMisfit(f"'{field}' is no text", f"{_short(text)} ({type(text).__name__})")
    return {"role": role, "content": text}


def from_transcript(text: Any, field: str) -> Turns:
    """Messages of one text such as "Human: …\\n\\nAssistant: …", with or without ###.

    A speaker's name begins a line or follows ###.

    Raises:
        TurnMisfit: for a text that does not begin with one.
    """
    if not isinstance(text, str):
        raise TurnMisfit(f"'{field}' is no text", f"{_short(text)} ({type(text).__name__})")
    before, *rest = _SPEAKER.split(text)
    if not rest or before.strip():
        raise TurnMisfit(f"'{field}' is no transcript", f"it begins {_short(text[:50])}; expected Human: or ### Human:")
    said = zip(rest[::2], rest[1::2], strict=True)
    return [{"role": ROLES[speaker.lower()], "content": words.strip()} for speaker, words in said]


def tidy(turns: Turns, answered: bool) -> tuple[Turns, list[str]]:
    """(messages in form, what was mended): an optional system turn, then user and assistant in turn, none empty.

    `answered`: the last turn must be the assistant's; a user turn after it is cut off. Otherwise it must be the user's.
    Mended is only what leaves no doubt; for the rest TurnMisfit is raised: empty turns, roles out of turn.
    """
    mended = []
    if turns and turns[0]["role"] == "system" and not turns[0]["content"].strip():
        turns = turns[1:]
        mended.append(EMPTY_SYSTEM)
    if answered and len(turns) > 1 and turns[-1]["role"] == "user":
        turns = turns[:-1]
        mended.append(NO_ANSWER_LEFT)
    roles = [turn["role"] for turn in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk:
        raise TurnMisfit("no turn of a user")
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(talk)):
        raise TurnMisfit("roles out of turn", ", ".join(roles[:8]))
    if answered != (len(talk) % 2 == 0):
        raise TurnMisfit("no answer of the assistant" if answered else "the last turn is the assistant's")
    for number, turn in enumerate(turns, 1):
        if not turn["content"].strip():
            raise TurnMisfit("an empty turn", f"turn {number}, the {turn['role']}'s")
    return turns, mended


def split_pair(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """(prompt, chosen, rejected) of two whole conversations: what both begin with, up to a user's
    turn, is the prompt.

    Raises:
        TurnMisfit: if they begin differently, or are the same.
    """
    if chosen == rejected:
        raise TurnMisfit("chosen and rejected are the same")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and chosen[shared - 1]["role"] != "user":
        shared -= 1
    if not shared:
        raise TurnMisfit("chosen and rejected answer different prompts")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _message(turn: Any, field: str) -> dict[str, Any]:
    if not isinstance(turn, dict | Mapping):
        raise TurnMisfit(f"'{field}' is no list of turns", f"one is {_short(turn)}")
    name = turn.get("role", turn.get("from"))
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None or turn.get("tool_calls"):
        if turn.get("tool_calls") or (isinstance(name, str) and name.strip().lower() in TOOLS):
            raise TurnMisfit("turns of tools", f"a turn of {_short(name)}")
        raise TurnMisfit("an unknown role", _short(name))
    message: dict[str, Any] = {"role": role, "content": _content(turn.get("content", turn.get("value")), field)}
    if role == "assistant":
        message |= _of_assistant(turn)
    return message


def _of_assistant(turn: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "weight" in turn:
        if isinstance(turn["weight"], bool) or turn["weight"] not in (0, 1):
            raise TurnMisfit("a weight that is neither 0 nor 1", _short(turn["weight"]))
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
    raise TurnMisfit(f"a turn of '{field}' is no text", f"{_short(content)} ({type(content).__name__})")


def _short(value: Any) -> str:
    """A value as it is written in Python, cut to 60 characters; of long ones only the beginning is looked at."""
    if isinstance(value, str):
        text = repr(value[:80])
    elif isinstance(value, (list, tuple)):
        text = repr(value[:3])
    else:
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "…"
