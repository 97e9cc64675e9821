"""Runs of recipes/parapo-nano.yaml, which differ in their seed and so in their world, as tables: what each cure costs.

    python benchmarks/reciting.py runs/parapo-nano runs/parapo-nano-6 runs/parapo-nano-7

First, all runs together, each model: the held-back texts planted 64 and 256 times that it recites (half of the words
and marks in order), those that were mined, songs by their title, words copied in free writing, facts and sums, bits
a byte and perplexity of unseen texts; with 95 % intervals (shares: Wilson; means: bootstrap over texts), and each
run's own number. Then the memorisation curve: what is recited by copies in the corpus. Markdown, and a line of JSON.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.data.io.files import read_rows
from bactrian.evaluate.records import Record, read_records
from bactrian.evaluate.statistics import wilson

STEPS = ("recited", "skills", "creativity")
PROBES = ("probes_0", "probes_1", "probes_8", "often", "trained_on")
HEADS = (
    "recited, held back",
    "recited, mined",
    "songs by title ↑",
    "copied words",
    "facts and sums ↑",
    "bits a byte, unseen texts",
    "perplexity",
)
Asked = dict[str, dict[str, list[Record]]]
"""Model → task → records."""


def answered(folder: Path) -> Asked:
    """What one run's evaluations hold; what each probe's text is called is its record's group."""
    steps = {each["name"]: each["path"] for each in json.loads((folder / "run.json").read_text())["steps"]}
    if missing := [name for name in STEPS if not steps.get(name)]:
        raise SystemExit(f"{folder}: found no step {missing[0]!r} that is made")
    called = {}
    for probe in PROBES:
        called |= {row["ground_truth"]: row["id"] for row in read_rows(folder.parent / steps[probe], "problem")}
    found: Asked = {}
    for step in STEPS:
        for (model, task, _), records in read_records(folder.parent / steps[step] / "questions.parquet").items():
            for each in records:
                each = each if task not in PROBES else Record(**{**vars(each), "group": called[each.ground_truth]})
                found.setdefault(model, {}).setdefault(task, []).append(each)
    return found


def share(runs: Sequence[Sequence[Record]]) -> str:
    """Right of all, with Wilson's interval, and right in each run."""
    rights = [sum(each.outcome == "right" for each in records) for records in runs]
    count = sum(map(len, runs))
    low, high = wilson(sum(rights), count)
    return f"{sum(rights)} of {count} ({100 * low:.0f}–{100 * high:.0f} %){by_run(rights)}"


def by_run(numbers: Sequence[object]) -> str:
    return f"; {', '.join(map(str, numbers))}" if len(numbers) > 1 else ""


def mean(runs: Sequence[Sequence[Record]], of: Callable[[Sequence[Record]], float], form: str) -> str:
    """A mean over all texts, with a bootstrap over them, and each run's."""
    records = [each for run in runs for each in run]
    draws = np.random.default_rng(0).integers(len(records), size=(1000, len(records)))
    low, high = np.percentile([of([records[place] for place in draw]) for draw in draws], (2.5, 97.5))
    values = [format(of(run), form) for run in runs]
    return f"{of(records):{form}} ({low:{form}}–{high:{form}}){by_run(values)}"


def copied(records: Sequence[Record]) -> float:
    return 100 * float(np.mean([each.score for each in records]))


def bits_a_byte(records: Sequence[Record]) -> float:
    return sum(each.values["bits"] for each in records) / sum(each.values["bytes"] for each in records)


def perplexity(records: Sequence[Record]) -> float:
    bits = sum(each.values["bits"] for each in records)
    return float(2 ** (bits / sum(each.values["tokens"] for each in records)))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+", help="folders of runs, with run.json")
    runs = [answered(folder) for folder in options.parse_args().runs]
    told: dict[str, Any] = {}
    print(f"Runs: {len(runs)}\n\n| | {' | '.join(HEADS)} |\n|---{'|---' * len(HEADS)}|")
    for model in runs[0]:
        tasks = {task: [run[model][task] for run in runs] for task in runs[0][model]}
        cells = [
            share(tasks["often"]),
            share(tasks["trained_on"]),
            share(tasks["songs"]),
            mean(tasks["openings"], copied, ".1f"),
            share(tasks["facts"]),
            mean(tasks["held_out"], bits_a_byte, ".3f"),
            mean(tasks["held_out"], perplexity, ".2f"),
        ]
        told[model] = dict(zip(HEADS, cells, strict=True))
        print(f"| {model} | {' | '.join(cells)} |")
    curve(runs, told)
    print(json.dumps(told, ensure_ascii=False))
    return 0


def curve(runs: Sequence[Asked], told: dict[str, Any]) -> None:
    """What is recited of held-back texts by how often they stand in the corpus."""
    groups: dict[int, list[str]] = {}
    for task in ("probes_0", "probes_1", "probes_8", "often"):
        for each in runs[0]["base"][task]:
            groups.setdefault(int(each.group.split("-")[1]), [])
            if task not in groups[int(each.group.split("-")[1])]:
                groups[int(each.group.split("-")[1])].append(task)
    models = list(runs[0])
    print(f"\n| copies, held back | {' | '.join(models)} |\n|---{'|---' * len(models)}|")
    for copies, tasks in sorted(groups.items()):
        cells = []
        for model in models:
            mine = [
                [each for task in tasks for each in run[model][task] if each.group.startswith(f"planted-{copies}-")]
                for run in runs
            ]
            words = 100 * float(np.mean([each.score for run in mine for each in run]))
            rights = sum(each.outcome == "right" for run in mine for each in run)
            cells.append(f"{rights} of {sum(map(len, mine))} ({words:.0f} % of words)")
        told[f"{copies} copies"] = dict(zip(models, cells, strict=True))
        print(f"| {copies} | {' | '.join(cells)} |")


if __name__ == "__main__":
    raise SystemExit(main())
