"""Rows that models made, kept and dropped, as the page on data shows them: prompt → answers → verdict.

A bounded sample: rows of a set that is not small would freeze a browser. Of each reason some are drawn, so that a rare
one is there to look at.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from bactrian.data.io.formats import Fault
from bactrian.data.io.survey import usable_rows
from bactrian.data.io.texts import prompt_text
from bactrian.report.formatting import count, shorten

DROPPED, KEPT = "dropped.jsonl", "kept.jsonl"
KEPT_SHOWN, DROPPED_SHOWN, OF_REASON = 300, 900, 60
MOST_REASONS = 100
LONGEST = 2_000  # characters of one text
SHORT = 160
OTHER = "(other reasons)"
T = TypeVar("T")


@dataclass(frozen=True)
class ShownText:
    """One text of an entry: what it is, whose, what was said of it."""

    what: str
    text: str
    cut: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class MadeEntry:
    """One row, or what was to become one; reason "" of a kept one."""

    name: str
    reason: str
    verdict: str
    model: str
    template: str
    prompt: ShownText | None
    answers: list[ShownText]
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class MadeRows:
    """The sample, and what it is one of; the lists are (name, how many of the sample, of all)."""

    entries: list[MadeEntry]
    kept: str
    dropped: str
    kept_shown: int
    dropped_shown: int
    reasons: list[tuple[str, int, str]]
    models: list[tuple[str, int]]
    templates: list[tuple[str, int]]

    @cached_property
    def reason_codes(self) -> dict[str, int]:
        """Reason → its place in the list, by which the page filters: no text of others is in an attribute."""
        return {reason: place for place, (reason, _, _) in enumerate(self.reasons)}

    @cached_property
    def model_codes(self) -> dict[str, int]:
        """The same for models; further ones than the list has cannot be chosen."""
        return {name: place for place, (name, _) in enumerate(self.models)}

    @cached_property
    def template_codes(self) -> dict[str, int]:
        """The same for templates."""
        return {name: place for place, (name, _) in enumerate(self.templates)}


def made_rows(path: Path) -> MadeRows | None:
    """The rows of an artifact that a stage of synthesis made; None for any other data."""
    if not path.is_dir() or not (path / "data.parquet").is_file():
        return None
    kept, total, asked = _kept_rows(path)
    if not (path / DROPPED).is_file() and not any(_is_made(row) for _, row in kept):
        return None
    entries = [_kept_entry(row, asked.get(number, {})) for number, row in kept]
    lines, reasons = _dropped_lines(path / DROPPED)
    entries += [_dropped_entry(line) for line in lines]
    shown = Counter(entry.reason for entry in entries if entry.reason)
    return MadeRows(
        entries,
        count(total),
        count(reasons.total()),
        len(kept),
        len(lines),
        [(reason, shown[reason], count(number)) for reason, number in reasons.most_common()],
        Counter(entry.model for entry in entries if entry.model).most_common(MOST_REASONS),
        Counter(entry.template for entry in entries if entry.template).most_common(MOST_REASONS),
    )


def _is_made(row: Mapping[str, Any]) -> bool:
    return any(isinstance(row.get(name), (Mapping, list)) for name in ("made_by", "votes", "constraints"))


def _kept_rows(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], int, dict[int, dict[str, Any]]]:
    """(number, row) of KEPT_SHOWN rows in order, how many there are, and by number what was asked for them."""
    total = 0

    def counted() -> Iterator[tuple[int, dict[str, Any]]]:
        nonlocal total
        for row in usable_rows(path):
            if not isinstance(row, Fault):
                yield total, row
                total += 1

    drawn = sorted(_drawn(counted(), KEPT_SHOWN, random.Random(0)), key=lambda item: item[0])
    wanted = {number for number, _ in drawn}
    asked = {number: line for number, line in enumerate(_lines(path / KEPT)) if number in wanted}
    return drawn, total, asked


def _drawn(items: Iterable[T], most: int, draw: random.Random) -> list[T]:
    """`most` of the items, each with the same chance."""
    taken: list[T] = []
    for number, item in enumerate(items, 1):
        if len(taken) < most:
            taken.append(item)
        elif (place := draw.randrange(number)) < most:
            taken[place] = item
    return taken


def _dropped_lines(path: Path) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Some lines of each reason, in the order of the file, and how many lines each reason has."""
    counts: Counter[str] = Counter(shorten(_text(line.get("reason")), SHORT) for line in _lines(path))
    named = {reason for reason, _ in counts.most_common(MOST_REASONS)}
    most = max(1, min(OF_REASON, DROPPED_SHOWN // max(1, len(named))))
    draw = random.Random(0)
    drawn: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    seen: Counter[str] = Counter()
    for number, line in enumerate(_lines(path)):
        reason = shorten(_text(line.get("reason")), SHORT)
        reason = reason if reason in named else OTHER
        seen[reason] += 1
        taken = drawn.setdefault(reason, [])
        if len(taken) < most:
            taken.append((number, {**line, "reason": reason}))
        elif (place := draw.randrange(seen[reason])) < most:
            taken[place] = number, {**line, "reason": reason}
    ordered = sorted((each for taken in drawn.values() for each in taken), key=lambda item: item[0])
    return [line for _, line in ordered], seen


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that are JSON objects; a line that is none is shown as what it is."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            yield found if isinstance(found, dict) else {"answer": f"line {number}", "reason": "(a damaged line)"}


def _kept_entry(row: Mapping[str, Any], asked: Mapping[str, Any]) -> MadeEntry:
    by = row.get("made_by")
    by = by if isinstance(by, Mapping) else {}
    votes = row.get("votes")
    votes = votes if isinstance(votes, Mapping) else {}
    pair = " / ".join(_text(by[name]) for name in ("chosen_model", "rejected_model") if by.get(name))
    model = _text(by.get("instances_model") or by.get("model") or votes.get("model")) or pair
    prompt, answers = _kept_texts(row, asked)
    mended = asked.get("mended")
    facts = [("mended", ", ".join(map(_text, mended)))] if isinstance(mended, list) and mended else []
    facts += [
        (name, shorten(_text(row[name]), SHORT))
        for name in ("ground_truth", "dataset", "source", "license")
        if row.get(name)
    ]
    facts += [
        (name, shorten(_text(by[name]), SHORT))
        for name in ("persona", "seed", "draw")
        if by.get(name) not in (None, "")
    ]
    template = _text(by.get("template") or asked.get("template"))
    return MadeEntry(
        _short(row.get("id")), "", _kept_verdict(row, votes), _short(model), _short(template), prompt, answers, facts
    )


def _kept_texts(row: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[ShownText | None, list[ShownText]]:
    """What was asked, and what came of it. Where the asking is not on record, the row's own prompt stands for it."""
    turns = row.get("messages") if isinstance(row.get("messages"), list) else []
    said = [_shown(_text(turn.get("role")), turn.get("content")) for turn in turns or () if isinstance(turn, Mapping)]
    answers = [_shown(name, row[name]) for name in ("solution", "text") if isinstance(row.get(name), str)]
    for side in ("chosen", "rejected"):
        found = row.get(side)
        for turn in found if isinstance(found, list) else ():
            answers.append(_shown(side, turn.get("content")))
    if asked.get("prompt"):
        return _shown("asked of the generator", asked["prompt"]), [*said, *answers]
    if isinstance(row.get("task"), str):
        return _shown("the task", row["task"]), [*said, *answers]
    if answers or len(said) > 1:
        return _shown("prompt", prompt_text(row)), [*(each for each in said if each.what == "assistant"), *answers]
    return None, said


def _kept_verdict(row: Mapping[str, Any], votes: Mapping[str, Any]) -> str:
    sizes = votes.get("sizes")
    if isinstance(sizes, list) and sizes:
        return f"kept: {sizes[0]} of {votes.get('voters')} answers agree"
    if row.get("broken"):
        return f"kept: chosen keeps to all constraints, rejected breaks: {shorten(_text(row['broken']), SHORT)}"
    constraints = row.get("constraints")
    if isinstance(constraints, list) and constraints:
        names = (_text(each.get("name")) for each in constraints if isinstance(each, Mapping))
        return f"kept, with {', '.join(names)}"
    judged = row.get("judged_by")
    if isinstance(judged, Mapping) and judged.get("score") is not None:
        return f"kept: score {_text(judged['score'])} by {_short(judged.get('judge'))}"
    return "kept"


def _dropped_entry(line: Mapping[str, Any]) -> MadeEntry:
    reason, detail = _text(line.get("reason")), _text(line.get("detail"))
    prompt = _shown("asked", line["prompt"]) if line.get("prompt") else None
    answers = [_shown("answer", line["text"])] if line.get("text") else []
    several = line.get("answers")
    for each in several if isinstance(several, list) else ():
        if isinstance(each, Mapping):
            what = " · ".join(_short(each[name]) for name in ("model", "of") if each.get(name)) or "answer"
            answers.append(_shown(what, each.get("text"), _short(each.get("verdict"))))
    verdict = f"dropped: {reason}{f' ({shorten(detail, 300)})' if detail else ''}"
    model, template = _short(line.get("model")), _short(line.get("template"))
    return MadeEntry(_short(line.get("answer")), reason, verdict, model, template, prompt, answers, [])


def _shown(what: str, value: Any, verdict: str = "") -> ShownText:
    text = _text(value)
    more = len(text) - LONGEST
    return ShownText(what, text[:LONGEST], f"{count(more)} more characters" if more > 0 else "", verdict)


def _short(value: Any) -> str:
    return shorten(_text(value), SHORT)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else str(value)
