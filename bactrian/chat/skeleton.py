"""What a template writes around the messages, found by rendering placeholder messages, and checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bactrian.chat.encoder import Part
from bactrian.chat.messages import Message, Messages
from bactrian.errors import BactrianError

# (role, has reasoning_content) of each message: all that the text around the messages may depend on.
Shape = tuple[tuple[str, bool], ...]
Slot = tuple[int, str]  # message number, field
Write = Callable[[Messages, bool], str]  # messages, with the generation prompt? → text


@dataclass(frozen=True)
class TemplateSegment:
    """A stretch that is tokenised as one: what lies between two answers, or one answer with its end.

    `turn` is the number of the assistant message whose answer it is, None between answers.
    """

    parts: tuple[str | Slot, ...]
    turn: int | None

    def fill(self, texts: Mapping[Slot, str]) -> list[Part]:
        return [Part(p, True) if isinstance(p, str) else Part(texts[p], False) for p in self.parts]


def shape_of(messages: Messages) -> Shape:
    return tuple((m["role"], "reasoning_content" in m) for m in messages)


def build(shape: Shape, write: Write, control: re.Pattern[str]) -> list[TemplateSegment]:
    """The segments of conversations of this shape; the generation prompt is last unless an
    assistant's turn is.

    Raises:
        BactrianError: when the template does not write each text once and in order, when an
            answer is not written as a continuation of the prompt that the model saw before it,
            does not end in a special token, or changes when turns follow it.
    """
    messages = [_stand_in(i, role, reasoning) for i, (role, reasoning) in enumerate(shape)]
    whole = write(messages, shape[-1][0] != "assistant")
    segments: list[TemplateSegment] = []
    start = 0
    for turn, (role, _) in enumerate(shape):
        if role != "assistant":
            continue
        prompt, answer = write(messages[:turn], True), write(messages[: turn + 1], False)
        expect(prompt, answer, f"turn {turn + 1} (assistant) does not continue the prompt that the model saw before it")
        end = _end(answer, messages[turn]["content"], turn, control)
        expect(answer[:end], whole, f"turn {turn + 1} (assistant) is written differently once other turns follow it")
        segments += [_segment(whole[start : len(prompt)], None), _segment(whole[len(prompt) : end], turn)]
        start = end
    if shape[-1][0] != "assistant":
        segments.append(_segment(whole[start:], None))
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


def _stand_in(i: int, role: str, reasoning: bool) -> Message:
    message: Message = {"role": role, "content": f"turn{i + 1}content"}
    if reasoning:
        message["reasoning_content"] = f"turn{i + 1}reasoning"
    return message


_STAND_IN = re.compile(r"(turn\d+(?:content|reasoning))")


def _segment(text: str, turn: int | None) -> TemplateSegment:
    parts: list[str | Slot] = []
    for i, piece in enumerate(_STAND_IN.split(text)):
        if i % 2:
            number = int("".join(filter(str.isdigit, piece)))
            parts.append((number - 1, "content" if piece.endswith("content") else "reasoning_content"))
        elif piece:
            parts.append(piece)
    return TemplateSegment(tuple(parts), turn)


def _end(answer: str, content: str, turn: int, control: re.Pattern[str]) -> int:
    """Where the answer ends: after the first special token behind its text."""
    if content not in answer:
        raise BactrianError(f"it leaves out the content of turn {turn + 1} (assistant), or changes it")
    after = answer.rindex(content) + len(content)
    end = control.search(answer, after)
    if end is None:
        raise BactrianError(
            f"turn {turn + 1} (assistant) does not end in a special token, so that a model trained on it would never "
            f"stop: after the text the template writes {answer[after:]!r}"
        )
    return end.end()


def _all_written(messages: Messages, segments: list[TemplateSegment]) -> None:
    slots = [part for segment in segments for part in segment.parts if not isinstance(part, str)]
    wanted = [(i, field) for i, m in enumerate(messages) for field in ("reasoning_content", "content") if field in m]
    if slots == wanted:
        return
    for slot in wanted:
        if (count := slots.count(slot)) != 1:
            times = "leaves out" if count == 0 else f"writes {count} times"
            raise BactrianError(f"it {times} the {slot[1]} of turn {slot[0] + 1} ({messages[slot[0]]['role']})")
    raise BactrianError(f"it changes the order of the messages: {[i + 1 for i, _ in slots]}")
