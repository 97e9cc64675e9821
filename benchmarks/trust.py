"""How far verdicts can be trusted: gold answers, mathematics, programs on a busy machine, forgeries, IFEval.

    python benchmarks/trust.py --data ../shared/data

Each part is a command of its own, printed before it runs; the last line is JSON. The parts:

- gold: every catalogue task whose data are at hand puts its gold answers, and wrong ones, to its own verifier;
- math: `math` and math-verify on labelled pairs by class, both halves, of which one was never looked at while `math`
  was worked on;
- stability: verdicts of programs with 3 and 8 busy processes beside them, against those of the idle machine;
- forgeries: programs that try to be taken for right, and to get out;
- ifeval: prompt-level verdicts against the published ones.

Under 15 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.gold_check import check_all
from bactrian.store.hardware import machine
from bactrian.verify import Pool

HERE = Path(__file__).parent
LEAST = 0.99
"""Share of a task's gold answers that must be right."""


def last_json(command: Sequence[str]) -> dict[str, Any]:
    """What a command's last line says.

    Raises:
        CalledProcessError: where it fails.
    """
    print("$", *command, flush=True)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *lines, last = run.stdout.strip().splitlines()
    print(*lines[-40:], sep="\n", flush=True)
    found: dict[str, Any] = json.loads(last)
    return found


def bactrian(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bactrian", *arguments]


def benchmark(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), *arguments]


def gold(data: Path) -> dict[str, Any]:
    """The share of right gold answers of each task, the least of them, and the rows that are not right."""
    with Pool(os.cpu_count() or 1) as pool:
        found = check_all(list(catalogue().values()), [data], pool, hub=False)
    rows = {name: each for name, each in found.items() if each.get("share") is not None}
    for name, each in rows.items():
        print(
            f"{name:24} {each['right']:6,} of {each['questions']:6,} right; wrong answers called right: "
            f"{each['wrong_called_right']}; {each['seconds']:.0f} s"
        )
    shares = {name: each["share"] for name, each in rows.items()}
    return {
        "gold_min": min(shares.values()),
        "below": [name for name, share in shares.items() if share < LEAST],
        "absent": [name for name, each in found.items() if "absent" in each],
        "refused": {name: each["refused"] for name, each in found.items() if "refused" in each},
        "tasks": rows,
    }


def mathematics(data: Path) -> dict[str, Any]:
    """Both kinds of error over all classes, of both verifiers, on the pairs that were seen and those that were not."""
    found = {}
    for half in ("dev", "hidden"):
        rows = last_json(benchmark("math_pairs_by_class", "--half", half, "--data", str(data), "--library", "10"))
        found[half] = rows["rows"]
    return {half: rows["all"] | {"classes": rows} for half, rows in found.items()}


def stability(data: Path) -> dict[str, Any]:
    return last_json(benchmark("code_stability", "--data", str(data), "--busy", "3", "8"))


def forgeries(data: Path) -> dict[str, Any]:
    """The last line of `bactrian sandbox check`: how many attacks there are, and how many were contained."""
    command = bactrian("sandbox", "check")
    print("$", *command, flush=True)
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip().splitlines()
    print(lines[-1])
    tried, contained = (int(word) for word in lines[-1].replace(",", "").split() if word.isdigit())
    through = [line for line in lines if "NOT CONTAINED" in line]
    return {"attacks": tried, "contained": contained, "through": through, "isolation": lines[-tried - 2]}


def ifeval(data: Path) -> dict[str, Any]:
    agreement: dict[str, Any] = last_json(benchmark("verify", "--data", str(data), "--only", "ifeval"))["agreement"]
    return agreement


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "gold": gold,
    "math": mathematics,
    "stability": stability,
    "forgeries": forgeries,
    "ifeval": ifeval,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--only", choices=PARTS, action="append", help="this part; may be given again")
    given = options.parse_args()
    found, seconds = {}, {}
    for name in given.only or PARTS:
        began = time.perf_counter()
        found[name] = PARTS[name](given.data)
        seconds[name] = round(time.perf_counter() - began, 1)
    told = {
        "benchmark": "trust",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine()["cpu"],
        "cores": os.cpu_count(),
        "seconds": seconds,
    }
    print(json.dumps(told | found))


if __name__ == "__main__":
    main()
