"""Conversations of an expert who asks and somebody who knows the facts, all side by side, turn by turn.

Each turn a decision module says whether enough is known; if not, the model under test asks one question, and the facts
that answer it are told. Only the questions are the model's: deciding and answering are the same for all models [MediQ,
Li et al. 2024; ALFA, Li et al. 2025]. A research simulator, not medical advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

MOST_QUESTIONS = 15
"""Of a conversation, as ALFA has it."""
CANNOT = "I cannot answer that."

CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Reply:
    """What a question is answered with. answered: it told something; fault: why the answer could not be had.

    told: facts by name that are known from now on; excluded: (name, value) pairs that are not so.
    """

    text: str
    answered: bool
    told: Mapping[str, str] = field(default_factory=dict)
    excluded: tuple[tuple[str, str], ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer; values: numbers about the question, such as its attributes. tokens: sampled."""

    question: str
    reply: Reply
    values: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0


@dataclass(frozen=True)
class Decision:
    """The answer that seems right now, None where none could be read, and whether it is final.

    rated: whether it says how sure it is; without that it is never final. said: what it was read off, in words.
    """

    answer: str | None
    confident: bool
    rated: bool = True
    said: str = field(default="", compare=False)


@dataclass
class Dialogue(Generic[CaseT]):
    """One conversation about a case. sample: which of the conversations about it.

    decision: the last; decisions: of each turn.
    """

    id: str
    case: CaseT
    right: str
    sample: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    decision: Decision | None = None
    decisions: list[Decision] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        return self.decision is not None and self.decision.answer == self.right

    @property
    def unanswerable(self) -> float:
        """Share of its questions that could not be answered; 0 of none."""
        return sum(not each.reply.answered for each in self.exchanges) / max(1, len(self.exchanges))

    def told(self) -> dict[str, str]:
        """All facts by name that were told."""
        return {name: value for each in self.exchanges for name, value in each.reply.told.items()}

    def excluded(self) -> list[tuple[str, str]]:
        return [pair for each in self.exchanges for pair in each.reply.excluded]

    def transcript(self) -> str:
        """The conversation, for people."""
        lines = [line for each in self.exchanges for line in (f"Q: {each.question}", f"A: {each.reply.text}")]
        last = self.decision
        if last is not None and last.answer is None and last.said:
            return "\n".join([*lines, "Decision: none that could be read off:", last.said])
        return "\n".join([*lines, f"Decision: {'none' if last is None or last.answer is None else last.answer}"])


class Questioner(Protocol[CaseT]):
    """The model under test."""

    def ask(self, dialogues: Sequence[Dialogue[CaseT]]) -> Sequence[tuple[str, int]]:
        """The next question of each, and how many tokens were sampled for it."""
        ...


class Simulator(Protocol[CaseT]):
    """Who knows the facts, and who decides."""

    def decide(self, dialogues: Sequence[Dialogue[CaseT]]) -> Sequence[Decision]: ...

    def reply(self, dialogues: Sequence[Dialogue[CaseT]], questions: Sequence[str]) -> Sequence[Reply]: ...

    def values(self, dialogue: Dialogue[CaseT], question: str) -> Mapping[str, float]:
        """Numbers about a question before it is answered."""
        ...


def simulate(
    dialogues: Sequence[Dialogue[CaseT]], questioner: Questioner[CaseT], simulator: Simulator[CaseT], most: int
) -> None:
    """Hold the conversations to their end: confident, or after `most` questions. All of one turn are asked at once."""
    live = list(dialogues)
    for turn in range(most + 1):
        for dialogue, decision in zip(live, simulator.decide(live), strict=True):
            dialogue.decision = decision
            dialogue.decisions.append(decision)
        live = [each for each in live if each.decision is not None and not each.decision.confident]
        if not live or turn == most:
            return
        asked = questioner.ask(live)
        questions = [question for question, _ in asked]
        values = [simulator.values(each, question) for each, question in zip(live, questions, strict=True)]
        replies = simulator.reply(live, questions)
        for dialogue, (question, tokens), reply, found in zip(live, asked, replies, values, strict=True):
            dialogue.exchanges.append(Exchange(question, reply, found, tokens))
