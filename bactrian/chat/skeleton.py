"""What a template writes around the messages, found by rendering placeholder messages, and checked.

Tool calls and the schemas of tools have no placeholders: how a template writes them may depend on all that is in them.
They are rendered as they are, but for control tokens within them, which are put between marks.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bactrian.chat.encoder import Part
from bactrian.chat.messages import Messages
from bactrian.chat.tool_calls import map_strings
from bactrian.errors import BactrianError


class TurnShape(NamedTuple):
    """All of a message that the text around it may depend on.

    says   it has content; only a tool, and an assistant that calls one, may have none
    calls  (name, arguments) of each call, name: of the tool whose turn it is
    """

    role: str
    reasoning: bool = False
    says: bool = True
    calls: tuple[tuple[str, str], ...] = ()
    name: str | None = None


class TalkShape(NamedTuple):
    """What the text around the messages of a conversation may depend on; `tools` is JSON text, "" for none."""

    turns: tuple[TurnShape, ...]
    tools: str = ""

    @property
    def has_tools(self) -> bool:
        """Whether tools are listed or called."""
        return bool(self.tools) or any(turn.calls for turn in self.turns)


Slot = tuple[int, str]  # message number, field
Write = Callable[[list[dict[str, Any]], bool, list[Any]], str]  # messages, with the generation prompt?, tools → text


@dataclass(frozen=True)
class TemplateSegment:
    """A stretch that is tokenised as one: what lies between two answers, or one answer with its end.

    `parts`: what the template wrote, control tokens within calls and schemas (which are text), and slots for the rest.
    `turn` is the number of the assistant message whose answer it is, None between answers.
    """

    parts: tuple[Part | Slot, ...]
    turn: int | None

    def fill(self, texts: Mapping[Slot, str]) -> list[Part]:
        return [part if isinstance(part, Part) else Part(texts[part], False) for part in self.parts]


def shape_of(messages: Messages, tools: str | None = None) -> TalkShape:
    return TalkShape(tuple(map(_turn_shape, messages)), tools or "")


def _turn_shape(message: Mapping[str, Any]) -> TurnShape:
    calls = tuple((call["name"], call["arguments"]) for call in message.get("tool_calls", ()))
    says = bool(message["content"]) or not (calls or message["role"] == "tool")
    return TurnShape(message["role"], "reasoning_content" in message, says, calls, message.get("name"))


class StandIns:
    """Placeholder messages of a shape, and how what is written of them is told apart from what the template writes."""

    def __init__(self, shape: TalkShape, control: re.Pattern[str], template: str) -> None:
        calls = [call for turn in shape.turns for call in turn.calls]
        tools = json.loads(shape.tools) if shape.tools else []
        given = [tools, *(name for name, _ in calls), *(json.loads(arguments) for _, arguments in calls)]
        known = template + json.dumps(given, ensure_ascii=False)
        self.word, self.mark, self.control = _unused("turn", known, r"\d"), _unused("qzmark", known), control
        self.slots = re.compile(rf"({self.word}\d+(?:content|reasoning))")
        self.messages = [self._message(i, turn) for i, turn in enumerate(shape.turns)]
        self.tools: list[Any] = self.marked(tools)

    def marked(self, value: Any) -> Any:
        """A value with the control tokens in its texts between marks."""
        return map_strings(value, lambda text: self.control.sub(rf"{self.mark}\1{self.mark}", text))

    def segment(self, text: str, turn: int | None) -> TemplateSegment:
        """A stretch of what was written, in parts."""
        parts: list[Part | Slot] = []
        for i, piece in enumerate(self.slots.split(text)):
            if i % 2:
                number = int(re.findall(r"\d+", piece.removeprefix(self.word))[0])
                parts.append((number - 1, "content" if piece.endswith("content") else "reasoning_content"))
                continue
            inner = piece.split(self.mark)
            if len(inner) % 2 == 0:
                raise BactrianError("it takes a control token in a tool call or schema apart")
            parts += [Part(each, k % 2 == 0) for k, each in enumerate(inner) if each]
        return TemplateSegment(tuple(parts), turn)

    def _message(self, i: int, turn: TurnShape) -> dict[str, Any]:
        message: dict[str, Any] = {"role": turn.role, "content": f"{self.word}{i + 1}content" if turn.says else ""}
        if turn.reasoning:
            message["reasoning_content"] = f"{self.word}{i + 1}reasoning"
        if turn.calls:
            message["tool_calls"] = [
                {"name": self.marked(name), "arguments": self.marked(json.loads(arguments))}
                for name, arguments in turn.calls
            ]
        return message if turn.name is None else {**message, "name": self.marked(turn.name)}


def _unused(word: str, text: str, before: str = "") -> str:
    """The word, or one that begins with it, that is not in the text; or not before what the pattern `before` finds."""
    number, found = 0, word
    while re.search(found + before, text):
        number += 1
        found = f"{word}{number}x"
    return found


def build(shape: TalkShape, write: Write, control: re.Pattern[str], template: str) -> list[TemplateSegment]:
    """The segments of conversations of this shape; the generation prompt is last unless an
    assistant's turn is. `template` is the Jinja text.

    Raises:
        BactrianError: when the template does not write each text once and in order, when an
            answer is not written as a continuation of the prompt that the model saw before it,
            does not end in a special token, or changes when turns follow it.
    """
    given = StandIns(shape, control, template)
    messages, tools = given.messages, given.tools
    whole = write(messages, shape.turns[-1].role != "assistant", tools)
    segments: list[TemplateSegment] = []
    start = 0
    for turn, of in enumerate(shape.turns):
        if of.role != "assistant":
            continue
        prompt, answer = write(messages[:turn], True, tools), write(messages[: turn + 1], False, tools)
        expect(prompt, answer, f"turn {turn + 1} (assistant) does not continue the prompt that the model saw before it")
        end = _end(answer, messages[turn], turn, given, len(prompt))
        expect(answer[:end], whole, f"turn {turn + 1} (assistant) is written differently once other turns follow it")
        segments += [given.segment(whole[start : len(prompt)], None), given.segment(whole[len(prompt) : end], turn)]
        start = end
    if shape.turns[-1].role != "assistant":
        segments.append(given.segment(whole[start:], None))
    _all_written(messages, segments)
    return segments


def expect(beginning: str, text: str, complaint: str) -> None:
    """
    Raises:
        BactrianError: unless `text` starts with `beginning`, showing both around the first
            difference.
    """
    if text.startswith(beginning):
        return
    pairs = zip(beginning, text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(beginning), len(text)))
    before = max(at - 40, 0)
    raise BactrianError(
        f"{complaint}. First difference at character {at}:\n"
        f"  expected {beginning[before : at + 40]!r}\n  found    {text[before : at + 40]!r}"
    )


def _end(answer: str, message: Mapping[str, Any], turn: int, given: StandIns, start: int) -> int:
    """Where the answer ends, which begins at `start`: after the first special token behind its text, or the last one
    behind its calls, around which there may be others."""
    content, calls = message["content"], message.get("tool_calls", [])
    if content not in answer:
        raise BactrianError(f"it leaves out the content of turn {turn + 1} (assistant), or changes it")
    after = answer.rindex(content) + len(content) if content else start
    for call in calls:
        after = _behind(call["name"], answer, max(after, start), turn)
    after = max(after, answer.rfind(given.mark) + len(given.mark))
    ends = list(given.control.finditer(answer, after))
    if not ends:
        raise BactrianError(
            f"turn {turn + 1} (assistant) does not end in a special token, so that a model trained on it would never "
            f"stop: after the text the template writes {answer[after:]!r}"
        )
    return ends[-1 if calls else 0].end()


def _behind(name: str, answer: str, start: int, turn: int) -> int:
    """Where the name of a called tool ends, as it is or as JSON has it."""
    for written in (name, json.dumps(name, ensure_ascii=False)[1:-1]):
        if (place := answer.find(written, start)) >= 0:
            return place + len(written)
    raise BactrianError(f"it leaves out a tool call of turn {turn + 1} (assistant), or writes it before the content")


def _all_written(messages: list[dict[str, Any]], segments: list[TemplateSegment]) -> None:
    slots = [part for segment in segments for part in segment.parts if not isinstance(part, Part)]
    wanted = [(i, field) for i, m in enumerate(messages) for field in ("reasoning_content", "content") if m.get(field)]
    if slots == wanted:
        return
    for slot in wanted:
        if (count := slots.count(slot)) != 1:
            times = "leaves out" if count == 0 else f"writes {count} times"
            raise BactrianError(f"it {times} the {slot[1]} of turn {slot[0] + 1} ({messages[slot[0]]['role']})")
    raise BactrianError(f"it changes the order of the messages: {[i + 1 for i, _ in slots]}")
