"""In the chat console: which spans of an answer stand in the training data, and their sources on request."""

from __future__ import annotations

from typing import TextIO

from bactrian.data.overlap.trace.corpus_index import CorpusIndex
from bactrian.data.overlap.trace.traced_spans import AnswerTrace, trace
from bactrian.progress import printable, say
from bactrian.report.traced import summary, traced_view

UNDERLINED, AS_BEFORE = "\x1b[4m", "\x1b[24m"
PLACES = 3


class TracedAnswers:
    """Traces each answer of a conversation. `/source N` shows where span N of the last answer stands."""

    def __init__(self, index: CorpusIndex, least: int, target: TextIO) -> None:
        self.index, self.least, self.target = index, least, target
        self.on, self.off = (UNDERLINED, AS_BEFORE) if target.isatty() else ("_", "_")
        self.last: AnswerTrace | None = None

    def show(self, answer: str) -> None:
        """The answer's spans, if any, underlined and numbered, each with its first source."""
        self.last = trace(answer, self.index, self.least, PLACES)
        say(f"trace: {summary(self.last)}" + ("; /source NUMBER shows where" if self.last.spans else ""))
        for number, span in enumerate(self.last.spans, 1):
            place = span.places[0]
            found = f"{span.words} words, {span.count:,} times, first in {place.document.data}: {place.document.where}"
            self._write(f"[{number}] {self._underlined(span.text)}\n    {found} ({place.document.licence})\n")

    def source(self, wanted: str) -> None:
        """The places of a span by its number."""
        spans = self.last.spans if self.last is not None else ()
        if self.last is None or not wanted.isdecimal() or not 1 <= int(wanted) <= len(spans):
            say(
                f"/source: found {wanted!r}, expected "
                + (f"a number from 1 to {len(spans)}" if spans else "spans first")
            )
            return
        source = traced_view(self.last, "span").sources[int(wanted) - 1]
        for place in source.places:
            same = "" if place.verbatim else "; case or white space differ"
            self._write(f"{printable(place.document)} · {printable(place.where)} · {printable(place.licence)}{same}\n")
            self._write(f"{printable(place.before)}{self._underlined(place.text)}{printable(place.after)}\n\n")

    def _underlined(self, text: str) -> str:
        return f"{self.on}{printable(text)}{self.off}"

    def _write(self, text: str) -> None:
        self.target.write(text)
        self.target.flush()
