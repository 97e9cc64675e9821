"""Stage `mine`: segments of a corpus that a model recites."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, SamplingLoad, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.chat.plain_text import PlainText
    from bactrian.data.io.journal import Journal
    from bactrian.data.io.tally import Tally
    from bactrian.generate.engine import Engine
    from bactrian.generate.mining import CorpusSegment, Cut
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
Candidate = tuple["CorpusSegment", Row]
ROUNDS = 16
"""A part of the corpus that is asked at once, and kept whole, has so many documents for each row side by side."""
MINED = "mined.json"


class Mine(Stage):
    """Segments that a model has memorised: it is shown their first tokens and writes the rest [ParaPO].

    Each document's first `prefix` tokens are shown, and the model writes `suffix` tokens greedily; the score is the
    longest common subsequence with those that follow in the document. The corpus is streamed; segments that are alike
    are asked once, with `copies` counted. A killed run goes on after the last part of the corpus that was finished.
    """

    name: ClassVar[str] = "mine"
    makes: ClassVar[Kind] = Kind.DATA

    model: ModelRef = Field(description="the model that is looked into; its tokenizer counts tokens")
    corpus: DataRef = Field(description="text rows; of other rows all that they say")
    prefix: int = Field(64, ge=1, description="tokens that are shown")
    suffix: int = Field(32, ge=1, description="tokens that are held against what the model writes")
    stride: int | None = Field(None, ge=1, description="tokens between a document's segments; null: only its first")
    skip: int = Field(0, ge=0, description="documents left out at the beginning, such as those mined elsewhere")
    limit: int | None = Field(None, ge=1, description="documents, after those skipped")
    top: int | None = Field(16_000, ge=1, description="segments kept, of the highest scores; null: all")
    minimum: int = Field(24, ge=0, description="lowest score that is kept, of `suffix`")
    random: bool = Field(False, description="ablation: segments at random places instead; no model is asked")
    long: int = Field(2000, ge=0, description="characters that a document must have more of, where random")
    rows_at_once: int = Field(128, ge=1, description="segments that the model goes on from side by side")

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.minimum > self.suffix:
            raise ValueError(f"minimum: found {self.minimum}, more than the {self.suffix} tokens of suffix")
        if self.random and self.stride is not None:
            raise ValueError("stride: found it with random, which takes one segment of each document")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.tally import Tally
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say

        tally, found = Tally(), MinedSegments(self.top, None if self.random else self.minimum, workspace.seed)
        with Journal(workspace.scratch / "mined.jsonl") as journal:
            self._look_through(workspace, journal, tally, found)
        kept = found.rows()
        if not kept and not found.copies:
            behind = f" behind the {self.skip:,} texts that are skipped" if self.skip else ""
            tokens = self.prefix + self.suffix
            raise BactrianError(f"mine: {self.corpus}: found no segment of {tokens} tokens{behind}\n{tally}")
        if not kept:
            raise BactrianError(f"mine: no segment scores {self.minimum} or more of {self.suffix}\n{tally}")
        with RowWriter(workspace.output, f"# Mined segments\n\n```\n{tally}\n```") as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        self._account(workspace, found, tally)
        workspace.metrics.update(segments=float(len(found.scores)), kept=float(len(kept)))
        say(f"mine: {len(found.scores):,} segments, {len(kept):,} kept; {tally}")

    def _cut(self) -> "Cut":
        from bactrian.generate.mining import Cut

        return Cut(self.prefix, self.suffix, self.stride, self.random, self.long)

    def _look_through(self, workspace: "Workspace", journal: "Journal", tally: "Tally", found: "MinedSegments") -> None:
        """Every segment of the corpus, each text of one once, with the number of its copies."""
        from bactrian.chat.plain_text import PlainText
        from bactrian.model.language_model import load_tokenizer
        from bactrian.progress import progress

        opened: list[Engine] = []
        plain = PlainText(load_tokenizer(workspace.input(self.model).path))
        with progress("mine", unit="segment") as bar:
            for number, part in enumerate(self._parts(workspace, plain, tally)):
                fresh = [(segment, row) for segment, row in part if found.is_new(segment.key())]
                if self.random:
                    for _, row in fresh:
                        found.add(0, row)
                elif fresh:
                    if str(number) not in journal.found:
                        journal.put(str(number), self._asked(workspace, opened, plain, [each for each, _ in fresh]))
                    scores, written = journal.found[str(number)]
                    for place, ((_, row), each) in enumerate(zip(fresh, scores, strict=True)):
                        said = plain.text(written.get(str(place), ()))
                        found.add(each, {**row, "score": each, "written": said})
                bar.advance(len(fresh))

    def _parts(
        self, workspace: "Workspace", plain: "PlainText", tally: "Tally"
    ) -> "Iterator[list[tuple[CorpusSegment, Row]]]":
        """The segments of the corpus with their rows, a part at a time."""
        from itertools import islice

        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.texts import whole_text
        from bactrian.generate.mining import segments_of

        path = workspace.input(self.corpus).path
        stop = None if self.limit is None else self.skip + self.limit
        part: list[Candidate] = []
        rows = (complete_row(row, path.name) for row, _ in islice(stream_rows(path), self.skip, stop))
        for number, row in enumerate(rows):
            document = str(row["id"]), whole_text(row)
            segments = segments_of(plain, document, number, self._cut(), workspace.seed)
            if segments:
                tally.keep()
            else:
                tally.drop(f"fewer than {self.prefix + self.suffix} tokens, or too short", str(row["id"]))
            part += [(segment, self._row(row, segment, plain)) for segment in segments]
            if len(part) >= ROUNDS * self.rows_at_once:
                yield part
                part = []
        if part:
            yield part

    def _row(self, document: Row, segment: "CorpusSegment", plain: "PlainText") -> Row:
        return {
            "id": f"{document['id']}:{segment.start}",
            "text": plain.text(segment.ids),
            "shown": plain.text(segment.ids[: self.prefix]),
            "source": document["source"],
            "license": document["license"],
            "document": str(document["id"]),
            "start": segment.start,
        }

    def _asked(
        self, workspace: "Workspace", opened: "list[Engine]", plain: "PlainText", segments: "list[CorpusSegment]"
    ) -> tuple[list[int], dict[int, tuple[int, ...]]]:
        """The score of each segment; and what was written, by place, of those that may be kept."""
        from bactrian.generate.engines import open_engine
        from bactrian.generate.mining import recitals, score

        if not opened:
            path = workspace.input(self.model).path
            opened.append(open_engine(path, workspace.hardware, rows=self.rows_at_once))
        written = recitals(opened[0], plain, segments, self.prefix)
        scores = [score(segment, self.prefix, said) for segment, said in zip(segments, written, strict=True)]
        return scores, {place: said for place, said in enumerate(written) if scores[place] >= self.minimum}

    def _account(self, workspace: "Workspace", found: "MinedSegments", tally: "Tally") -> None:
        """mined.json: how many segments have which score, and what those score that have so many copies."""
        import json

        from bactrian.data.io.tally import write_account

        told = {"prefix": self.prefix, "suffix": self.suffix, "scores": found.histogram(), "copies": found.by_copies()}
        (workspace.output / MINED).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        write_account(workspace.output, tally)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.corpus, Facts())
        rows = min(max(0, data.rows - self.skip), self.limit or data.rows)
        size = self.prefix + self.suffix
        if self.stride is not None and data.tokens_per_row > size:
            rows = int(rows * (1 + (data.tokens_per_row - size) / self.stride))
        made = Facts(rows=min(rows, self.top or rows), tokens_per_row=float(size))
        if self.random:
            return Forecast(makes=made)
        model = inputs.get(self.model, Facts())
        load = SamplingLoad(model.parameters, rows, self.suffix, self.suffix, rows, self.prefix, active=model.active)
        return Forecast(load.all_tokens, load.flops, 4.0 * model.parameters + 1e9, made, sampling=(load,))


class MinedSegments:
    """What was found so far: of every segment its score and its copies, and the rows of those that may be kept.

    minimum: lowest score that is kept; None: any, drawn at random.
    """

    def __init__(self, top: int | None, minimum: int | None, seed: int) -> None:
        from array import array

        self.top, self.minimum, self.seed = top, minimum, seed
        self.scores, self.copies = array("i"), array("l")
        self._number: dict[int, int] = {}
        self._kept: dict[int, Row] = {}

    def is_new(self, key: int) -> bool:
        """Whether no segment of this key came before; else one copy more of it is counted."""
        number = self._number.setdefault(key, len(self._number))
        if number < len(self.copies):
            self.copies[number] += 1
            return False
        self.copies.append(1)
        return True

    def add(self, score: int, row: Row) -> None:
        """The next of the new segments, in the order in which they were found to be new."""
        number = len(self.scores)
        self.scores.append(score)
        if self.minimum is None or score >= self.minimum:
            self._kept[number] = row
        if self.top is not None and len(self._kept) > 2 * self.top:
            self._prune()

    def _prune(self) -> None:
        best = sorted(self._kept, key=self._rank)[: self.top]
        self._kept = {number: self._kept[number] for number in best}

    def _rank(self, number: int) -> tuple[float, int]:
        """The highest score first, among equals the earlier."""
        from random import Random

        first = Random(f"mine/{self.seed}/{number}").random() if self.minimum is None else -self.scores[number]
        return float(first), number

    def rows(self) -> list[Row]:
        """Those kept, with their copies."""
        self._prune()
        return [{**row, "copies": self.copies[number]} for number, row in self._kept.items()]

    def histogram(self) -> dict[str, int]:
        """Score → segments."""
        from collections import Counter

        counted = Counter(self.scores)
        return {str(score): counted[score] for score in sorted(counted)}

    def by_copies(self) -> dict[str, dict[str, float]]:
        """Copies → how many segments have so many, and their mean score."""
        groups: dict[int, list[int]] = {}
        for score, copies in zip(self.scores, self.copies, strict=True):
            groups.setdefault(copies, []).append(score)
        return {
            str(copies): {"segments": len(mine), "mean": sum(mine) / len(mine)}
            for copies, mine in sorted(groups.items())
        }
