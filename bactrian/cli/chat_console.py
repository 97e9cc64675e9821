"""A conversation in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bactrian.chat import FORMATS, TAGS, Message, Parts, ThinkingReader, of_template, prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.progress import printable, say

if TYPE_CHECKING:
    from bactrian.cli.trace_console import TracedAnswers

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def chat(
    folder: Path,
    *,
    temperature: float = 0.7,
    max_new_tokens: int = 512,
    seed: int = 0,
    source: TextIO = sys.stdin,
    target: TextIO = sys.stdout,
    traced: TracedAnswers | None = None,
) -> None:
    """Read a line, stream the answer, and so on until the end of input or /quit. Thinking is set apart, and counted.

    /new forgets the conversation; /system TEXT starts a new one with that system turn. What a model says is printed
    without control characters. With `traced`, its spans that stand in training data are shown; /source N shows where.

    Raises:
        BactrianError: the folder is no model that can be loaded.
    """
    engine = LocalEngine.load(folder)
    reader = ThinkingReader(engine.template)
    say("/new starts over, /system TEXT sets the system turn, /quit ends")
    messages: list[Message] = []
    turn = 0
    while (line := _ask(source)) is not None:
        line = line.strip()
        if not line:
            continue
        if line == "/quit":
            return
        if traced is not None and (line == "/source" or line.startswith("/source ")):
            traced.source(line.removeprefix("/source").strip())
            continue
        if line == "/new" or line.startswith("/system "):
            text = line.removeprefix("/system ").strip()
            messages = [] if line == "/new" else [{"role": "system", "content": text}]
            continue
        messages.append({"role": "user", "content": line})
        try:
            prompt = tuple(prompt_ids(messages, engine.template))
        except BactrianError as error:  # a template that refuses a system turn, most likely: say so and go on
            say(str(error))
            messages.pop()
            continue
        room = engine.longest - len(prompt)
        if room < 1:
            say(f"the conversation fills the model's context of {engine.longest} tokens; /new starts over")
            messages.pop()
            continue
        request = Request(prompt, seed=seed + turn, temperature=temperature, max_new_tokens=min(max_new_tokens, room))
        opened = reader.opened(engine.template.write(messages, True))
        parts = _print_stream(engine, request, reader, opened, target)
        turn += 1
        if parts.text.strip():
            messages.append(_turn(reader, parts))
            if traced is not None:
                traced.show(str(messages[-1]["content"]))
        else:
            say("(the model said nothing)")
            messages.pop()


def _turn(reader: ThinkingReader, parts: Parts) -> Message:
    """What the model said as a turn; thinking is counted, and kept apart where the template writes it apart."""
    thinking, answer = _told_apart(reader, parts)
    if not thinking:
        return {"role": "assistant", "content": parts.text}
    say(f"(thinking {parts.thinking_tokens} tokens, answer {parts.answer_tokens})")
    if of_template(reader.template) is None or not answer:
        return {"role": "assistant", "content": parts.text}
    return {"role": "assistant", "content": answer, "reasoning_content": thinking}


def _told_apart(reader: ThinkingReader, parts: Parts) -> tuple[str, str | None]:
    """Thinking and answer, so far, without what stands around them; None for an answer that has not begun."""
    if not parts.answer_at:
        return "", parts.text
    form = reader.form if reader.form.delimiter == TAGS[1] else FORMATS["tags"]
    thinking, answer = form.split(parts.text)
    return thinking, answer if parts.answer_tokens else None


class ChatScreen:
    """Writes what a model says as it comes. Thinking stands between two lines, and is dim on a terminal.

    Control characters are written out, so that a model cannot steer the terminal.
    """

    def __init__(self, target: TextIO) -> None:
        self.target, self.dim, self.plain = target, *((DIM, PLAIN) if target.isatty() else ("", ""))
        self.thinking = False
        self.shown = ""

    def write(self, text: str, thinking: bool) -> None:
        """Show what `text`, all of the thinking or all of the answer so far, says more than before."""
        if thinking != self.thinking:
            self.target.write(f"┌ thinking\n{self.dim}" if thinking else f"{self.plain}\n└\n")
            self.thinking, self.shown = thinking, ""
        if text.startswith(self.shown):
            self.target.write(printable(text[len(self.shown) :]))
            self.target.flush()
            self.shown = text

    def end(self) -> None:
        self.target.write(f"{self.plain}\n└\n" if self.thinking else "\n")
        self.target.flush()


def _held(text: str, mark: str) -> str:
    """The text without an end of it that may turn out to be the beginning of the mark."""
    return next((text[:-size] for size in range(min(len(mark), len(text)), 0, -1) if text.endswith(mark[:size])), text)


def _ask(source: TextIO) -> str | None:
    """One line of the person's; None at the end of input."""
    if source.isatty():
        print("› ", end="", file=sys.stderr, flush=True)
    line = source.readline()
    return line if line else None


def _print_stream(engine: LocalEngine, request: Request, reader: ThinkingReader, opened: bool, target: TextIO) -> Parts:
    """Print what is said as it comes; Ctrl-C cuts it off. Returns what was said."""
    parts, screen, start = Parts("", 0, 0, 0), ChatScreen(target), 0
    try:
        for said in engine.follow(request):
            parts = reader.parts(said.ids, engine.text(said.ids), opened)
            ended = bool(parts.answer_tokens) or said.finish
            if parts.answer_at and not start:
                thinking, _ = _told_apart(reader, parts)
                screen.write(thinking if ended else _held(_held(thinking, reader.form.delimiter), TAGS[1]), True)
            if parts.answer_at and parts.answer_tokens:
                start = start or parts.answer_at  # what is shown as answer stays, even if it ends thinking once more
            if start or not parts.answer_at:
                screen.write(_shown(parts.text[start:], reader, bool(start), said.finish), False)
    except KeyboardInterrupt:
        say(" (cut off)")
    screen.end()
    return parts


def _shown(answer: str, reader: ThinkingReader, thought: bool, whole: bool) -> str:
    """Of an answer so far what is certain to stay: no broken character, no beginning of a tag."""
    stable = answer if whole else answer.rstrip("\ufffd")
    form = reader.form
    if not thought:
        begun = stable.strip()
        return "" if begun and not whole and form.opening.strip().startswith(begun) else stable
    header = form.header.strip()
    stable = stable.lstrip()
    if not whole and header.startswith(stable):
        return ""
    stable = stable.removeprefix(header).lstrip()
    return stable.rstrip().removesuffix(form.end) if whole else _held(stable, form.end)
