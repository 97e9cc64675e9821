"""Answers with the spans that stand in training data underlined, and where each stands: what pages show of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bactrian.errors import BactrianError
from bactrian.report.formatting import count, percent
from bactrian.report.html import render
from bactrian.report.run_record import ReportedRun, ReportedStep

if TYPE_CHECKING:
    from bactrian.data.overlap.trace.corpus_index import CorpusIndex, TracedPlace
    from bactrian.data.overlap.trace.traced_spans import AnswerTrace, TracedSpan

STYLES, SCRIPTS = ("traced.css",), ("traced.js",)
TRACE_STAGE = "trace_index"


@dataclass(frozen=True)
class TracedPiece:
    """A piece of an answer. anchor: of the source of the rarest span that it is in, "" outside of any; ends: (anchor,
    number) of the spans that end with it."""

    text: str
    anchor: str
    ends: list[tuple[str, str]]


@dataclass(frozen=True)
class PlaceView:
    """A place in the training data in words."""

    document: str
    where: str
    licence: str
    verbatim: bool
    before: str
    text: str
    after: str


@dataclass(frozen=True)
class SourceView:
    """A span and its places; `more`: how many are not shown."""

    anchor: str
    number: str
    text: str
    words: str
    found: str
    places: list[PlaceView]
    more: str


@dataclass(frozen=True)
class TracedView:
    """An answer as pages show it."""

    pieces: list[TracedPiece]
    sources: list[SourceView]
    summary: str


def traced_view(answer: AnswerTrace, prefix: str) -> TracedView:
    """`prefix` tells the anchors of this answer from those of others on the page."""
    from bactrian.data.overlap.trace.traced_spans import pieces

    anchors = [f"{prefix}-{number}" for number in range(1, len(answer.spans) + 1)]
    shown, at = [], 0
    for text, inside in pieces(answer):
        at += len(text)
        rarest = max(inside, key=lambda number: answer.spans[number].rarity, default=None)
        ends = [(anchors[number], str(number + 1)) for number in inside if answer.spans[number].end == at]
        shown.append(TracedPiece(text, "" if rarest is None else anchors[rarest], ends))
    sources = [
        _source(span, anchor, str(number))
        for number, (span, anchor) in enumerate(zip(answer.spans, anchors, strict=True), 1)
    ]
    return TracedView(shown, sources, summary(answer))


def summary(answer: AnswerTrace) -> str:
    """How much of an answer stands in training data, in a line."""
    if not answer.spans:
        return "no span of it stands in the training data"
    spans = "1 span" if len(answer.spans) == 1 else f"{count(len(answer.spans))} spans"
    words = f"{count(answer.covered)} of {count(answer.words)} words ({percent(answer.share)})"
    return f"{spans}, {words}, in the training data"


def _source(span: TracedSpan, anchor: str, number: str) -> SourceView:
    found = "once" if span.count == 1 else f"{count(span.count)} times"
    more = span.count - len(span.places)
    places = [_place(place, span.text) for place in span.places]
    return SourceView(anchor, number, span.text, count(span.words), found, places, count(more) if more > 0 else "")


def _place(place: TracedPlace, text: str) -> PlaceView:
    document = place.document
    role = f", {document.role}" if document.role else ""
    where = f"{document.data}: {document.where}, {document.field}{role}, characters {place.start:,}–{place.end:,}"
    name = f"{document.id} of {document.source}"
    same = place.text == text
    return PlaceView(name, where, document.licence, same, place.before, place.text, place.after)


class RunTraces:
    """The index that a run's last step `trace_index` left, for the answers that its report shows.

    caption: what is said of it; "" for a run without such a step.
    """

    def __init__(self, run: ReportedRun) -> None:
        self.caption, self.answers = "", 0
        self._index: CorpusIndex | None = None
        if made := [step for step in run.steps if step.record.stage == TRACE_STAGE]:
            self._open(made[-1])

    def _open(self, step: ReportedStep) -> None:
        from bactrian.data.overlap.trace.corpus_index import CorpusIndex
        from bactrian.data.overlap.trace.traced_spans import LEAST_WORDS

        if step.folder is None or step.note:
            self.caption = f"Answers are not traced: step {step.name} {step.note or 'left no index'}."
            return
        try:
            self._index = CorpusIndex(step.folder)
        except BactrianError as error:
            self.caption = f"Answers are not traced: {error}."
            return
        self.caption = (
            f"Underlined in answers: spans of at least {LEAST_WORDS} words that stand in the training data "
            f"(step {step.name}). Choose one to see where."
        )

    def view(self, text: str) -> TracedView | None:
        """A view of an answer, if a span of it stands in the data."""
        if self._index is None:
            return None
        from bactrian.data.overlap.trace.traced_spans import trace

        found = trace(text, self._index, places=3)
        if not found.spans:
            return None
        self.answers += 1
        return traced_view(found, f"traced-{self.answers}")


def write_trace_page(answers: list[tuple[str, AnswerTrace]], corpus: str, least: int, target: Path) -> Path:
    """Write the page on some answers, each with its name; `corpus`: what the index is called.

    Raises:
        BactrianError: the page cannot be written.
    """
    content = {
        "corpus": corpus,
        "least": least,
        "answers": [(name, traced_view(found, f"a{number}")) for number, (name, found) in enumerate(answers, 1)],
    }
    page = render("trace_page.html.j2", ("style.css", *STYLES), SCRIPTS, content)
    try:
        target.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise BactrianError(f"{target}: cannot be written ({error.strerror})") from None
    return target
