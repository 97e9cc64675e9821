"""Questions as tokens: exemplars as turns of a chat, in one message, or as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bactrian.chat import ChatTemplate, prompt_ids
from bactrian.chat.plain_text import Ids, PlainText
from bactrian.errors import BactrianError
from bactrian.evaluate.task import Format, Loaded, Preamble, Question, Shot, Task

BETWEEN = "\n\n"
"""Between exemplars."""


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt as ids and as a text."""

    ids: Ids
    text: str
    dropped: int = 0  # exemplars left out so that it fits


@dataclass(frozen=True)
class Writer:
    """Writes the questions of one task for one model, in one format."""

    loaded: Loaded
    template: ChatTemplate
    format: Format
    longest: int  # tokens of the model's context

    @cached_property
    def plain(self) -> PlainText:
        return PlainText(self.template.tokenizer)

    @property
    def task(self) -> Task:
        return self.loaded.task

    def text(self, question: Question, preamble: Preamble) -> str:
        """The whole prompt as one text."""
        return self.loaded.system + plain_text(self.task, question, preamble)

    def messages(self, question: Question, preamble: Preamble) -> list[dict[str, str]]:
        """The prompt as a chat, behind the system turn that all questions get, if they do."""
        system = [{"role": "system", "content": self.loaded.system}] if self.loaded.system else []
        return [*system, *self._turns(question, preamble)]

    def _turns(self, question: Question, preamble: Preamble) -> list[dict[str, str]]:
        """A description stands before the first question; a cue is not needed."""
        if question.messages:
            return [dict(turn) for turn in question.messages]
        turns: list[dict[str, str]] = []
        if self.format == "single":
            text = plain_text(self.task, question, preamble)
            return [{"role": "user", "content": self._bare(text) + self.task.ask}]
        for shot in preamble.shots:
            turns.append({"role": "user", "content": self._bare(shot.question) + self.task.ask})
            turns.append({"role": "assistant", "content": shot.answer.strip()})
        turns.append({"role": "user", "content": self._bare(question.prompt + self.task.cue) + self.task.ask})
        turns[0]["content"] = preamble.description + turns[0]["content"]
        return turns

    def _bare(self, text: str) -> str:
        return text if self.task.keep_cue else text.removesuffix(self.task.cue)

    def ask(self, question: Question, room: int) -> AskedPrompt:
        """The prompt, with `room` tokens left for what follows: exemplars are dropped, the first
        first, until it fits.

        Raises:
            BactrianError: where the question alone is too long.
        """
        whole = self.loaded.preamble(question)
        for dropped in range(len(whole.shots) + 1):
            preamble = Preamble(whole.description, whole.shots[dropped:])
            ids, text = self._write(question, preamble)
            if len(ids) + room <= self.longest:
                return AskedPrompt(ids, text, dropped)
        raise BactrianError(
            f"task {self.task.name}, question {question.id}: {len(ids)} tokens without exemplars and max_new_tokens "
            f"{room} make {len(ids) + room}; the model's context is {self.longest}"
        )

    def _write(self, question: Question, preamble: Preamble) -> tuple[Ids, str]:
        if self.format == "plain":
            text = self.text(question, preamble)
            return self.plain.ids(text), text
        messages = self.messages(question, preamble)
        where = f"task {self.task.name}, question {question.id}"
        tools = question.row.get("tools") if question.messages else None
        return tuple(prompt_ids(messages, self.template, where, tools)), self.template.write(messages, True, tools)

    def options(self, question: Question, room: int = 0) -> list[tuple[AskedPrompt, Ids]]:
        """Of each option the prompt and the option's ids.

        As plain text an option follows the task's joint, tokenised with what comes before it.
        """
        longest = max(len(self.plain.ids(option)) for option in question.options) + 1
        pairs = []
        whole = None if question.contexts else self.ask(question, longest + room)
        for number, option in enumerate(question.options):
            asked = whole or self.ask(replace(question, prompt=question.contexts[number]), longest + room)
            if self.format == "plain":
                ids, rest = self.plain.pair(asked.text, self.task.joint + option)
                asked = AskedPrompt(ids, asked.text, asked.dropped)
            else:
                rest = tuple(self.template.encoder.text(option))
            if not rest:
                raise BactrianError(f"task {self.task.name}, question {question.id}: option {number + 1} is empty")
            pairs.append((asked, rest))
        return pairs


def shots(*pairs: tuple[str, str]) -> tuple[Shot, ...]:
    return tuple(Shot(question, answer) for question, answer in pairs)


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def plain_text(task: Task, question: Question, preamble: Preamble) -> str:
    """A question with what comes before it, as base models are asked."""
    before = "".join(f"{shot.question}{task.joint}{shot.answer}{BETWEEN}" for shot in preamble.shots)
    return f"{preamble.description}{before}{question.prompt}{task.cue}"
