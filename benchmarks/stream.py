"""Peak memory and speed of data that do not fit in memory: a synthetic JSONL through the stages that handle it.

    python benchmarks/stream.py --gigabytes 10

Writes the file below --folder (default: a new one in /tmp), runs each stage in a process of its own on what the one
before left, and removes everything. 1 % of the lines are damaged, and must be found and counted. Prints a table; the
last line is one of JSON.
"""

import argparse
import json
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BAD_ONE_IN = 100
WORDS = ["the", "of", "camel", "water", "data", "model", "learns", "sum", "equals", "question", "answer", "why"]


def lines() -> Iterator[bytes]:
    """Conversations of 200 to 20,000 characters in ShareGPT's layout, over and over with new ids; some cut off."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=round(20 * 100 ** draw.random()))).encode() for _ in range(2000)]
    turns = b'[{"from": "human", "value": "%b"}, {"from": "gpt", "value": "%d: %b"}]'
    form = b'{"id": "row %d", "conversations": ' + turns + b', "score": %.17g, "note": null}'
    number = 0
    while True:
        line = form % (number, texts[number % 1999], number, texts[number * 7 % 2000], number / 7)
        yield line[:-20] if number % BAD_ONE_IN == BAD_ONE_IN // 2 else line
        number += 1


def write(file: Path, size: int) -> int:
    """Write about `size` bytes; how many lines that took."""
    with file.open("wb") as stream:
        for number, line in enumerate(lines(), 1):
            stream.write(line + b"\n")
            if number % 1000 == 0 and stream.tell() >= size:
                return number
    return 0


def run_stage(settings: dict[str, Any], data: Path, folder: Path) -> dict[str, float]:
    """Run one stage in a process of its own: its seconds, peak bytes and metrics."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--stage", json.dumps(settings), "--data", str(data), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"seconds": time.perf_counter() - started, **json.loads(done.stdout.splitlines()[-1])}


def one_stage(settings: dict[str, Any], data: Path, folder: Path) -> None:
    """Run the stage here, and print what it took."""
    from bactrian.stages import all_stages
    from bactrian.store.artifact import Input, Workspace
    from bactrian.store.manifest import Kind

    workspace = Workspace.temporary(folder, {"data": Input("data", data, Kind.DATA, "")})
    stage = all_stages()[settings.pop("stage")]
    stage(**settings).run(workspace)
    kilobyte = 1024 if sys.platform.startswith("linux") else 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
    print(json.dumps({"peak_bytes": peak, **workspace.metrics}))


STAGES: list[dict[str, Any]] = [
    {"stage": "source", "data": "data", "license": "CC0-1.0", "title": "synthetic"},
]
"""In this order, each on what the one before left."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stage", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        one_stage(given.stage, given.data, given.folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="bactrian-stream-", dir=given.folder))
    try:
        measure(folder, given.gigabytes)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, gigabytes: float) -> None:
    """Write the file, run the stages, print the table and the line of JSON."""
    file = folder / "synthetic.jsonl"
    started = time.perf_counter()
    rows = write(file, round(gigabytes * 1e9))
    size = file.stat().st_size
    print(f"{size / 1e9:.2f} GB, {rows:,} rows, written in {time.perf_counter() - started:.0f} s", flush=True)
    print("| stage | rows kept | dropped | seconds | MB/s of JSONL | peak GiB |\n|---|---|---|---|---|---|")
    results: dict[str, Any] = {}
    data = file
    for number, settings in enumerate(STAGES):
        made = folder / str(number)
        found = results[settings["stage"]] = run_stage(settings, data, made)
        speed, peak = size / 1e6 / found["seconds"], found["peak_bytes"] / 2**30
        print(
            f"| {settings['stage']} | {found['rows_kept']:,.0f} | {found.get('rows_dropped', 0):,.0f} | "
            f"{found['seconds']:.0f} | {speed:.0f} | {peak:.2f} |",
            flush=True,
        )
        if number == 0 and found["rows_dropped"] != rows // BAD_ONE_IN:
            raise SystemExit(f"{rows // BAD_ONE_IN:,} rows are damaged, but {found['rows_dropped']:,.0f} were dropped")
        (shutil.rmtree if data.is_dir() else Path.unlink)(data)
        data = made / "output"
    peak = max(found["peak_bytes"] for found in results.values())
    machine = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    summary = {"benchmark": "stream", "bytes": size, "rows": rows, "peak_bytes": peak, "stages": results}
    print(json.dumps(summary | machine))


if __name__ == "__main__":
    main()
