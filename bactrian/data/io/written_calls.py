"""Tool calls and schemas as others write them → ours: OpenAI's, Hermes', Qwen's, Glaive's, Llama's; JSON or nearly."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bactrian.chat.tool_calls import read_json
from bactrian.data.io.misfit import TurnMisfit, shown

Call = dict[str, Any]
"""{name, arguments} with arguments as JSON text, and `id` where the file has one."""

NO_JSON = "a call that is not JSON"
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_MARKER = re.compile(r"<functioncall>|<\|python_tag\|>|\[TOOL_CALLS\]")
_ENDS = ("<|eom_id|>", "<|eot_id|>", "<|im_end|>", "<|endoftext|>", "</functioncall>")
_BUILT_IN = re.compile(r"\s*(\w+)\.call\((.*)\)\s*", re.DOTALL)
_KEYWORD = re.compile(r'\s*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|-?\d[\w.+-]*|true|false|null)\s*(?:,|\Z)')
_PYTHON = re.compile(r"\\.|'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|\b(True|False|None)\b", re.DOTALL)
LENIENT = 200_000
"""Characters of a text up to which it is read as what is nearly JSON."""
_WORDS = {"True": "true", "False": "false", "None": "null"}
_GAP = re.compile(r"[\s,;]*")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|.)", re.DOTALL)


def calls_of(value: Any) -> list[Call]:
    """The calls that a value of JSON states: {name, arguments}, {function: {…}}, a list of them, or text of such.

    Raises:
        TurnMisfit: for anything else.
    """
    if isinstance(value, str):
        value = values_in(value, NO_JSON)
    given = value if isinstance(value, list) else [value]
    if not given:
        raise TurnMisfit("a call of no tool")
    return [_call(each) for each in given]


def calls_in(text: str) -> tuple[str, list[Call]]:
    """(what is said before them, the calls) of an assistant's text that has any; (the text, none) of others.

    Raises:
        TurnMisfit: for a call that is not JSON, and for text after a call.
    """
    said, *blocks = text.split("<tool_call>")
    if blocks:
        calls = []
        for block in blocks:
            inner, closed, after = block.partition("</tool_call>")
            if not closed:
                raise TurnMisfit(NO_JSON, f"no </tool_call> in {shown(block)}")
            if more := _end_off(after).strip():
                raise TurnMisfit("text after a tool call", shown(more))
            calls += calls_of(inner)
        return said.rstrip(), calls
    before, marker, after = _at_marker(text)
    if not marker:
        return text, []
    return before.rstrip(), _built_in(_end_off(after)) or calls_of(_end_off(after))


def is_call(text: str) -> bool:
    """Whether a text is nothing but JSON that states a call, as Llama 3 writes it without a mark."""
    try:
        return bool(text.lstrip()[:1] in ("{", "[") and calls_of(_end_off(text)))
    except TurnMisfit:
        return False


def tools_of(value: Any) -> list[Any]:
    """The tools that a column or system turn lists, each as {type: function, function: {name, …}}; none for nothing.

    Raises:
        TurnMisfit: for what lists none.
    """
    reason = "'tools' is no list of tools"
    if isinstance(value, str):
        value = values_in(value, reason) if value.strip() else []
    given = value if isinstance(value, list) else [value]
    listed = [tool for each in given for tool in (values_in(each, reason) if isinstance(each, str) else [each])]
    return [_tool(tool, reason) for tool in listed]


def values_in(text: str, reason: str) -> list[Any]:
    """The values that stand in a text one after the other, lists taken apart: JSON, or Python's way of writing it.

    Glaive puts the JSON of arguments between single quotes; Hermes writes some calls as Python does.

    Raises:
        TurnMisfit: with this reason for any other text.
    """
    for written in _ways(text):
        try:
            found = list(_values(written))
        except (ValueError, RecursionError):
            continue
        if found:
            return [each for value in found for each in (value if isinstance(value, list) else [value])]
        if written.strip() == "[]":
            return []
    raise TurnMisfit(reason, shown(text.strip()))


def _ways(text: str) -> Iterator[str]:
    yield text
    if len(text) > LENIENT:
        return
    before, field, after = text.partition('"arguments":')
    start, stop = after.find("'"), after.rfind("'")
    if field and start < stop and not after[:start].strip() and after[stop + 1 :].strip() == "}":
        yield before + field + after[start + 1 : stop].replace("\\'", "'") + "}"
    yield _PYTHON.sub(_as_json, text)


def _as_json(match: re.Match[str]) -> str:
    """A text or word of Python's as JSON has it; nothing is evaluated."""
    single, double, word = match.groups()
    if word:
        return _WORDS[word]
    if single is None and double is None:  # escaped outside of any text: no beginning of one, and no JSON
        return match[0]
    inner = _ESCAPE.sub(_escape, single if single is not None else double)
    return '"' + re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inner) + '"'


def _escape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x" and len(code) == 3:
        return f"\\u00{code[1:]}"
    if code[0] == "U" and len(code) == 9:
        return json.dumps(chr(int(code[1:], 16)))[1:-1]
    return "'" if code == "'" else match[0]


def _values(text: str) -> Iterator[Any]:
    """Values of JSON with nothing but white space, commas and semicolons between them."""
    decoder, place = json.JSONDecoder(), _behind_gap(text, 0)
    while place < len(text):
        _, end = decoder.raw_decode(text, place)
        yield read_json(text[place:end])
        place = _behind_gap(text, end)


def _behind_gap(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return gap.end() if gap else place


def _call(value: Any) -> Call:
    inner = value.get("function") if isinstance(value, Mapping) else None
    stated = inner if isinstance(inner, Mapping) else value
    if not isinstance(stated, Mapping) or not isinstance(stated.get("name"), str) or not stated["name"].strip():
        raise TurnMisfit("a call that names no tool", shown(value))
    field = next((name for name in _ARGUMENTS if name in stated), "arguments")
    call = {"name": stated["name"], "arguments": _arguments(stated.get(field))}
    id = value.get("id")
    return {**call, "id": id} if isinstance(id, str) and id else call


def _arguments(value: Any) -> str:
    """The JSON text of an object; nothing at all, as some write for a tool without arguments, is {}."""
    reason = "arguments that are not JSON"
    if isinstance(value, str):
        value = values_in(value, reason) if value.strip() else [{}]
        value = value[0] if len(value) == 1 else value
    if not isinstance(value, Mapping | None):
        raise TurnMisfit("arguments that are no object", shown(value))
    try:
        text = json.dumps(value or {}, ensure_ascii=False, allow_nan=False)
        read_json(text)
    except (ValueError, TypeError, RecursionError):
        raise TurnMisfit(reason, shown(value)) from None
    return text


def _tool(value: Any, reason: str) -> dict[str, Any]:
    inner = value.get("function") if isinstance(value, Mapping) else None
    function = inner if isinstance(inner, Mapping) else value
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise TurnMisfit(reason, shown(value))
    return {**value, "type": "function"} if function is inner else {"type": "function", "function": dict(function)}


def _at_marker(text: str) -> tuple[str, str, str]:
    match = _MARKER.search(text)
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


def _end_off(text: str) -> str:
    """The text without the end tokens that some files write after it."""
    text = text.rstrip()
    while end := next((end for end in _ENDS if text.endswith(end)), ""):
        text = text.removesuffix(end).rstrip()
    return text


def _built_in(text: str) -> list[Call]:
    """Llama's call of a tool that it knows: brave_search.call(query="…"); none for other text."""
    match = _BUILT_IN.fullmatch(text)
    if not match:
        return []
    given = _KEYWORD.findall(match[2])
    if _KEYWORD.sub("", match[2]).strip():
        raise TurnMisfit(NO_JSON, shown(text))
    try:
        arguments = {name: json.loads(value) for name, value in given}
    except ValueError:
        raise TurnMisfit(NO_JSON, shown(text)) from None
    return [{"name": match[1], "arguments": json.dumps(arguments, ensure_ascii=False)}]
