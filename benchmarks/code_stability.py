"""Whether verdicts of programs stay the same on a busy machine: references, mutants and hanging programs, idle and not.

    python benchmarks/code_stability.py --data ../shared/data --busy 3 8

The last line is JSON: of each load the share of verdicts that are those of the idle machine, and those that are not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sandbox.busy import busy
from sandbox.mutants import one_mutant
from sandbox.plus import both

from bactrian.data.io.code_tasks import humaneval_problems
from bactrian.sandbox import chosen_isolation
from bactrian.verify import Item, verify_all
from bactrian.verify.code.code import block

SETTINGS = {"test_seconds": 1.0, "seconds": 4.0}
HANGING = ("def {}(*a):\n    while True: pass", "import time\ndef {}(*a): time.sleep(1000)")


class StableProgram(NamedTuple):
    """A program and its tests; `name` says what it is of what task."""

    name: str
    text: str
    ground_truth: str


def stability(programs: Sequence[StableProgram], loads: Sequence[int], workers: int = 2) -> dict[str, Any]:
    """Verdicts on an idle machine beside those with so many busy processes: shares of the same, and who differs."""
    idle = outcomes(programs, workers)
    counts = {outcome: list(idle.values()).count(outcome) for outcome in sorted(set(idle.values()))}
    found: dict[str, Any] = {"programs": len(programs), "idle": counts}
    for load in loads:
        with busy(load):
            said = outcomes(programs, workers)
        other = {name: [idle[name], said[name]] for name in idle if said[name] != idle[name]}
        found[f"{load} busy"] = {"same": 1 - len(other) / max(1, len(idle)), "other": other}
    return found


def outcomes(programs: Sequence[StableProgram], workers: int) -> dict[str, str]:
    items = [Item("code", block(program.text), program.ground_truth, SETTINGS) for program in programs]
    verdicts = verify_all(items, workers)
    return {program.name: verdict.outcome for program, verdict in zip(programs, verdicts, strict=True)}


def made(file: Path, step: int, inputs: int) -> list[StableProgram]:
    """Of each `step`th task of HumanEval, in both layouts of HumanEval+: its reference, a mutant, one that hangs."""
    rows = [json.loads(line) for line in file.read_text().splitlines()][::step]
    programs = []
    for number, row in enumerate(rows):
        text, name = row["prompt"] + row["canonical_solution"], row["entry_point"]
        layouts = list(humaneval_problems(both(row, inputs, chosen_isolation()), "plus", "code", ""))
        for layout, problem in enumerate(layouts):
            told = {"reference": text, "mutant": one_mutant(text, name, row["task_id"])}
            if layout == number % 2:
                told["hanging"] = HANGING[number // 2 % 2].format(name)
            programs += [
                StableProgram(f"{row['task_id']}.{layout} {kind}", each, problem["ground_truth"])
                for kind, each in told.items()
            ]
    return programs


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--busy", type=int, nargs="+", default=[3])
    options.add_argument("--step", type=int, default=12, help="one task in so many")
    options.add_argument("--inputs", type=int, default=200, help="of each task, beside its own")
    given = options.parse_args()
    print(json.dumps(stability(made(given.data / "humaneval.jsonl", given.step, given.inputs), given.busy)))


if __name__ == "__main__":
    main()
