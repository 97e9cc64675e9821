"""The pairs that people are shown, as a file has them, and the order in which one person sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bactrian.chat import check_messages
from bactrian.data.io.files import stream_rows
from bactrian.data.io.rows import complete_row
from bactrian.errors import BactrianError
from bactrian.errors.wording import field_names
from bactrian.judge.opinions import AnswerPair

Label = Literal["first", "second", "tie", "both_bad"]
LABELS: tuple[Label, ...] = ("first", "second", "tie", "both_bad")
SIDES = {
    ("first", "second"): ("first_model", "second_model"),
    ("chosen", "rejected"): ("chosen_model", "rejected_model"),
    ("completion_a", "completion_b"): ("model_a", "model_b"),
}
"""How a file may name its two answers, and who wrote them."""
BLOCK = 20


@dataclass(frozen=True)
class PairByHand:
    """A pair for people.

    models: who wrote the first and the second answer, "" where the file does not say; no annotator learns it.
    attention: the label that anybody who reads must give, of an item that is there to check attention; else None.
    """

    pair: AnswerPair
    models: tuple[str, str]
    attention: Label | None
    source: str
    license: str

    @property
    def digest(self) -> str:
        """SHA-256 of what an annotator is shown."""
        shown = [self.pair.prompt, self.pair.first, self.pair.second]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def read_pairs(path: Path) -> list[PairByHand]:
    """The pairs of a file (JSONL, Parquet, … or an artifact's folder).

    A row has `prompt` (a text, or messages), and its answers as `first` and `second`, `chosen` and `rejected`, or
    `completion_a` and `completion_b`, each a text or the messages of an answer. It may have `id`, `source`, `license`,
    the models (`first_model`, …; `model_a`, …) and `attention` ("first" or "second"). Without `id` it is known by
    its content.

    Raises:
        BactrianError: no such file, no pairs, a row that is none, or one id on two rows.
    """
    places: dict[str, str] = {}
    pairs = []
    for row, where in stream_rows(path):
        found = _pair(complete_row(row, path.name), where)
        if (before := places.setdefault(found.pair.id, where)) != where:
            raise BactrianError(f"{where}, field 'id': found {found.pair.id!r:.60} again, which {before} has")
        pairs.append(found)
    if all(each.attention for each in pairs):
        raise BactrianError(f"{path}: found attention items only, expected pairs to compare")
    return pairs


def _pair(row: Mapping[str, Any], where: str) -> PairByHand:
    sides = next((names for names in SIDES if all(name in row for name in names)), None)
    if sides is None:
        raise BactrianError(
            f"{where}: found the fields {field_names(row)}; expected two answers: 'first' and 'second', "
            f"or 'chosen' and 'rejected'"
        )
    attention = row.get("attention")
    if attention not in (None, "first", "second"):
        raise BactrianError(f'{where}, field \'attention\': found {attention!r:.60}, expected "first" or "second"')
    first, second = (_answer(row[name], f"{where}, field '{name}'") for name in sides)
    first_model, second_model = (str(row.get(name, "")) for name in SIDES[sides])
    pair = AnswerPair(str(row["id"]), _prompt(row.get("prompt"), f"{where}, field 'prompt'"), first, second)
    return PairByHand(pair, (first_model, second_model), attention, str(row["source"]), str(row["license"]))


def _prompt(value: Any, where: str) -> tuple[Any, ...]:
    messages = check_messages([{"role": "user", "content": value}] if isinstance(value, str) else value, where)
    if messages[-1]["role"] != "user":
        raise BactrianError(f"{where}: found a last turn of '{messages[-1]['role']}', expected the user's")
    return tuple(messages)


def _answer(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    turns = value if isinstance(value, list) else []
    texts = [turn.get("content") if isinstance(turn, dict) else None for turn in turns]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BactrianError(f"{where}: found {value!r:.60}, expected a text, or messages with 'content'")
    if len(texts) == 1:
        return str(texts[0])
    return "\n\n".join(f"{turn.get('role', '')}: {turn['content']}" for turn in turns)


def order_for(annotator: str, pairs: Sequence[PairByHand], seed: int) -> list[PairByHand]:
    """All pairs, in the order in which this annotator sees them.

    Blocks of 20 come to everybody in one order, so that annotators who are half done have judged mostly the same
    pairs; within a block each annotator has an order of their own.
    """
    shared = sorted(pairs, key=lambda each: _draw(seed, each.pair.id))
    blocks = [shared[first : first + BLOCK] for first in range(0, len(shared), BLOCK)]
    return [each for block in blocks for each in sorted(block, key=lambda one: _draw(seed, annotator, one.pair.id))]


def is_swapped(annotator: str, pair: str, seed: int) -> bool:
    """Whether this annotator sees the second answer on the left: a coin for each annotator and pair."""
    return _draw(seed, "side", annotator, pair)[0] % 2 == 1


def _draw(seed: int, *names: str) -> bytes:
    return hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
