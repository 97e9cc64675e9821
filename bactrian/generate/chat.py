"""A conversation in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from bactrian.chat import FORMATS, Message, of_template, prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.progress import printable, say


def chat(
    folder: Path,
    *,
    temperature: float = 0.7,
    max_new_tokens: int = 512,
    seed: int = 0,
    source: TextIO = sys.stdin,
    target: TextIO = sys.stdout,
) -> None:
    """Read a line, stream the answer, and so on until the end of input or /quit.

    /new forgets the conversation; /system TEXT starts a new one with that system turn. What a model says is printed
    without control characters.

    Raises:
        BactrianError: the folder is no model that can be loaded.
    """
    engine = LocalEngine.load(folder)
    say("/new starts over, /system TEXT sets the system turn, /quit ends")
    messages: list[Message] = []
    turn = 0
    while (line := _ask(source)) is not None:
        line = line.strip()
        if not line:
            continue
        if line == "/quit":
            return
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
        answer = _print_stream(engine, request, target)
        turn += 1
        if answer.strip():
            messages.append(_turn(engine, answer))
        else:
            say("(the model said nothing)")
            messages.pop()


def _turn(engine: LocalEngine, said: str) -> Message:
    """What the model said as a turn; thinking is counted, and kept apart where the template writes it apart."""
    own = of_template(engine.template)
    thinking, answer = (own or FORMATS["tags"]).split(said)
    if not thinking:
        return {"role": "assistant", "content": said}
    tokens = [len(engine.template.encoder.text(text)) for text in (thinking, answer or "")]
    say(f"(thinking {tokens[0]} tokens, answer {tokens[1]})")
    if own is None or not answer:
        return {"role": "assistant", "content": said}
    return {"role": "assistant", "content": answer, "reasoning_content": thinking}


def _ask(source: TextIO) -> str | None:
    """One line of the person's; None at the end of input."""
    if source.isatty():
        print("› ", end="", file=sys.stderr, flush=True)
    line = source.readline()
    return line if line else None


def _print_stream(engine: LocalEngine, request: Request, target: TextIO) -> str:
    """Print an answer as it comes; Ctrl-C cuts it off. Returns what was said."""
    said: list[str] = []
    try:
        for piece in engine.stream(request):
            said.append(piece)
            target.write(printable(piece))
            target.flush()
    except KeyboardInterrupt:
        say(" (cut off)")
    target.write("\n")
    target.flush()
    return "".join(said)
