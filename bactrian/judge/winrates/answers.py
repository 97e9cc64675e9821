"""Models' answers to the same prompts, from files of several layouts, and the pairs of them that a judge is shown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.judge.opinions import FIRST, AnswerPair, Opinion
from bactrian.judge.winrates.games import Game, prompt_key

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ModelAnswer:
    """One model's answer to a prompt. messages: the prompt. reference: a person's answer to compare with, or ""."""

    model: str
    messages: tuple[dict[str, Any], ...]
    text: str
    reference: str = ""

    @property
    def prompt(self) -> str:
        return messages_key(self.messages)

    @property
    def question(self) -> str:
        """What was asked last."""
        return str(self.messages[-1].get("content", ""))


def messages_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """The name of a prompt: of one turn, that of its text; so files with messages and files with a text agree."""
    if len(messages) == 1:
        return prompt_key(str(messages[0].get("content", "")))
    return prompt_key(json.dumps(list(messages), sort_keys=True, ensure_ascii=False))


def has_answers(row: Row) -> bool:
    """Whether a row holds answers, and no verdict."""
    return "answers" in row or ("generator_1" not in row and ({"output", "completion"} & set(row) != set()))


def read_answers(row: Row, where: str) -> list[ModelAnswer]:
    """The answers in a row: of `respond` (`messages` and `answers` with `model` and `text`), or one, as AlpacaEval has
    it (`instruction, output, generator`) or with `messages` or `prompt`, `completion` and `model`.

    A `reference` beside them is a person's answer, which the judge is shown.

    Raises:
        BactrianError: naming the row, the field, and what was expected of it.
    """
    reference = row.get("reference") or ""
    if not isinstance(reference, str):
        raise BactrianError(f"{where}: reference: found {reference!r:.60}, expected a text")
    messages = _messages(row, where)
    if "answers" in row:
        return [
            ModelAnswer(_name(each, "model", f"{where}, answers"), messages, _said(each, "text", where), reference)
            for each in row["answers"]
        ]
    text = "output" if "output" in row else "completion"
    name = "generator" if "generator" in row else "model"
    return [ModelAnswer(_name(row, name, where), messages, _said(row, text, where), reference)]


def _messages(row: Row, where: str) -> tuple[dict[str, Any], ...]:
    for name in ("messages", "prompt", "instruction"):
        found = row.get(name)
        if isinstance(found, str) and found:
            return ({"role": "user", "content": found},)
        if isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
            return tuple({"role": each.get("role"), "content": each.get("content")} for each in found)
    raise BactrianError(
        f"{where}: found the fields {field_names(row)}; expected messages, prompt or instruction, not empty"
    )


def _name(row: Row, field: str, where: str) -> str:
    found = row.get(field)
    if not isinstance(found, str) or not found:
        shown = "nothing" if found is None else f"{found!r:.60}"
        raise BactrianError(
            f"{where}, field {field!r}: found {shown}, expected the name of the model that answered, in each row"
        )
    return found


def _said(row: Row, field: str, where: str) -> str:
    found = row.get(field, "")
    if not isinstance(found, str):
        raise BactrianError(f"{where}: {field}: found {found!r:.60}, expected a text")
    return found


def answer_pairs(answers: Iterable[ModelAnswer], baseline: str | None) -> list[tuple[str, str, AnswerPair]]:
    """(model, other, their answers to a prompt), for each prompt: every model with the baseline, or every two models.

    Raises:
        BactrianError: fewer than two models, a model that answered a prompt twice or not at all, or no such baseline.
    """
    found: dict[str, dict[str, ModelAnswer]] = defaultdict(dict)
    for answer in answers:
        if answer.prompt in found[answer.model]:
            raise BactrianError(
                f"win rates: {answer.model} answered {answer.question!r:.80} twice; expected one answer to a prompt"
            )
        found[answer.model][answer.prompt] = answer
    models = list(found)
    if len(models) < 2:
        raise BactrianError(f"win rates: found answers of {', '.join(models) or 'no model'}, expected two models")
    if baseline is not None and baseline not in found:
        raise BactrianError(f"baseline: found {baseline!r}, expected one of {', '.join(models)}")
    _check_all_answered(found)
    met = combinations(models, 2) if baseline is None else ((name, baseline) for name in models if name != baseline)
    return [
        (one, other, _pair(found[one][prompt], found[other][prompt]))
        for one, other in met
        for prompt in found[models[0]]
    ]


def _check_all_answered(found: Mapping[str, Mapping[str, ModelAnswer]]) -> None:
    every = {prompt: answer.question for mine in found.values() for prompt, answer in mine.items()}
    for model, mine in found.items():
        if lacking := [question for prompt, question in every.items() if prompt not in mine]:
            raise BactrianError(
                f"win rates: {model} has no answer to {len(lacking):,} of {len(every):,} prompts, such as "
                f"{lacking[0]!r:.80}. Expected the same prompts of every model; a win rate on fewer is another number"
            )


def _pair(one: ModelAnswer, other: ModelAnswer) -> AnswerPair:
    name = f"{one.prompt}: {one.model} and {other.model}"
    return AnswerPair(name, one.messages, one.text, other.text, one.reference or other.reference)


def prompt_of(pair: AnswerPair) -> str:
    """The name of the prompt of a pair of `answer_pairs`."""
    return pair.id.partition(":")[0]


def judged_games(met: Sequence[tuple[str, str, AnswerPair]], said: Sequence[Opinion]) -> list[Game]:
    """Games from a judge's opinions; a fault is a game without a verdict."""
    games = []
    for (one, other, pair), opinion in zip(met, said, strict=True):
        outcome = None if opinion.fault else float(opinion.probabilities[FIRST])
        games.append(_game(one, other, pair, outcome, opinion.fault, opinion.order_changed))
    return games


def decided_games(
    met: Sequence[tuple[str, str, AnswerPair]], preferred: Sequence[int | None], order_changed: Sequence[bool | None]
) -> list[Game]:
    """Games from verdicts of a calibrated cascade: FIRST, SECOND or, where it abstains, None."""
    return [
        _game(
            one, other, pair, None if side is None else float(side == FIRST), "" if side is not None else "abstains", by
        )
        for (one, other, pair), side, by in zip(met, preferred, order_changed, strict=True)
    ]


def compared_games(met: Sequence[tuple[str, str, AnswerPair]], outcomes: Sequence[float | None]) -> list[Game]:
    """Games from how likely each first answer is the better one; None is a game without a verdict."""
    return [
        _game(one, other, pair, outcome, "" if outcome is not None else "no verdict", None)
        for (one, other, pair), outcome in zip(met, outcomes, strict=True)
    ]


def _game(one: str, other: str, pair: AnswerPair, outcome: float | None, fault: str, changed: bool | None) -> Game:
    question = str(pair.prompt[-1].get("content", ""))
    return Game(prompt_of(pair), one, other, outcome, pair.first, pair.second, question, fault, changed)
