"""What a conversation is: an optional system turn, then user and assistant in turn."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

from bactrian.errors import BactrianError

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn.

    `weight` 0 keeps an assistant turn from being trained. `reasoning_content` is what an assistant thought before
    `content`, for templates that write the two apart (`think`, `s1`).
    """

    role: str
    content: str
    weight: NotRequired[float]
    reasoning_content: NotRequired[str]


Messages = Sequence[Mapping[str, Any]]  # what callers may pass: each a Message, which check_messages sees to
KEYS = tuple(Message.__annotations__)
_KEYS = frozenset(KEYS)


def check_messages(messages: Any, where: str = "conversation") -> list[Message]:
    """The messages with None-valued keys dropped, or a BactrianError that names `where`, the message and what is wrong.

    Refused: anything but an optional system turn followed by user, assistant, user, …; content that is not text; an
    assistant turn with nothing but white space; a key or weight that nothing reads.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise BactrianError(f"{where}: expected a list of messages, found {_short(messages)}")
    checked = [_message(message, f"{where}, message {i}") for i, message in enumerate(messages, 1)]
    roles = [message["role"] for message in checked]
    first_user = int(roles[0] == "system")
    for i, role in enumerate(roles[first_user:]):
        expected = ("user", "assistant")[i % 2]
        if role != expected:
            place = f"{where}, message {first_user + i + 1}"
            raise BactrianError(
                f"{place}: found a turn of '{role}', expected '{expected}': after an optional system turn, user and "
                f"assistant take turns (this conversation: {', '.join(roles[:12])})"
            )
    if first_user == len(roles):
        raise BactrianError(f"{where}: only a system turn; expected a user turn after it")
    return checked


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise BactrianError(f"{where}: expected {{role, content}}, found {_short(message)}")
    message = {key: value for key, value in message.items() if value is not None}
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
    elif "reasoning_content" in message or message.get("weight", 0) != 0:
        raise BactrianError(
            f"{where}: a {role} turn is not trained and has no reasoning; expected role and content only"
        )
    return cast(Message, message)


def _assistant(message: dict[str, Any], where: str) -> None:
    if not message["content"].strip():
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
