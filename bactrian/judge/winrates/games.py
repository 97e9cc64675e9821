"""Games: one judge's verdict on two models' answers to one prompt, as files of several layouts have it."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.judge.winrates.logistic import ClusterDraws, percentile_interval

Row = Mapping[str, Any]

FIRST_WINS = {
    **{"a-is-better": 1.0, "a-is-slightly-better": 1.0, "b-is-slightly-better": 0.0, "b-is-better": 0.0},
    **{"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5},
}
"""What people said, in words, as the probability that the first answer is better. How much better does not count."""
LABELS = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}
VERDICTS = {1: 1.0, 2: 0.0, 3: 0.5}
UNREAD = -1
"""What published files have where a judge's answer could not be read: no verdict."""


@dataclass(frozen=True)
class Game:
    """Two models' answers to one prompt, and how likely the first one's is the better.

    prompt: names it; games of one prompt are one cluster. outcome: in [0, 1], 0.5 a tie; None where the judge abstained
    or failed, and then `fault` says why. The texts are empty where the file has none.
    """

    prompt: str
    first: str
    second: str
    outcome: float | None
    first_text: str = ""
    second_text: str = ""
    question: str = ""
    fault: str = ""
    order_changed: bool | None = None

    @property
    def swapped(self) -> Game:
        """The same game seen from the second model."""
        outcome = None if self.outcome is None else 1 - self.outcome
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_text=self.second_text,
            second_text=self.first_text,
            outcome=outcome,
        )


def read_game(row: Row, where: str) -> Game:
    """A row of AlpacaEval's annotations, of a round robin with numbered verdicts, or of people's votes.

    - `instruction, output_1, generator_1, output_2, generator_2, preference`: 1 to 2, how likely the second is better
      plus one; 0 and 1.5 are ties; null is no verdict.
    - `first, second` (models) with `verdict` 1, 2, 3 (a tie) or -1 (none), or `probability` that the first is better;
      `prompt_id` or `prompt`; `first_text, second_text` if there are any.
    - `model_a, model_b, completion_a, completion_b` with `preference` (a-is-better …) or `winner` (model_a …).

    Raises:
        BactrianError: naming the row, the field, and what was expected of it.
    """
    if "generator_1" in row:
        said = row.get("preference")
        return Game(
            prompt_key(_text(row, "instruction", where)),
            _text(row, "generator_1", where),
            _text(row, "generator_2", where),
            None if said is None else _preference(said, where),
            _text(row, "output_1", where, empty=True),
            _text(row, "output_2", where, empty=True),
            _text(row, "instruction", where),
            "no preference" if said is None else "",
        )
    if "model_a" in row:
        word = row.get("preference", row.get("winner"))
        if word is not None and word not in FIRST_WINS:
            raise BactrianError(
                f"{where}: preference or winner: found {word!r:.60}, expected one of {', '.join(FIRST_WINS)}"
            )
        return Game(
            _prompt(row, where),
            _text(row, "model_a", where),
            _text(row, "model_b", where),
            None if word is None else FIRST_WINS[word],
            str(row.get("completion_a", "")),
            str(row.get("completion_b", "")),
            str(row.get("prompt", "")),
            "no preference" if word is None else "",
        )
    if "first" not in row or "second" not in row:
        raise BactrianError(
            f"{where}: found the fields {field_names(row)}; expected generator_1 and generator_2, model_a and model_b, "
            f"or first and second, which name the two models"
        )
    outcome = _outcome(row, where)
    return Game(
        _prompt(row, where),
        _text(row, "first", where),
        _text(row, "second", where),
        outcome,
        str(row.get("first_text", "")),
        str(row.get("second_text", "")),
        str(row.get("prompt", "")),
        "" if outcome is not None else str(row.get("fault") or "no verdict"),
    )


def read_by_hand(row: Row, where: str, by_texts: Mapping[tuple[str, str], Game]) -> Game:
    """A person's verdict on a game: a row as `read_game` has it, or two texts with a `label`, as people's page exports.

    Of several annotators' `labels` the mean counts, ties half.

    by_texts: the games by both texts, in either order: which models wrote them is not in such a row.

    Raises:
        BactrianError: a row of another form, or texts that are in no game.
    """
    if "label" not in row and "labels" not in row:
        return read_game(row, where)
    texts = _text(row, "first", where, empty=True), _text(row, "second", where, empty=True)
    # A label is null where annotators say tie or are split: their own labels still say what it is worth.
    given = row.get("labels") or {"": row.get("label")}
    words = [word for word in given.values() if word is not None] if isinstance(given, dict) else [given]
    if strange := [word for word in words if not isinstance(word, str) or word not in LABELS]:
        raise BactrianError(f"{where}: label: found {strange[0]!r:.60}, expected one of {', '.join(LABELS)}")
    outcome = float(np.mean([LABELS[word] for word in words])) if words else None
    if texts not in by_texts:
        raise BactrianError(f"{where}: first, second: these two answers are in no comparison of the judge's")
    return replace(by_texts[texts], outcome=outcome, fault="" if outcome is not None else "no label")


def games_by_texts(games: Sequence[Game]) -> dict[tuple[str, str], Game]:
    """Each game by its two texts, and turned round by them in the other order."""
    found = {}
    for game in games:
        found[game.second_text, game.first_text] = game.swapped
        found[game.first_text, game.second_text] = game
    return found


def prompt_key(text: str) -> str:
    """A name for a prompt that has none: 16 digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prompt(row: Row, where: str) -> str:
    for name in ("prompt_id", "instance_id", "question_id"):
        if row.get(name) is not None:
            return f"{row['bench']}/{row[name]}" if row.get("bench") else str(row[name])
    return prompt_key(_text(row, "prompt", where))


def _text(row: Row, name: str, where: str, empty: bool = False) -> str:
    found = row.get(name)
    if not isinstance(found, str) or not (found or empty):
        raise BactrianError(f"{where}: {name}: found {found!r:.60}, expected a text")
    return found


def _preference(said: Any, where: str) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not (said == 0 or 1 <= said <= 2):
        raise BactrianError(f"{where}: preference: found {said!r:.60}, expected 0 (a tie), or a number from 1 to 2")
    return 0.5 if said == 0 else 2.0 - float(said)


def _outcome(row: Row, where: str) -> float | None:
    if "probability" in row:
        said = row["probability"]
        if said is None:
            return None
        if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 1:
            raise BactrianError(f"{where}: probability: found {said!r:.60}, expected a number from 0 to 1")
        return float(said)
    said = row.get("verdict")
    if said is None or said == UNREAD:
        return None
    if isinstance(said, bool) or not isinstance(said, int) or said not in VERDICTS:
        raise BactrianError(
            f"{where}: verdict: found {said!r:.60}, expected 1 (first), 2 (second), 3 (a tie) or -1 (none)"
        )
    return VERDICTS[said]


def check_same_prompts(games: Sequence[Game], baseline: str) -> None:
    """Every model must have met the baseline on the same prompts: a smaller n is never taken instead.

    Raises:
        BactrianError: the baseline is in no game; or naming a model and the prompts that it lacks.
    """
    met: dict[str, set[str]] = defaultdict(set)
    for game in games:
        if baseline in (game.first, game.second):
            met[game.second if game.first == baseline else game.first].add(game.prompt)
    if not met:
        names = sorted({name for game in games for name in (game.first, game.second)})
        raise BactrianError(
            f"baseline: found {baseline!r}, which is in no comparison; expected one of {', '.join(names)}"
        )
    every = set().union(*met.values())
    for model, prompts in sorted(met.items()):
        if lacking := sorted(every - prompts):
            shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else "")
            raise BactrianError(
                f"win rates: {model} has no comparison with {baseline} on {len(lacking):,} of {len(every):,} prompts: "
                f"{shown}. Expected the same prompts for every model; a win rate on fewer is another number"
            )


@dataclass(frozen=True)
class PositionBias:
    """What the order of two answers does to a judge.

    both_orders: pairs (of models, on a prompt) that were judged in both orders. changed: the share of them whose
    verdict was another one when the order was (a tie and a win differ). first_share: wins of the first answer, ties
    half, among them, with the interval over prompts; 0.5 without a bias.
    """

    both_orders: int
    changed: float
    first_share: float
    interval: tuple[float, float]


def position_bias(games: Sequence[Game], resamples: int = 1000, seed: int = 0) -> PositionBias:
    """Over games that were played in both orders; all zeros where none was."""
    every: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for game in games:
        if game.outcome is not None:
            every[game.prompt, game.first, game.second].append(game.outcome)
    known = {key: float(np.mean(outcomes)) for key, outcomes in every.items()}
    pairs = [
        (prompt, forth, back)
        for (prompt, first, second), forth in known.items()
        if first < second and (back := known.get((prompt, second, first))) is not None
    ]
    if not pairs:
        return PositionBias(0, 0.0, 0.5, (0.0, 1.0))
    changed = [_side(forth) != _side(1 - back) for _, forth, back in pairs]
    share = np.array([(forth + back) / 2 for _, forth, back in pairs])
    draws = ClusterDraws.of([prompt for prompt, _, _ in pairs])
    drawn = draws.refitted(lambda times: np.array([np.average(share, weights=times)]), resamples, seed)
    return PositionBias(len(pairs), float(np.mean(changed)), float(share.mean()), percentile_interval(drawn[:, 0]))


def _side(outcome: float) -> int:
    return int(outcome > 0.5) - int(outcome < 0.5)


FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
HEADER = re.compile(r"^#{1,6}[ \t]", re.MULTILINE)
LISTED = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]", re.MULTILINE)
BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
STYLE = ("length", "headers", "lists", "bold")


def style_counts(text: str) -> tuple[float, float, float, float]:
    """Characters, headers, list items and bold passages of an answer; what stands in fenced code is no markup."""
    prose = FENCED.sub("", text)
    counts = (len(text), *(len(pattern.findall(prose)) for pattern in (HEADER, LISTED, BOLD)))
    return float(counts[0]), float(counts[1]), float(counts[2]), float(counts[3])
