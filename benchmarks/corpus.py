"""Documents a second of tagging and curating, against the `dolma` package (Rust core) on the same documents and rules.

    python benchmarks/corpus.py [--data ../shared/data] [--documents 20000] --peer /path/to/python-with-dolma

Documents are real texts, in pieces of about 350 words; one in twenty comes again under the same URL, one in ten ends
in a line that others have too. Both sides read the same documents/*.jsonl.gz with one worker: taggers `gopher_v1` and
`c4_v1`, then one document a URL, one line of each kind (Bloom filters), bounds on fourteen of Gopher's numbers, and
lines cut by C4's. First it is checked that both say the same. The last line is JSON.
"""

import argparse
import gzip
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus_peer import RULES, PeerClock

from bactrian.data.io.files import read_rows, stream_rows
from bactrian.stages.data.curate import Curate
from bactrian.stages.data.tag import Tag
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

TEXTS = (
    "c4_demo.jsonl",
    "speeches_and_genesis.jsonl.gz",
    "gutenberg_books.jsonl.gz",
    "wiki_demo.txt",
    "wikitext2_valid.txt",
)
WORDS = 350
FILE = 2_000
FOOTERS = [f"All rights reserved by the owners of site number {number}." for number in range(40)]


def main() -> None:
    """Make the documents, run both sides, compare, print."""
    options = arguments()
    if options.ours is not None:
        print(json.dumps(ours(options.ours)))
        return
    folder = Path(tempfile.mkdtemp(prefix="corpus-")) if options.work is None else options.work
    count = make_documents(options.data, options.documents, folder / "documents")
    here = Path(__file__)
    laps = {
        "ours": ran([sys.executable, str(here), "--ours", str(folder)]),
        "peer": ran([str(options.peer), str(here.with_name("corpus_peer.py")), str(folder)]),
    }
    found: dict[str, Any] = {"documents": count, **agreement(folder), "laps": laps}
    for clock in ("seconds", "processor"):
        totals = {side: sum(lap[clock] for lap in parts.values()) for side, parts in laps.items()}
        found |= {f"documents_a_{clock}_{side}": round(count / total, 1) for side, total in totals.items()}
        found[f"ratio_{clock}"] = round(totals["peer"] / totals["ours"], 2)
    print(f"{found['ratio_seconds']} times the documents a second of dolma")
    print(json.dumps(found))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of texts")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--peer", type=Path, help="a Python that has dolma 1.2.1")
    parser.add_argument("--work", type=Path, help="an empty folder; by default a new one")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def ran(command: list[str]) -> dict[str, dict[str, float]]:
    """The last line of what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    laps: dict[str, dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return laps


def pieces(data: Path) -> Iterator[str]:
    """Texts of about WORDS words, with their lines."""
    held: list[str] = []
    words = 0
    for name in TEXTS:
        for row, _ in stream_rows(data / name):
            for line in str(row["text"]).splitlines():
                held.append(line)
                words += len(line.split())
                if words >= WORDS:
                    yield "\n".join(held)
                    held, words = [], 0


def make_documents(data: Path, count: int, folder: Path) -> int:
    """Write documents in Dolma's layout; texts that come again do so with other lines in between. Returns how many."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(pieces(data))
    documents: list[dict[str, Any]] = []
    for number in range(count):
        if documents and draw.random() < 0.05:
            again = draw.choice(documents)
            documents.append({**again, "id": f"d{number}"})
            continue
        lines = texts[number % len(texts)].splitlines()
        if number >= len(texts):  # no line of an earlier round but with other words
            lines = [" ".join([*line.split(), f"{number}."]) for line in lines if line.strip()]
            draw.shuffle(lines)
        lines += [draw.choice(FOOTERS)] if draw.random() < 0.1 else []
        lines += ["Read more"] if draw.random() < 0.1 else []
        url = f"http://site{number}.org/page"
        text = "\n".join(lines)
        documents.append({"id": f"d{number}", "text": text, "source": "web", "metadata": {"url": url}})
    for start in range(0, count, FILE):
        part = documents[start : start + FILE]
        packed = "".join(json.dumps(each) + "\n" for each in part).encode()
        (folder / f"{start // FILE:04d}.jsonl.gz").write_bytes(gzip.compress(packed, 6))
    return len(documents)


def ours(folder: Path) -> dict[str, dict[str, float]]:
    """Tag and curate, as two steps of a recipe do; the rows that are left are in FOLDER/ours."""
    clock = PeerClock()
    documents = Input("web", folder / "documents" / "*.jsonl.gz", Kind.DATA, "c0ffee")
    hardware = Hardware(threads=1)
    tags = Workspace.temporary(folder / "tags", {"web": documents}, 0, hardware)
    Tag(data="web", taggers=["gopher_v1", "c4_v1"]).run(tags)
    clock.lap("tag")
    inputs = {"web": documents, "tags": Input("tags", tags.output, Kind.DATA, "c0ffee")}
    rules: list[dict[str, Any]] = [
        {"rule": "unique", "of": "column", "column": "url"},
        {"rule": "unique", "of": "paragraph"},
    ]
    rules = [
        {**rule, "by": "bloom", "expected": RULES["expected"], "false_positives": RULES["false_positives"]}
        for rule in rules
    ]
    rules += [
        {"rule": "keep", "attribute": f"{tagger}__{name}", "least": least, "most": most, "missing": "keep"}
        for tagger, name, least, most in RULES["keep"]
    ]
    rules += [
        {"rule": "drop", "attribute": f"{tagger}__{name}", "least": 0, "missing": "keep"}
        for tagger, name in RULES["absent"]
    ]
    rules += [{"rule": "replace", "attribute": f"{tagger}__{name}", "missing": "keep"} for tagger, name in RULES["cut"]]
    curated = Workspace.temporary(folder / "ours", inputs, 0, hardware)
    Curate.model_validate({"data": "web", "attributes": ["tags"], "rules": rules}).run(curated)
    clock.lap("curate")
    return clock.laps


def agreement(folder: Path) -> dict[str, Any]:
    """Of all documents: the share with equal attributes, with the same verdict; of those both kept, with equal text."""
    theirs = {row["id"]: row["attributes"] for row in read_rows(folder / "attributes" / "x")}
    same = 0
    for row in read_rows(folder / "tags" / "output"):
        mine = {name: value for name, value in row.items() if "__" in name}
        said = {name.removeprefix("x__"): value for name, value in theirs[row["id"]].items()}
        same += mine.keys() == said.keys() and all(_near(mine[name], said[name]) for name in mine)
    kept = [
        {row["id"]: hashlib.sha256(row["text"].encode()).digest() for row in rows if row["text"].strip()}
        for rows in (read_rows(folder / "ours" / "output"), read_rows(folder / "peer" / "**" / "*.jsonl.gz"))
    ]
    both = kept[0].keys() & kept[1].keys()
    differ = len(kept[0].keys() ^ kept[1].keys())
    return {
        "same_attributes": same / len(theirs),
        "same_verdict": 1 - differ / len(theirs),
        "same_text": sum(kept[0][name] == kept[1][name] for name in both) / max(1, len(both)),
        "kept": [len(side) for side in kept],
    }


def _near(mine: list[list[float]], said: list[list[float]]) -> bool:
    return len(mine) == len(said) and all(
        a[:2] == b[:2] and abs(a[2] - b[2]) <= 1.1e-5 * max(1.0, abs(b[2])) for a, b in zip(mine, said, strict=True)
    )


if __name__ == "__main__":
    main()
