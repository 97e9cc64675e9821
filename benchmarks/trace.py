"""Builds an index for `bactrian trace` over a given amount of text and looks answers up in it.

    python benchmarks/trace.py [--mb 1000] [--data ../shared/data] [--queries 200] [--json FILE]

The text: paragraphs of the data at hand, again and again until there is enough, each time in another order and with a
twentieth of the words replaced by words drawn from all, so that nothing is periodic; a third of the paragraphs is made
of words drawn by their frequency. Answers have 300 words (about 400 tokens): drawn by frequency, with four passages of
12 to 40 words of the corpus in three of four answers, and the fourth copied whole. Every passage must be found. Times
are those of a warm file cache; the first look-ups after a start wait for the disk.

The last line is JSON: seconds to build, peak memory of the process, size on disk, and the p50, p99 and worst of the
look-ups in milliseconds.
"""

import argparse
import json
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bactrian.data.io.files import scan_rows
from bactrian.data.io.formats import Fault
from bactrian.data.overlap.trace.build import build
from bactrian.data.overlap.trace.corpus_index import CorpusIndex
from bactrian.data.overlap.trace.documents import TracedDocument
from bactrian.data.overlap.trace.traced_spans import trace

ANSWER_WORDS = 300
AT_HAND = ("*.jsonl", "*.jsonl.gz", "*.txt")
SHORTEST, PARAGRAPHS = 200, 60_000_000  # characters


class Writer:
    """Text like that at hand."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.paragraphs = list(paragraphs(folder)) or [
            "Nothing is at hand, so every paragraph is made of these words. " * 6
        ]
        counts = Counter(word for text in self.paragraphs[:20_000] for word in text.split())
        self.words = list(counts)
        self.weights = list(accumulate(counts.values()))

    def drawn(self, count: int) -> str:
        return " ".join(self.draw.choices(self.words, cum_weights=self.weights, k=count))

    def changed(self, text: str) -> str:
        """A twentieth of the words replaced."""
        words = text.split(" ")
        for place in self.draw.sample(range(len(words)), len(words) // 20):
            words[place] = self.draw.choice(self.words)
        return " ".join(words)

    def documents(self, size: int, kept: list[str]) -> Iterator[tuple[TracedDocument, str]]:
        """Documents of so many bytes in all; one in a few hundred is kept for answers."""
        made = number = 0
        order: list[str] = []
        while made < size:
            if not order:
                order = self.draw.sample(self.paragraphs, len(self.paragraphs))
            text = self.drawn(self.draw.randrange(40, 160)) if number % 3 == 0 else self.changed(order.pop())
            made += len(text.encode("utf-8", "surrogatepass"))
            if self.draw.random() < 2e5 / size and len(text.split()) > 60:
                kept.append(text)
            yield TracedDocument(str(number), "made", "MIT", "made", f"made, row {number}", "text"), text
            number += 1

    def answer(self, kept: list[str], whole: bool) -> tuple[str, list[str]]:
        """An answer and the passages in it."""
        if whole:
            words = " ".join(self.draw.choices(kept, k=12)).split()[:ANSWER_WORDS]
            return " ".join(words), []
        passages, parts = [], [self.drawn(50)]
        for _ in range(4):
            words = self.draw.choice(kept).split()
            size = self.draw.randrange(12, 41)
            first = self.draw.randrange(len(words) - size + 1)
            passages.append(" ".join(words[first : first + size]))
            parts += [passages[-1], self.drawn(35)]
        return " ".join(parts), passages


def paragraphs(folder: Path) -> Iterator[str]:
    """Long texts of the files at hand."""
    size = 0
    for pattern in AT_HAND:
        for file in sorted(folder.glob(pattern)):
            for row, _ in scan_rows(file, "paragraph"):
                if isinstance(row, Fault):
                    continue
                for value in row.values():
                    if isinstance(value, str) and len(value) >= SHORTEST:
                        yield value[:4000]
                        size += len(value)
            if size > PARAGRAPHS:
                return


def found_all(answer: str, passages: list[str], index: CorpusIndex) -> bool:
    """Whether every passage of at least eight words is within spans."""
    spans = trace(answer, index).spans
    for passage in passages:
        bare = re.sub(r"^\W+|\W+$", "", passage)
        start = answer.index(bare)
        if not any(span.start <= start and start + len(bare) <= span.end for span in spans):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=1000, help="megabytes (10^6) of text")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-mb", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary folder")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="trace-", dir=given.folder))
    try:
        measured = measure(given, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(measured))


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    writer = Writer(given.data, given.seed)
    kept: list[str] = []
    made_in = made_cpu = 0.0

    def timed(documents: Iterator[tuple[TracedDocument, str]]) -> Iterator[tuple[TracedDocument, str]]:
        """Making the text is not part of building the index."""
        nonlocal made_in, made_cpu
        while True:
            began, used = time.monotonic(), time.process_time()
            each = next(documents, None)
            made_in += time.monotonic() - began
            made_cpu += time.process_time() - used
            if each is None:
                return
            yield each

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, used = time.monotonic(), time.process_time()
    meta = build(
        timed(writer.documents(int(given.mb * 1e6), kept)), folder, folder / "scratch", "words", given.shard_mb << 20
    )
    seconds, cpu = time.monotonic() - began - made_in, time.process_time() - used - made_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = sum(shard.text for shard in meta.shards)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    a_gb = seconds / text * 1e9
    print(
        f"{text / 1e6:,.0f} MB in {len(meta.shards)} shards: {seconds:.1f} s ({a_gb:.0f} a GB), processor {cpu:.1f} s"
    )
    print(f"peak memory {peak / 2**20:.2f} GiB (before: {before / 2**20:.2f}), on disk {disk / text:.2f} bytes a byte")
    index = CorpusIndex(folder)
    answers = [writer.answer(kept, number % 4 == 3) for number in range(given.queries)]
    missed = sum(not found_all(answer, passages, index) for answer, passages in answers)
    times: list[float] = []
    spent: list[float] = []  # of the processor
    for answer, _ in answers:
        start, used = time.perf_counter(), time.process_time()
        trace(answer, index)
        times.append(1000 * (time.perf_counter() - start))
        spent.append(1000 * (time.process_time() - used))
    times.sort()
    spent.sort()
    p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"{len(times)} answers of {ANSWER_WORDS} words: p50 {p50:.1f} ms, p99 {p99:.1f} ms; {missed} missed a passage"
    )
    return {
        "mb": text / 1e6,
        "shards": len(meta.shards),
        "build_seconds": seconds,
        "build_cpu_seconds": cpu,
        "peak_gib": peak / 2**20,
        "disk_bytes_a_byte": disk / text,
        "query_p50_ms": p50,
        "query_p99_ms": p99,
        "query_worst_ms": times[-1],
        "query_cpu_p50_ms": spent[len(spent) // 2],
        "answers_with_a_passage_missed": missed,
    }


if __name__ == "__main__":
    main()
