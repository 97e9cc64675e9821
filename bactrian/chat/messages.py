"""What a conversation is: an optional system turn, then user and assistant in turn, with tools called between."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

from bactrian.chat.tool_calls import ToolCall, check_calls
from bactrian.errors import BactrianError

ROLES = ("system", "user", "assistant", "tool")


class Message(TypedDict):
    """One turn.

    `weight` 0 keeps an assistant turn from being trained. `reasoning_content` is what an assistant thought before
    `content`, for templates that write the two apart (`think`, `s1`). `tool_calls` are what an assistant calls after
    saying `content`, which may then be empty; what each gives is a turn of role `tool`, in the order of the calls.
    `name` is the tool's, of such a turn only.
    """

    role: str
    content: str
    weight: NotRequired[float]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    name: NotRequired[str]


Messages = Sequence[Mapping[str, Any]]  # what callers may pass: each a Message, which check_messages sees to
KEYS = tuple(Message.__annotations__)
_KEYS = frozenset(KEYS)


def check_messages(messages: Any, where: str = "conversation") -> list[Message]:
    """The messages with None-valued keys dropped, or a BactrianError that names `where`, the message and what is wrong.

    Refused: anything but an optional system turn followed by user, assistant, user, …, where an assistant that calls
    tools hears from them before it goes on; content that is not text; an assistant turn with nothing but white space
    and no call; a key or weight that nothing reads.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise BactrianError(f"{where}: expected a list of messages, found {_short(messages)}")
    checked = [_message(message, f"{where}, message {i}") for i, message in enumerate(messages, 1)]
    if wrong := out_of_turn(checked):
        place, expected = wrong
        roles = [message["role"] for message in checked]
        raise BactrianError(
            f"{where}, message {place + 1}: found a turn of '{roles[place]}', expected {expected}: after an optional "
            "system turn, user and assistant take turns, and an assistant's tool_calls are followed by turns of "
            f"'tool', at most one for each call (this conversation: {', '.join(roles[:12])})"
        )
    if checked[-1]["role"] == "system":
        raise BactrianError(f"{where}: only a system turn; expected a user turn after it")
    _check_names(checked, where)
    return checked


def out_of_turn(messages: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """The first message whose role is not one that may follow, and which may, as words; None if all are in turn."""
    expected: tuple[str, ...] = ("user",)
    open_calls = 0
    for place, message in enumerate(messages):
        role = message["role"]
        if role not in expected and (place or role != "system"):
            return place, " or ".join(f"'{each}'" for each in expected)
        if role in ("system", "user"):
            expected = ("user",) if role == "system" else ("assistant",)
            continue
        open_calls = open_calls - 1 if role == "tool" else len(message.get("tool_calls", ()))
        after = "assistant" if role == "tool" else "user"
        expected = (after,) if not open_calls else ("tool",) if role == "assistant" else ("tool", after)
    return None


def _check_names(messages: Sequence[Message], where: str) -> None:
    """
    Raises:
        BactrianError: for a tool's turn under the name of a tool that was not called before it.
    """
    names: list[str] = []
    for number, message in enumerate(messages, 1):
        names = [call["name"] for call in message["tool_calls"]] if "tool_calls" in message else names
        if "name" in message and message["name"] not in names:
            raise BactrianError(
                f"{where}, message {number}: field 'name': found {_short(message['name'])}, expected a tool that was "
                f"called before it ({', '.join(names)})"
            )


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise BactrianError(f"{where}: expected {{role, content}}, found {_short(message)}")
    message = {key: value for key, value in message.items() if value is not None}
    if "tool_calls" in message:
        message.setdefault("content", "")
    role = message.get("role")
    if role not in ROLES:
        raise BactrianError(f"{where}: field 'role': found {_short(role)}, expected one of {', '.join(ROLES)}")
    content = message.get("content")
    if not isinstance(content, str):
        found = _short(content) if "content" in message else "nothing"
        raise BactrianError(f"{where}: field 'content' of the {role} turn: found {found}, expected text")
    if not message.keys() <= _KEYS:
        unknown = sorted(str(key) for key in message if key not in KEYS)
        raise BactrianError(f"{where}: unknown field '{unknown[0]}'; a message has {', '.join(KEYS)}")
    _encodable(content, f"{where}: field 'content'")
    if role == "assistant":
        _assistant(message, where)
    elif message.keys() & {"reasoning_content", "tool_calls"} or message.get("weight", 0) != 0:
        raise BactrianError(
            f"{where}: a {role} turn is not trained, has no reasoning and calls no tools; expected role and content "
            "only"
        )
    if "name" in message and (role != "tool" or not isinstance(message["name"], str)):
        raise BactrianError(
            f"{where}: field 'name' of the {role} turn: found {_short(message['name'])}; only a tool turn has one, the "
            "name of its tool"
        )
    return cast(Message, message)


def _assistant(message: dict[str, Any], where: str) -> None:
    if "tool_calls" in message:
        check_calls(message["tool_calls"], f"{where}: field 'tool_calls'")
    elif not message["content"].strip():
        raise BactrianError(f"{where}: empty assistant turn (content is {message['content'][:20]!r})")
    if message.get("weight", 1) not in (0, 1):
        raise BactrianError(f"{where}: field 'weight': found {_short(message['weight'])}, expected 0 or 1")
    reasoning = message.get("reasoning_content", "")
    if not isinstance(reasoning, str):
        raise BactrianError(f"{where}: field 'reasoning_content': found {_short(reasoning)}, expected text")
    _encodable(reasoning, f"{where}: field 'reasoning_content'")


def _encodable(text: str, where: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"character {error.start} is {text[error.start]!r}"
        raise BactrianError(f"{where}: {found}, half of a surrogate pair and not text") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
