"""Judges of pairs: both orders asked, swapped back and averaged, by probabilities, by words, or by rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bactrian.generate.chat_request import ChatReply, Responder
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, Chooser
from bactrian.judge.asked_judges import judge_request
from bactrian.judge.demonstrations import Demonstration
from bactrian.judge.fences import FENCE
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, OnOpinion, Opinion
from bactrian.judge.reading import letter_and_certainty
from bactrian.judge.rubrics import ASKED_IN_WORDS, LETTERS, pair_block

PAIRS_AT_ONCE = 64
"""Asked together: what comes after them begins only when these are done, so a kill loses no more."""
VERBAL_TOKENS = 256
Kind = Literal["single", "annotators", "randomised", "verbalised", "reward"]


@dataclass(frozen=True)
class JudgeMethod:
    """How a judge of pairs comes to a probability.

    single: of one prompt. annotators: the mean over simulated annotators, each with demonstrations of its own
    [Jung et al. 2025]. randomised: likewise, with demonstrations of random annotators. verbalised: what the judge says
    in words. reward: σ of the difference of two rewards.

    orders: "both" asks each pair twice, with the answers swapped; "given" once, as they stand.
    """

    kind: Kind = "single"
    annotators: int = 5
    demonstrations: int = 5
    seed: int = 0
    orders: Literal["both", "given"] = "both"

    @property
    def shows(self) -> bool:
        """Whether it needs demonstrations."""
        return self.kind in ("annotators", "randomised")

    def __str__(self) -> str:
        shown = f" {self.annotators}x{self.demonstrations}" if self.shows else ""
        seed = f" seed {self.seed}" if self.kind == "randomised" else ""
        return f"{self.kind}{shown}{seed}{', one order' if self.orders == 'given' else ''}"


Annotators = Sequence[tuple[Demonstration, ...]]


def pair_messages(
    rubric: str, demonstrations: Sequence[Demonstration], pair: AnswerPair, swapped: bool
) -> tuple[tuple[dict[str, Any], ...], int]:
    """What is asked about a pair, and how many of the messages every pair's question begins with.

    The rubric stands in the first turn alone; demonstrations are turns of their own, each with its label as the answer.
    """
    shown = demonstration_messages(rubric, demonstrations)
    block = pair_block(pair, swapped)
    text = block if shown else f"{rubric}\n\n{FENCE}\n\n{block}"
    return (*shown, {"role": "user", "content": text}), len(shown)


def demonstration_messages(rubric: str, demonstrations: Sequence[Demonstration]) -> tuple[dict[str, Any], ...]:
    """The turns of demonstrations, the rubric first; none without any."""
    messages: list[dict[str, Any]] = []
    for each in demonstrations:
        block = pair_block(each.pair, False)
        messages += [
            {"role": "user", "content": block if messages else f"{rubric}\n\n{FENCE}\n\n{block}"},
            {"role": "assistant", "content": LETTERS[each.label]},
        ]
    return tuple(messages)


class ChoicePairJudge:
    """Probabilities of the two letters, the mean over annotators and orders."""

    def __init__(
        self, chooser: Chooser, identity: JudgeIdentity, rubric: str, annotators: Annotators, both_orders: bool = True
    ) -> None:
        """
        Args:
            annotators: the demonstrations of each; one without any is a single prompt.
        """
        self.chooser, self._identity, self.rubric = chooser, identity, rubric
        self.annotators, self.orders = annotators, (False, True) if both_orders else (False,)

    @property
    def identity(self) -> JudgeIdentity:
        return self._identity

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            requests = [each for pair in pairs[start : start + PAIRS_AT_ONCE] for each in self.requests(pair)]
            gathered = Gathered(len(self.annotators) * len(self.orders), len(self.orders), on_opinion, start)
            self.chooser.choose(requests, gathered.put)

    def requests(self, pair: AnswerPair) -> list[ChoiceRequest]:
        """Of each annotator, in each order."""
        found = []
        for number, demonstrations in enumerate(self.annotators):
            for swapped in self.orders:
                messages, shared = pair_messages(self.rubric, demonstrations, pair, swapped)
                name = f"pair {pair.id}, annotator {number + 1}"
                found.append(ChoiceRequest(messages, LETTERS, name, shared=shared))
        return found


class VerbalPairJudge:
    """What a judge says in words, and how sure it says that it is; the mean over orders."""

    def __init__(self, responder: Responder, identity: JudgeIdentity, rubric: str, both_orders: bool = True) -> None:
        self.responder, self._identity, self.rubric = responder, identity, rubric
        self.orders = (False, True) if both_orders else (False,)

    @property
    def identity(self) -> JudgeIdentity:
        return self._identity

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        opening = f"{self.rubric}\n\n{FENCE}\n\n"
        requests = [
            judge_request(opening + pair_block(pair, swapped, ASKED_IN_WORDS), f"pair {pair.id}", VERBAL_TOKENS)
            for pair in pairs
            for swapped in self.orders
        ]
        gathered = Gathered(len(self.orders), len(self.orders), on_opinion)
        self.responder.answer(requests, lambda place, reply: gathered.put(place, said_choice(reply)))


def said_choice(reply: ChatReply) -> ChoiceReply:
    """The letter and the certainty that a reply ends with, as probabilities."""
    found = letter_and_certainty(reply.text, LETTERS)
    if found is None:
        fault = reply.fault or f"no verdict with a certainty: {reply.text[-80:]!r}"
        return ChoiceReply(samples=1, tokens_in=reply.prompt_tokens, tokens_out=reply.tokens, fault=fault)
    letter, sure = found
    both = (sure, 1 - sure) if letter == LETTERS[0] else (1 - sure, sure)
    return ChoiceReply(both, 1.0, 1, reply.prompt_tokens, reply.tokens)


class Gathered:
    """Replies by their place, made into an opinion as soon as all `count` of a pair are there."""

    def __init__(self, count: int, orders: int, on_opinion: OnOpinion, start: int = 0) -> None:
        """
        Args:
            start: the place of the first pair.
        """
        self.count, self.orders, self.on_opinion, self.start = count, orders, on_opinion, start
        self._waiting: dict[int, dict[int, ChoiceReply]] = {}

    def put(self, place: int, reply: ChoiceReply) -> None:
        pair, member = divmod(place, self.count)
        mine = self._waiting.setdefault(pair, {})
        mine[member] = reply
        if len(mine) == self.count:
            self.on_opinion(self.start + pair, opinion_of([mine[each] for each in range(self.count)], self.orders))
            del self._waiting[pair]


def opinion_of(replies: Sequence[ChoiceReply], orders: int) -> Opinion:
    """The mean over annotators and orders; a fault where any of them has one: a mean of some is another judge's.

    Args:
        replies: of each annotator in each order, the order that is swapped second.
        orders: 2, or 1 where the answers were shown as they stand alone.
    """
    took = sum(reply.tokens_in for reply in replies), sum(reply.tokens_out for reply in replies)
    calls = sum(max(1, reply.samples) for reply in replies)
    fault = next((reply.fault for reply in replies if reply.fault), "")
    if fault:
        return Opinion(calls=calls, tokens_in=took[0], tokens_out=took[1], fault=fault)
    sides = [
        _mean([reply.probabilities[0 if order == 0 else 1] for reply in replies[order::orders]])
        for order in range(orders)
    ]
    first = _mean(sides)
    changed = (sides[0] >= 0.5) != (sides[1] >= 0.5) if orders == 2 else None
    return Opinion((first, 1 - first), changed, _mean([reply.mass for reply in replies]), calls, *took)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
