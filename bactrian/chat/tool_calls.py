"""Tool calls: as rows hold them, with JSON as text, and as the chat templates of transformers expect them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from bactrian.errors import BactrianError


class ToolCall(TypedDict):
    """A call of a tool; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


def read_json(text: str) -> Any:
    """What JSON text says.

    Raises:
        ValueError: for what is not JSON or could not be written again: NaN, a key that is there twice, half a surrogate
            pair, numbers and nesting without bounds.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def check_calls(calls: Any, where: str) -> None:
    """
    Raises:
        BactrianError: for anything but a list of {name, arguments}, with arguments that are the JSON text of an object.
    """
    if not isinstance(calls, list) or not calls:
        raise BactrianError(f"{where}: found {_short(calls)}, expected a list of {{name, arguments}}")
    for number, call in enumerate(calls, 1):
        place = f"{where}, call {number}"
        if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            raise BactrianError(f"{place}: found {_short(call)}, expected {{name, arguments}}")
        if not isinstance(call["name"], str) or not call["name"].strip():
            raise BactrianError(f"{place}, 'name': found {_short(call['name'])}, expected the name of a tool")
        _expect_json(call["arguments"], dict, "an object", f"{place}, 'arguments'")
        _expect_json(json.dumps(call["name"]), str, "a text", f"{place}, 'name'")


def check_tools(tools: Any, where: str) -> frozenset[str]:
    """The names of the tools that a `tools` column lists.

    Raises:
        BactrianError: unless it is JSON text of a list of {type: function, function: {name, …}}.
    """
    listed = _expect_json(tools, list, "a list of tools", where)
    if not listed:
        raise BactrianError(f"{where}: found no tool, expected JSON text of a list of tools; leave it out for none")
    for number, tool in enumerate(listed, 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
            raise BactrianError(
                f"{where}, tool {number}: found {_short(tool)}, expected {{type: function, function: {{name, …}}}}"
            )
    return frozenset(tool["function"]["name"] for tool in listed)


def calls_within(messages: Iterable[Mapping[str, Any]]) -> list[ToolCall]:
    """All calls of tools, in order."""
    return [call for message in messages for call in message.get("tool_calls") or ()]


def for_template(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as templates expect them: OpenAI's form, with arguments as objects, and without `weight`.

    Some templates need the ids by which results name their calls. Rows hold none, since the k-th result is that of the
    k-th call: the ids are made here, nine digits, the longest and the shortest that Mistral's templates take.
    """
    written: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    answered = 0
    for number, message in enumerate(messages):
        kept = {key: value for key, value in message.items() if key != "weight"}
        if "tool_calls" in kept:
            calls = [_for_template(call, f"{number:05d}{k:04d}") for k, call in enumerate(kept["tool_calls"])]
            kept["tool_calls"], answered = calls, 0
        elif kept["role"] == "tool" and answered < len(calls):
            call, answered = calls[answered], answered + 1
            kept = {"name": call["function"]["name"], "tool_call_id": call["id"]} | kept
        written.append(kept)
    return written


def written_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls in OpenAI's form as the text that named templates write for them: <tool_call> and the call's JSON.

    Raises:
        ValueError: for what is none.
        KeyError: for what is none.
        TypeError: for what is none.
    """
    written = []
    for call in calls:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        if not isinstance(name, str) or not isinstance(read_json(arguments), dict):
            raise ValueError("a call of a tool without a name or an object of arguments")
        written.append(f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join(written)


def schemas(tools: str | list[Any] | None) -> list[Any] | None:
    """The tools as templates expect them; None for none."""
    return (json.loads(tools) if isinstance(tools, str) else tools) or None


def map_strings(value: Any, change: Callable[[str], str], keys: bool = True) -> Any:
    """A value of JSON with every text in it put through `change`, those that are keys only with `keys`."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key) if keys else key: map_strings(inner, change, keys) for key, inner in value.items()}
    return [map_strings(inner, change, keys) for inner in value] if isinstance(value, list) else value


def _for_template(call: Mapping[str, Any], id: str) -> dict[str, Any]:
    given = call["arguments"]
    arguments = json.loads(given) if isinstance(given, str) else given
    return {"type": "function", "id": id, "function": {"name": call["name"], "arguments": arguments}}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"the key {_short(twice)} is there twice")
    return found


def _expect_json(text: Any, kind: type, expected: str, where: str) -> Any:
    if not isinstance(text, str):
        raise BactrianError(f"{where}: found {_short(text)} ({type(text).__name__}), expected JSON text of {expected}")
    try:
        value = read_json(text)
    except ValueError as error:
        raise BactrianError(f"{where}: found {_short(text)}, expected JSON text of {expected}: {error}") from None
    if not isinstance(value, kind):
        raise BactrianError(f"{where}: found {_short(text)}, expected JSON text of {expected}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
