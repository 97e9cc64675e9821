"""Pairs of answers that people have compared: read from files of several layouts, ties left out and counted."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.data.io.tally import Tally
from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.judge.models import spoken
from bactrian.judge.opinions import FIRST, SECOND, AnswerPair, Opinion

Row = Mapping[str, Any]
TIE = 2
"""Beside FIRST and SECOND: what an annotator says who prefers neither."""
SIDES: tuple[tuple[str, str], ...] = (
    ("first", "second"),
    ("output_1", "output_2"),
    ("response1", "response2"),
    ("response 1", "response 2"),
)
"""Columns of the two answers, in the layouts that are known; also `outputs`, a list of two, and chosen and rejected."""
FROM_ZERO = ("response 1", "response 2")
"""The layout (Auto-J's) whose labels are 0: first, 1: second, 2: tie; elsewhere they are 1, 2 and 0."""
LABELS = ("label", "human", "preferred")
ANNOTATOR = re.compile(r"annotator_?\d+")
WORDS = {"first": FIRST, "second": SECOND, "tie": TIE, "both bad": TIE, "both_bad": TIE}
TIED, DIVIDED = "a tie", "annotators are divided"


@dataclass(frozen=True)
class LabelledPair:
    """A pair, and which of its answers people prefer.

    votes: how many annotators chose the row's first answer, its second, neither. where: its file and line.
    recorded: what judges said of it, by name, where the row has that.
    """

    pair: AnswerPair
    label: int
    votes: tuple[int, int, int]
    recorded: Mapping[str, Opinion] = field(default_factory=dict)
    source: str = ""
    license: str = ""
    where: str = ""


@dataclass(frozen=True)
class LabelledPairs:
    """The pairs of a file that have a label, and what became of its rows."""

    pairs: tuple[LabelledPair, ...]
    tally: Tally

    @property
    def digest(self) -> str:
        """SHA-256 of what was compared and preferred, whatever order the rows are in."""
        lines = sorted(f"{pair_digest(each.pair)} {each.label}" for each in self.pairs)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def dropped(self, reason: str) -> int:
        found = self.tally.dropped.get(reason)
        return found.count if found else 0

    @property
    def judges(self) -> list[str]:
        """The judges of which rows have probabilities, in the order in which rows name them."""
        return list(dict.fromkeys(name for each in self.pairs for name in each.recorded))


def pair_digest(pair: AnswerPair) -> str:
    """SHA-256 of what a judge reads of a pair; its id is no part of that."""
    read = [pair.prompt, pair.first, pair.second, pair.reference]
    return hashlib.sha256(json.dumps(read, sort_keys=True, default=str).encode()).hexdigest()


def read_labelled(path: Path, limit: int | None = None) -> LabelledPairs:
    """The labelled pairs of a file, folder or artifact; ties and divided votes are dropped and counted.

    Layouts: rows of kind pair (the chosen answer is the one preferred); or a prompt (`prompt`, or `instruction` and
    `input`), two answers (`first` and `second`, `output_1` …, `response1` …, "response 1" …, or `outputs`) and a label
    (`label`, `human` or `preferred`; or, of which the majority counts, `labels` by annotator as `annotate-by-hand`
    exports them, or `annotator1`, `annotator2`, …): 1 or "first", 2 or "second", 0 or "tie"; in Auto-J's layout 0, 1
    and 2. Judges' probabilities may stand in `judge_probs`
    ({judge: [first, second]}), or their votes in both orders in `judges` (LLMBar).

    Raises:
        BactrianError: naming the line and the field of a row that is none of these; all are ties; or the same two
            answers to one prompt are labelled twice, differently.
    """
    tally, found = Tally(), list[LabelledPair]()
    for number, (row, where) in enumerate(stream_rows(path)):
        if limit is not None and number >= limit:
            break
        pair, votes = read_pair(row, where), votes_of(row, where)
        label = label_of(row, pair, where)
        if label is None:
            tally.drop(TIED if votes[TIE] == max(votes) else DIVIDED, where)
            continue
        tally.keep()
        recorded = recorded_of(row, where)
        if pair.blind_first != FIRST:
            recorded = {name: replace(each, probabilities=each.probabilities[::-1]) for name, each in recorded.items()}
        source, terms = str(row.get("source") or path.name), str(row.get("license") or "unknown")
        found.append(LabelledPair(pair.pair, label, votes, recorded, source, terms, where))
    if not found:
        raise BactrianError(f"{path}: no row says which answer is preferred\n{tally}")
    _refuse_contradictions(found)
    return LabelledPairs(tuple(found), tally)


@dataclass(frozen=True)
class ReadPair:
    """A pair as a judge is to see it, and which of the row's answers stands first in it."""

    pair: AnswerPair
    blind_first: int


def read_pair(row: Row, where: str) -> ReadPair:
    """The two answers of a row. Chosen and rejected come in an order that says nothing of which is which.

    Raises:
        BactrianError: the row holds no prompt or no two answers, naming the fields that it has.
    """
    prompt, (first, second) = _prompt(row, where), _answers(row, where)
    named = str(row.get("id", row.get("idx", where)))
    reference = _text(row.get("reference") or "", f"{where}, field 'reference'")
    if "chosen" not in row:
        return ReadPair(AnswerPair(named, prompt, first, second, reference), FIRST)
    drawn = hashlib.sha256(json.dumps([prompt, *sorted((first, second))], default=str).encode()).digest()[0] & 1
    swapped = drawn == int(first <= second)
    sides = (second, first) if swapped else (first, second)
    return ReadPair(AnswerPair(named, prompt, *sides, reference), int(swapped))


def votes_of(row: Row, where: str) -> tuple[int, int, int]:
    """How many annotators prefer the row's first answer, its second, and neither.

    Raises:
        BactrianError: the row has no label, or one that cannot be read.
    """
    if "chosen" in row and not any(name in row for name in LABELS):
        return 1, 0, 0
    if isinstance(by_annotator := row.get("labels"), Mapping) and by_annotator:
        at = f"{where}, field 'labels'"
        counts = Counter(_label(label, False, f"{at}, {name}") for name, label in by_annotator.items())
        return counts[FIRST], counts[SECOND], counts[TIE]
    annotators = sorted(name for name in row if ANNOTATOR.fullmatch(name))
    named = annotators or [name for name in LABELS if name in row]
    if not named:
        raise BactrianError(
            f"{where}: found no label among the fields {', '.join(row)}; expected one of {', '.join(LABELS)}, or "
            f"annotator1, annotator2, …"
        )
    from_zero = FROM_ZERO[0] in row
    counts = Counter(_label(row[name], from_zero, f"{where}, field {name!r}") for name in named)
    return counts[FIRST], counts[SECOND], counts[TIE]


def label_of(row: Row, read: ReadPair, where: str) -> int | None:
    """Which answer of the pair people prefer; None where the row does not say, or says that they prefer neither.

    Raises:
        BactrianError: the row has a label that cannot be read.
    """
    named = any(name in row for name in ("chosen", "labels", *LABELS)) or any(map(ANNOTATOR.fullmatch, row))
    label = majority(votes_of(row, where)) if named else None
    return label if label is None or read.blind_first == FIRST else 1 - label


def majority(votes: Sequence[int]) -> int | None:
    """Whom most annotators prefer; None where most prefer neither, or as many prefer one as the other.

    >>> majority((2, 1, 0)), majority((1, 1, 0)), majority((1, 0, 2))
    (0, None, None)
    """
    most = max(votes)
    return None if votes[TIE] == most or votes[FIRST] == votes[SECOND] else int(votes[SECOND] == most)


def recorded_of(row: Row, where: str) -> dict[str, Opinion]:
    """What judges said of the row's first and second answer, as the row has it: probabilities, made to sum to 1.

    Raises:
        BactrianError: probabilities are not two numbers from 0 to 1, or both are 0; tokens are not two numbers.
    """
    found = {}
    tokens = dict(_items(row.get("judge_tokens"), f"{where}, field 'judge_tokens'"))
    for name, given in _items(row.get("judge_probs"), f"{where}, field 'judge_probs'"):
        chances = _normal(given, f"{where}, field 'judge_probs.{name}'")
        read, written = _counts(tokens.get(name, [0, 0]), f"{where}, field 'judge_tokens.{name}'")
        found[name] = Opinion(chances, mass=1.0, tokens_in=read, tokens_out=written)
    for name, orders in _items(row.get("judges"), f"{where}, field 'judges'"):
        at = f"{where}, field 'judges.{name}'"
        votes = [_label(vote, False, at) for _, vote in _items(orders, at)]
        if votes:  # a judge that said nothing to this row has no opinion on it
            for_second = sum({FIRST: 0.0, SECOND: 1.0, TIE: 0.5}[vote] for vote in votes) / len(votes)
            changed = votes[0] != votes[1] if len(votes) == 2 else None
            found[name] = Opinion((1 - for_second, for_second), changed, 1.0, len(votes))
    return found


def _prompt(row: Row, where: str) -> tuple[dict[str, Any], ...]:
    given = row.get("prompt", row.get("messages"))
    if isinstance(given, list) and given and all(isinstance(each, dict) for each in given):
        return tuple(given)
    parts = [given] if given else [row.get("instruction"), row.get("input")]
    text = "\n\n".join(str(part) for part in parts if isinstance(part, str) and part.strip())
    if not text:
        raise BactrianError(
            f"{where}: found the fields {field_names(row)}; expected `prompt`, or `instruction`, `input`"
        )
    return ({"role": "user", "content": text},)


def _answers(row: Row, where: str) -> tuple[str, str]:
    outputs = row.get("outputs")
    if isinstance(outputs, list) and len(outputs) == 2:
        pair: tuple[Any, Any] = (outputs[0], outputs[1])
        return _text(pair[0], f"{where}, field 'outputs.0'"), _text(pair[1], f"{where}, field 'outputs.1'")
    for names in (*SIDES, ("chosen", "rejected")):
        if all(name in row for name in names):
            return _text(row[names[0]], f"{where}, field {names[0]!r}"), _text(row[names[1]], f"{where}, {names[1]!r}")
    raise BactrianError(
        f"{where}: found the fields {field_names(row)}; expected two answers: chosen and rejected, first and second, "
        f"output_1 and output_2, response1 and response2, or outputs (a list of two)"
    )


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return spoken(value)
    raise BactrianError(f"{where}: found {value!r:.60}, expected a text or messages")


def _label(value: Any, from_zero: bool, where: str) -> int:
    words = str(value).strip().casefold()
    numbers = {"0": FIRST, "1": SECOND, "2": TIE} if from_zero else {"1": FIRST, "2": SECOND, "0": TIE}
    found = WORDS.get(words, numbers.get(words))
    if found is None:
        shown = "0 (first), 1 (second) or 2 (tie)" if from_zero else "1 (first), 2 (second) or 0 (tie)"
        raise BactrianError(f"{where}: found {value!r:.60}, expected {shown}")
    return found


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise BactrianError(f"{where}: found {value!r:.60}, expected an object by judge")
    yield from value.items()


def _normal(given: Any, where: str) -> tuple[float, float]:
    numbers = given if isinstance(given, list | tuple) else []
    fits = len(numbers) == 2 and all(isinstance(each, int | float) and 0 <= each <= 1 for each in numbers)
    if not fits or sum(numbers) <= 0:
        raise BactrianError(f"{where}: found {given!r:.60}, expected two probabilities, of first and second")
    total = float(numbers[0] + numbers[1])
    return numbers[0] / total, numbers[1] / total


def _counts(given: Any, where: str) -> tuple[int, int]:
    if not (isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(n, int) and n >= 0 for n in given)):
        raise BactrianError(f"{where}: found {given!r:.60}, expected two numbers of tokens, read and written")
    return given[0], given[1]


def _refuse_contradictions(found: Sequence[LabelledPair]) -> None:
    seen: dict[str, LabelledPair] = {}
    for each in found:
        before = seen.setdefault(pair_digest(each.pair), each)
        if before.label != each.label:
            raise BactrianError(
                f"{each.where}: the same two answers to the same prompt are labelled the other way in {before.where}; "
                f"expected one label for both (annotator1, annotator2, … in one row count as a majority)"
            )
