"""Duplicates in a million rows, ten million references mixed, and a file of gigabytes filtered and mixed.

    python benchmarks/data.py [--rows 1000000] [--references 10000000] [--gigabytes 0] [--threads 2] [--folder DIR]

Rows are made here: 40 to 110 words each, drawn as often as words are in English (Zipf), with 10 % exact copies (white
space and case changed) and 10 % near copies (1 % of the words replaced). Every part runs in a process of its own, so
that its peak memory is its own. Prints a table and ends with one line of JSON.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

Measured = dict[str, Any]
WORDS = 50_000
COPIES, EDITED = 0.1, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--references", type=int, default=10_000_000)
    parser.add_argument("--gigabytes", type=float, default=0.0, help="size of the JSONL that is filtered and mixed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the rows made here for another time")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bactrian-data-"))
    try:
        found = [measured(mix_references, given.references)]
        if not (folder / "rows").exists():
            rows = measured(write_rows_of_words, folder / "rows", given.rows)
            print(f"(made {given.rows:,} rows in {rows['seconds']:.0f} s)", flush=True)
        for near in (False, True):
            found.append(measured(deduplicate, folder, near, given.threads))
        if given.gigabytes:
            if not (folder / "big.jsonl").exists():
                measured(write_jsonl, folder / "big.jsonl", given.gigabytes)
            found.append(measured(filter_and_mix, folder, given.threads))
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{'what':44} {'rows':>12} {'seconds':>9} {'CPU s':>9} {'rows/s':>11} {'peak GiB':>9}")
    for each in found:
        speed = each["rows"] / each["seconds"]
        print(
            f"{each['what']:44} {each['rows']:12,} {each['seconds']:9.1f} {each['cpu_seconds']:9.1f} {speed:11,.0f} "
            f"{each['peak_gib']:9.2f}"
        )
    print(json.dumps({each["name"]: each for each in found}))


def measured(work: Callable[..., Measured], *arguments: Any) -> Measured:
    """What `work` returns, with seconds, processor seconds, and peak GiB of its process and the largest below it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, work, arguments))
    process.start()
    sender.close()
    found: Measured = receiver.recv()
    process.join()
    return found


def _measure(sender: Any, work: Callable[..., Measured], arguments: tuple[Any, ...]) -> None:
    before = time.perf_counter()
    found = work(*arguments)
    found.setdefault("seconds", time.perf_counter() - before)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    sender.send(found | {"cpu_seconds": cpu, "peak_gib": sum(each.ru_maxrss for each in used) / 2**20})


def texts(count: int, seed: int = 0) -> Iterator[str]:
    """`count` texts of Zipf-distributed words, of which some are copies and some nearly so of an earlier one."""
    random = np.random.default_rng(seed)
    words = np.array([f"{'bcdfghklmnprstvw'[n % 16]}{'aeiou'[n % 5]}{n:x}" for n in range(WORDS)], dtype=object)
    chances = 1 / np.arange(1, WORDS + 1)
    chances /= chances.sum()
    earlier: list[list[str]] = []
    for start in range(0, count, 10_000):
        lengths = random.integers(40, 111, min(10_000, count - start))
        drawn = words[random.choice(WORDS, int(lengths.sum()), p=chances)]
        for part in np.split(drawn, np.cumsum(lengths)[:-1]):
            kind = random.random()
            if kind < COPIES + EDITED and earlier:
                chosen = list(earlier[int(random.integers(len(earlier)))])
                if kind < COPIES:
                    yield "  ".join(chosen).upper()
                    continue
                for place in np.flatnonzero(random.random(len(chosen)) < 0.01):
                    chosen[place] = words[int(random.integers(WORDS))]
            else:
                chosen = list(part)
                if len(earlier) < 50_000:
                    earlier.append(chosen)
            yield " ".join(chosen)


def write_rows_of_words(folder: Path, count: int) -> Measured:
    from bactrian.data.io.writer import RowWriter

    with RowWriter(folder) as writer:
        for number, text in enumerate(texts(count)):
            question, answer = text[:60], text[60:]
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            writer.write({"id": str(number), "messages": messages, "source": "benchmark", "license": "CC0-1.0"})
    return {"rows": count}


def write_jsonl(path: Path, gigabytes: float) -> Measured:
    """JSONL of conversations of about 2,000 characters."""
    some = list(texts(20_000, seed=1))
    size = rows = 0
    with path.open("w") as file:
        while size < gigabytes * 1e9:
            text = " ".join(some[(rows * 7 + i * 13) % len(some)] for i in range(4))
            turns = [{"role": "user", "content": f"{rows} {text[:300]}?"}, {"role": "assistant", "content": text[300:]}]
            size += file.write(json.dumps({"id": str(rows), "messages": turns, "source": "s", "license": "MIT"}) + "\n")
            rows += 1
    return {"rows": rows}


def workspace_on(folder: Path, name: str, inputs: dict[str, Path], threads: int) -> Workspace:
    given = {ref: Input(ref, path, Kind.DATA, "") for ref, path in inputs.items()}
    return Workspace.temporary(folder / name, given, 0, Hardware(threads=threads))


def deduplicate(folder: Path, near: bool, threads: int) -> Measured:
    from bactrian.stages.data.deduplicate import Deduplicate

    workspace = workspace_on(folder, f"near-{near}", {"rows": folder / "rows"}, threads)
    Deduplicate(data=["rows"], near=near).run(workspace)
    rows = int(workspace.metrics["rows_kept"] + workspace.metrics["rows_dropped"])
    name = "near" if near else "exact"
    return {
        "name": name,
        "what": f"deduplicate, {'exact and near' if near else 'exact'}, file to file",
        "rows": rows,
        "exact": int(workspace.metrics["exact"]),
        "near": int(workspace.metrics["near"]),
    }


def mix_references(count: int) -> Measured:
    from bactrian.data.curate.mixture import draw, shuffled

    sizes = [count // 40 * (n % 5 + 1) for n in range(20)]
    amounts = [count // 20] * 20
    drawn = [draw(f"source {n}", size, amount, 0) for n, (size, amount) in enumerate(zip(sizes, amounts, strict=True))]
    sources, rows = shuffled(drawn)
    assert len(sources) == len(rows) == sum(amounts)
    return {"name": "mix", "what": "mix references of 20 sources", "rows": len(rows)}


def filter_and_mix(folder: Path, threads: int) -> Measured:
    """load → filter → mix, as three stages that write their artifacts."""
    from bactrian.stages.data.filter import Filter
    from bactrian.stages.data.mix import Mix
    from bactrian.stages.data.source import DataSource

    size = (folder / "big.jsonl").stat().st_size
    steps = [
        ("load", DataSource(data="in")),
        ("filter", Filter(data="in", rules=[{"rule": "length", "least": 5}, {"rule": "hygiene"}])),  # type: ignore[list-item]
        ("mix", Mix(sources=[{"data": "in", "amount": 0.9}])),  # type: ignore[list-item]
    ]
    path, before = folder / "big.jsonl", time.perf_counter()
    for name, stage in steps:
        workspace = workspace_on(folder, name, {"in": path}, threads)
        stage.run(workspace)
        path = workspace.output
    rows = int(workspace.metrics["rows_kept"])
    return {
        "name": "stream",
        "what": f"load, filter, mix {size / 1e9:.1f} GB of JSONL",
        "rows": rows,
        "bytes": size,
        "seconds": time.perf_counter() - before,
    }


if __name__ == "__main__":
    main()
