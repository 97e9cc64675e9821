"""`bactrian think`: prints thinking in the terminal as it is sampled, and marks what was forced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, TextIO

from bactrian.chat import Messages, ThinkingFormat
from bactrian.generate.engine import Completion, Continuation, Engine
from bactrian.generate.local import LocalEngine
from bactrian.progress import printable, say
from bactrian.think.forcing import (
    Forcing,
    ThinkingQuestion,
    opened_prompt,
    request,
    think,
    thinking_limits,
)
from bactrian.think.markers import Markers
from bactrian.think.thought import Budget, Thought

Kind = Literal["thinking", "forced", "answer"]
STYLES: dict[Kind, str] = {"thinking": "\x1b[2m", "forced": "\x1b[1;33m", "answer": ""}
PLAIN = "\x1b[0m"
ENDINGS = {"itself": "ended by itself", "turn": "ended with the turn", "budget": "cut by the budget"}


class ThoughtScreen:
    """Writes pieces of a thought. What was forced stands in ⟦ ⟧, and on a terminal each kind has a style of its own.

    Control characters of a model's text are written out, so that it cannot steer the terminal.
    """

    def __init__(self, target: TextIO) -> None:
        self.target, self.styled = target, target.isatty()

    def write(self, kind: Kind, text: str) -> None:
        shown = printable(text)
        if kind == "forced":
            shown = f"⟦{shown}⟧"
        style = STYLES[kind] if self.styled else ""
        self.target.write(f"{style}{shown}{PLAIN}" if style else shown)
        self.target.flush()


class Live:
    """Follows one row: shows what is certain to stay, and holds back what may turn out to be an ending."""

    def __init__(self, forcing: Forcing, screen: ThoughtScreen) -> None:
        self.forcing, self.screen, self.markers = forcing, screen, forcing.markers
        self.start = 0  # of the stretch that is being sampled, in ids
        self.shown = ""

    @property
    def kind(self) -> Kind:
        state = self.forcing.states.get((0, 0))
        return "thinking" if (self.forcing.limits[0] > 0 if state is None else state.thinking) else "answer"

    def follow(self, ids: tuple[int, ...]) -> None:
        """Show what has come to stay of the stretch."""
        text = self.markers.text(ids[self.start :]).rstrip("\ufffd")
        ending = self.markers.form.delimiter if self.kind == "thinking" else self.markers.form.end
        held = next((n for n in range(min(len(ending), len(text)), 0, -1) if text.endswith(ending[:n])), 0)
        self._show(text[: len(text) - held], self.kind)

    def on_finish(self, request: int, sample: int, completion: Completion) -> Continuation | None:
        kind = self.kind
        more = self.forcing.on_finish(request, sample, completion)
        ids = completion.ids
        if more is None:
            self._show(self.markers.answer(ids[self.start :]), kind)
            return None
        kept = len(ids) - more.drop
        stays = self.markers.text(ids[self.start : kept])
        if kind == "thinking" and not more.drop and self.markers.stop:  # its own delimiter is a matter of form
            stays = stays.partition(self.markers.form.delimiter)[0]
        put_back = self.forcing.states[request, sample].put_back if more.drop else ""
        self._show(stays + put_back, kind)
        if more.ids:
            forced = self.markers.template.tokenizer.decode(more.ids, clean_up_tokenization_spaces=False)
            self.screen.write("forced", forced.removeprefix(put_back))
        self.start, self.shown = kept + len(more.ids), ""
        return more

    def _show(self, text: str, kind: Kind) -> None:
        if len(text) > len(self.shown) and text.startswith(self.shown):
            self.screen.write(kind, text[len(self.shown) :])
            self.shown = text


def think_aloud(
    engine: LocalEngine,
    messages: Messages,
    form: ThinkingFormat,
    budget: Budget,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    target: TextIO | None = None,
    note: Callable[[str], None] = say,
) -> Thought:
    """Think about the last user turn and answer it, shown as it comes; then say in a line what was
    counted.

    Raises:
        BactrianError: for messages that are no prompt, or a budget that does not fit the
            model's context.
    """
    markers = Markers(engine.template, form, budget.final)
    question = ThinkingQuestion(opened_prompt(messages, engine.template, form), 1, seed, temperature)
    limits = thinking_limits([question], markers, budget, engine.longest, ["the question"])
    target = target or sys.stdout
    live = Live(Forcing(markers, budget, limits), ThoughtScreen(target))
    before = engine.forwarded
    asked = request(question, limits[0], markers, budget)
    note(f"thinking, {limits[0]} tokens at most" + (f", {budget.waits} endings taken back" if budget.waits else ""))
    for said in engine.follow(asked, live.on_finish):
        if not said.finish:
            live.follow(said.ids)
    target.write("\n")
    target.flush()
    thought = live.forcing.thoughts[0, 0]
    note(account(thought, limits[0], len(asked.prompt), engine.forwarded - before))
    return thought


def think_afar(
    engine: Engine,
    messages: Messages,
    form: ThinkingFormat,
    budget: Budget,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    target: TextIO | None = None,
    note: Callable[[str], None] = say,
) -> Thought:
    """The same with an engine that cannot be followed token by token, such as a server: shown when it is done."""
    markers, target = Markers(engine.template, form, budget.final), target or sys.stdout
    question = ThinkingQuestion(opened_prompt(messages, engine.template, form), 1, seed, temperature)
    limit = thinking_limits([question], markers, budget, engine.longest, ["the question"])[0]
    note(f"thinking, {limit} tokens at most" + (f", {budget.waits} endings taken back" if budget.waits else ""))
    thought = think(engine, [question], form, budget, names=["the question"])[0][0]
    screen, at, ids = ThoughtScreen(target), 0, thought.ids
    for start, stop in [*thought.forced, (len(ids), len(ids))]:
        kind: Kind = "thinking" if start <= thought.thinking_tokens else "answer"
        screen.write(kind, markers.text(ids[at:start]))
        if stop > start:
            forced = engine.template.tokenizer.decode(ids[start:stop], clean_up_tokenization_spaces=False)
            screen.write("forced", forced)
        at = stop
    target.write("\n")
    target.flush()
    note(account(thought, limit, len(question.prompt), None))
    return thought


def account(thought: Thought, limit: int, prompt: int, forwarded: int | None) -> str:
    """What was counted, in a line or two.

    `forwarded`: tokens that went through the model, the prompt's among them; None where it is not known.
    """
    seen = "" if forwarded is None else f"; forwarded {forwarded}, of the prompt {prompt}"
    waits = f"; taken back at {', '.join(map(str, thought.waits))}" if thought.waits else ""
    loop = thought.loop
    turning = (
        f"\nit goes round in circles: {loop.period} tokens {loop.repeats:.1f} times from token {loop.start}"
        if loop
        else ""
    )
    return (
        f"thinking {thought.thinking_tokens} of {limit} tokens, {ENDINGS[thought.ended]}{waits}; "
        f"answer {thought.answer_tokens} tokens, {'cut' if thought.finish == 'length' else 'whole'}; "
        f"sampled {thought.sampled}, forced {thought.forced_tokens}{seen}{turning}"
    )
