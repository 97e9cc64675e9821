"""Unseen data known by their content, whatever the file is called and however its rows are laid out.

Of each item of an unseen task a few hashes are kept, never a word: the smallest hashes of its 8-grams, or, of an item
of fewer than eight words, the hash of all of them. A row holds an item if it holds most of the item's hashes, in
whatever column, order or layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bactrian.data.overlap.whole import text_hashes
from bactrian.data.overlap.words import I64, U64, gram_hashes, split, whole_grams, word_hashes
from bactrian.evaluate.task import Row

GRAM = 8
KEPT = 4
"""Hashes of an item; it is found by more than half of them."""
ITEMS, LEAST, SHARE, MOST = 5, 2, 0.01, 0.5
"""Items from which rows are unseen data: so many; or so few, if they are this share of the rows; or one, if it is half.
Items of fewer than eight words are found by chance: of them it is the share that counts."""
LONGEST_LINE = 200
"""Characters of a line that may be an item of fewer than eight words."""
BATCH = 400_000
"""Characters that are looked at together."""


@dataclass(frozen=True)
class Marks:
    """Hashes of some tasks' items.

    grams [N, KEPT]: of long items, 0 where one has fewer; gram_task [N]: the number of its task in `tasks`.
    short [M]: of items of fewer than eight words, rising; short_task [M].
    """

    tasks: tuple[str, ...]
    grams: U64
    gram_task: I64
    short: U64
    short_task: I64

    @cached_property
    def sorted_grams(self) -> tuple[U64, I64]:
        """Every hash, rising, and the item that it is of."""
        items = np.repeat(np.arange(len(self.grams)), KEPT)
        flat = self.grams.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[flat[order] != 0]
        return flat[order], items[order]

    @cached_property
    def needed(self) -> I64:
        """How many of its hashes a row must hold for each item."""
        found: I64 = (self.grams != 0).sum(axis=1) // 2 + 1
        return found

    def as_json(self) -> dict[str, str]:
        """Of one task: its hashes as hexadecimal digits."""
        return {
            "task": self.tasks[0],
            "grams": self.grams.astype("<u8").tobytes().hex(),
            "short": self.short.astype("<u8").tobytes().hex(),
        }

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Marks:
        """What `as_json` wrote.

        Raises:
            ValueError: for what is not that.
            KeyError: for what is not that.
        """
        grams = np.frombuffer(bytes.fromhex(given["grams"]), "<u8").astype(np.uint64).reshape(-1, KEPT)
        short = np.frombuffer(bytes.fromhex(given["short"]), "<u8").astype(np.uint64)
        return cls((given["task"],), grams, np.zeros(len(grams), np.int64), short, np.zeros(len(short), np.int64))


@dataclass
class UnseenMatches:
    """What some rows hold: task → items, and rows that hold one. Long items and short ones apart."""

    rows: int = 0
    items: dict[str, set[int]] = field(default_factory=dict)
    short: dict[str, set[int]] = field(default_factory=dict)
    holding: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, int]:
        """Task → items, of those tasks of which these rows hold more than chance would."""
        told = {}
        for task in sorted(self.holding):
            long, rows = len(self.items.get(task, ())), self.holding[task]
            items, share = long + len(self.short.get(task, ())), rows / self.rows
            few = min(items, rows) >= LEAST and share >= SHARE
            if min(long, rows) >= ITEMS or few or share >= MOST:
                told[task] = items
        return told


def marks_of(task: str, rows: Iterable[Row], columns: Sequence[str]) -> Marks:
    """The hashes of a task's items, by the columns that say what is asked. What many items share marks none of them."""
    asked = [(str(row[name]), item) for item, row in enumerate(rows) for name in columns if row.get(name)]
    words, items = split([text for text, _ in asked]), np.array([item for _, item in asked], np.int64)
    inside, owner = whole_grams(words, GRAM), items[words.text] if len(asked) else items
    grams = gram_hashes(word_hashes(words), GRAM)[inside]
    pairs = np.unique(np.stack([owner[: len(inside)][inside].astype(np.uint64), grams], axis=1), axis=0)
    _, which, times = np.unique(pairs[:, 1], return_inverse=True, return_counts=True)
    mine: dict[int, list[tuple[bool, int]]] = {}
    for (item, gram), count in zip(pairs.tolist(), times[which].tolist(), strict=True):
        mine.setdefault(item, []).append((count > 2, gram))
    kept = [[gram for _, gram in sorted(found)[:KEPT]] for found in mine.values()]
    table = np.array([[*found, *[0] * (KEPT - len(found))] for found in kept], np.uint64).reshape(-1, KEPT)
    lengths = np.bincount(words.text, minlength=len(asked))
    brief = [
        text
        for (text, item), length in zip(asked, lengths.tolist(), strict=True)
        if 2 < length < GRAM and item not in mine
    ]
    short = np.unique(text_hashes(split(brief))) if brief else np.zeros(0, np.uint64)
    table = np.unique(table, axis=0)
    return Marks((task,), table, np.zeros(len(table), np.int64), short, np.zeros(len(short), np.int64))


def together(several: Sequence[Marks]) -> Marks:
    """The marks of several tasks as one."""
    tasks = tuple(dict.fromkeys(task for marks in several for task in marks.tasks))
    number = [np.array([tasks.index(task) for task in marks.tasks], np.int64) for marks in several]
    if not several:
        return Marks(
            (), np.zeros((0, KEPT), np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
        )
    grams = np.concatenate([marks.grams for marks in several])
    gram_task = np.concatenate([mine[marks.gram_task] for mine, marks in zip(number, several, strict=True)])
    short = np.concatenate([marks.short for marks in several])
    short_task = np.concatenate([mine[marks.short_task] for mine, marks in zip(number, several, strict=True)])
    grams, first = np.unique(grams, axis=0, return_index=True)
    short, first_short = np.unique(short, return_index=True)
    return Marks(tasks, grams, gram_task[first], short, short_task[first_short])


def look_through(rows: Iterable[Mapping[str, Any]], marks: Marks) -> UnseenMatches:
    """What rows of any layout hold of unseen items. Streams: a batch of rows at a time."""
    found, batch, size = UnseenMatches(), list[list[str]](), 0
    for row in rows:
        batch.append(list(texts_in(row)))
        size += sum(map(len, batch[-1]))
        if size > BATCH:
            _look(batch, marks, found)
            batch, size = [], 0
    if batch:
        _look(batch, marks, found)
    return found


def texts_in(value: Any) -> Iterable[str]:
    """Every text in a row, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in ("id", "source", "license", "role"):
                yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _look(batch: Sequence[Sequence[str]], marks: Marks, found: UnseenMatches) -> None:
    held: set[tuple[int, str]] = set()
    for row, item in _long_items(batch, marks):
        task = marks.tasks[marks.gram_task[item]]
        found.items.setdefault(task, set()).add(item)
        held.add((row, task))
    for row, item in _short_items(batch, marks):
        task = marks.tasks[marks.short_task[item]]
        found.short.setdefault(task, set()).add(item)
        held.add((row, task))
    found.rows += len(batch)
    found.holding.update(task for _, task in held)


def _long_items(batch: Sequence[Sequence[str]], marks: Marks) -> Iterator[tuple[int, int]]:
    """(row, item) for each item of which a row holds enough hashes."""
    words = split(["\n".join(texts) for texts in batch])
    inside = whole_grams(words, GRAM)
    values, rows = gram_hashes(word_hashes(words), GRAM)[inside], words.text[: len(inside)][inside]
    known, items = marks.sorted_grams
    first, last = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    hits = {
        (int(rows[at]), int(items[k]), int(values[at]))
        for at in np.flatnonzero(last > first).tolist()
        for k in range(first[at], last[at])
    }
    for (row, item), count in Counter((row, item) for row, item, _ in hits).items():
        if count >= marks.needed[item]:
            yield row, item


def _short_items(batch: Sequence[Sequence[str]], marks: Marks) -> Iterator[tuple[int, int]]:
    """(row, item) for each item that is a line of a row."""
    lines = [
        (line, row)
        for row, texts in enumerate(batch)
        for text in texts
        for line in text.splitlines()
        if len(line) <= LONGEST_LINE
    ]
    if not lines or not len(marks.short):
        return
    hashes = text_hashes(split([line for line, _ in lines]))
    at = np.minimum(np.searchsorted(marks.short, hashes), len(marks.short) - 1)
    for line in np.flatnonzero(marks.short[at] == hashes).tolist():
        yield lines[line][1], int(at[line])
