"""Decontamination at scale: time, memory, the slope from 10 thousand to 10 million rows, a peer, and planted overlaps.

    python benchmarks/decontaminate.py [--data ../shared/data] [--rows 1000000] [--peer /path/to/python-with-datatrove]

Prompts are made from real rows: stretches of the training files' texts, about 100 words each, with every tenth word
replaced, and one in a hundred ends in a whole test item. They are held against every benchmark in the folder.
Without --peer, the peer is a plain Python version of datatrove's published algorithm. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bactrian.data.io.files import stream_rows
from bactrian.data.overlap.asked import texts_of
from bactrian.data.overlap.benchmarks import known_as, read_benchmarks
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher
from bactrian.data.overlap.scan import scan
from bactrian.data.overlap.words import split
from bactrian.errors import BactrianError
from bactrian.progress import progress
from bactrian.stages.data.decontaminate import Decontaminate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

THREADS = 2
GROUP = 10_000
PEER_ROWS = 20_000
HERE = Path(__file__).parent


def main() -> None:
    """Make the rows if they are not there, measure, print."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    items = read_benchmarks(options.data, options.data.name, {})
    prompts = options.work / f"prompts-{options.rows}.parquet"
    if not prompts.exists():
        make_prompts(options.data, items, options.rows, prompts)
    found: dict[str, Any] = {"rows": options.rows, "items": len(items), "threads": THREADS}
    sample = [row["messages"][0]["content"] for row, _ in repeated(prompts, 10_000)]
    found["words_per_row"] = round(len(split(sample)) / len(sample), 1)
    found |= whole_stage(options.data, prompts, options.work)
    found["slope"] = slope(items, prompts, [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if n <= options.most])
    found["peer"] = peer(items, prompts, options.peer, options.work)
    found["rows_per_second"] = found["slope"][-1]["rows_per_second"]
    found["times_peer"] = round(found["rows_per_second"] / found["peer"]["rows_per_second"], 1)
    print(f"{found['times_peer']} times the rows per second of {found['peer']['what']}")
    print(json.dumps(found))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of training and test files")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of the longest scan; they repeat")
    parser.add_argument("--peer", help="a Python that has datatrove[processing]")
    parser.add_argument("--work", type=Path, default=Path("/tmp/bactrian-decontaminate"), help="where rows are made")
    return parser.parse_args()


def real_texts(folder: Path) -> Iterator[str]:
    """What the files of the folder that are no benchmarks say, JSONL and text."""
    for file in sorted(folder.iterdir()):
        if known_as(file.name) or not file.name.endswith((".jsonl", ".jsonl.gz", ".txt")):
            continue
        for row, where in stream_rows(file):
            try:
                yield from texts_of(row, where)
            except BactrianError:  # verdicts and other tables without a text
                break


def make_prompts(folder: Path, items: list[IndexedItem], count: int, path: Path) -> None:
    """Rows in the project's layout; the same for the same folder and count."""
    draw = random.Random(20261124)
    words = [word for text in real_texts(folder) for word in text.split()]
    lengths = [int(min(1_000, max(5, draw.lognormvariate(4.25, 0.8)))) for _ in range(10_000)]
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema([("id", pa.string()), ("messages", pa.list_(turn)), ("source", pa.string())])
    with pq.ParquetWriter(path.with_suffix(".new"), schema, compression="zstd") as file:
        for first in range(0, count, GROUP):
            rows = [prompt(draw, words, lengths, items, n) for n in range(first, min(first + GROUP, count))]
            file.write_table(pa.Table.from_pylist(rows, schema))
    path.with_suffix(".new").rename(path)


def prompt(
    draw: random.Random, words: list[str], lengths: list[int], items: list[IndexedItem], number: int
) -> dict[str, Any]:
    """One row: a stretch of real text with every tenth word replaced; one in a hundred ends in a test item."""
    length = draw.choice(lengths)
    at = draw.randrange(len(words) - length)
    chosen = words[at : at + length]
    for place in range(draw.randrange(10), length, 10):
        chosen[place] = draw.choice(words)
    text = " ".join(chosen).encode("utf-8", "replace").decode()
    if number % 100 == 0:
        text += "\n" + draw.choice(items).text.encode("utf-8", "replace").decode()
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return {"id": str(number), "messages": turns, "source": f"s{number % 4}"}


def whole_stage(data: Path, prompts: Path, work: Path) -> dict[str, Any]:
    """The stage as a recipe runs it: read benchmarks, index, scan, write rows, table and matches."""
    inputs = {"prompts": Input("prompts", prompts, Kind.DATA, ""), "bench": Input("bench", data, Kind.DATA, "")}
    folder = work / f"stage-{time.time_ns()}"
    workspace = Workspace.temporary(folder, inputs, hardware=Hardware(threads=THREADS))
    before = time.monotonic()
    Decontaminate(data=["prompts"], against=["bench"], share=0.0).run(workspace)
    seconds = time.monotonic() - before
    about = json.loads((workspace.output / "overlap.json").read_text())
    print(
        f"whole stage: {about['rows']:,} rows in {seconds:.1f} s, {memory()} GiB at its peak, "
        f"{about['dropped']:,} rows dropped"
    )
    shutil.rmtree(folder)
    return {"stage_seconds": round(seconds, 1), "peak_gib": memory(), "dropped": about["dropped"]}


def memory() -> float:
    """GiB: the most that this process ever held, and for each worker what the largest held, shared pages included."""
    own, worker = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(round((own + THREADS * worker) / 2**20, 2))


def slope(items: list[IndexedItem], prompts: Path, counts: list[int]) -> list[dict[str, float]]:
    """Scans of ever more rows, reading included, the index made before; rows beyond the file's are the file again."""
    before = time.monotonic()
    matcher = Matcher(Index(items))
    print(f"index of {len(items):,} items, {len(matcher.index):,} n-grams: {time.monotonic() - before:.1f} s")
    lines = []
    for count in counts:
        folder = prompts.parent / f"scan-{time.time_ns()}"
        before, used = time.monotonic(), cpu_seconds()
        with progress(f"scan of {count:,}", total=count, unit="row") as bar:
            found = scan(repeated(prompts, count), items, matcher, folder, threads=THREADS, bar=bar)
        seconds = time.monotonic() - before
        lines.append(
            {
                "rows": count,
                "seconds": round(seconds, 2),
                "rows_per_second": round(found.rows / seconds),
                "cpu_microseconds_per_row": round((cpu_seconds() - used) / found.rows * 1e6, 1),
                "characters": found.characters,
                "peak_gib": memory(),
            }
        )
        print(json.dumps(lines[-1]))
    return lines


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended; those that are about to are waited for."""
    for worker in multiprocessing.active_children():
        worker.join()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def repeated(path: Path, count: int) -> Iterator[tuple[dict[str, Any], str]]:
    """`count` rows: the file's, over and over."""
    while count > 0:
        for row in stream_rows(path):
            if count <= 0:
                return
            count -= 1
            yield row


def peer(items: list[IndexedItem], prompts: Path, python: str | None, work: Path) -> dict[str, Any]:
    """Rows per second of datatrove's filter, or of a plain version of it, in as many processes as we use threads."""
    texts = [row["messages"][0]["content"] for row, _ in repeated(prompts, PEER_ROWS)]
    (work / "peer.json").write_text(json.dumps({"items": [item.text for item in items], "texts": texts}))
    command = [python or sys.executable, str(HERE / "decontaminate_peer.py"), str(work / "peer.json"), str(THREADS)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    print(answer)
    result: dict[str, Any] = json.loads(answer)
    return result


if __name__ == "__main__":
    main()
