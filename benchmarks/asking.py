"""Runs of recipes/alfa-nano.yaml, which differ in their seed, as tables: who asks how well, and what each part does.

    python benchmarks/asking.py runs/alfa-nano runs/alfa-nano-2 runs/alfa-nano-3

Of each model: the accuracy of its conversations over all runs' cases with an interval clustered by case,
and its differences from the policy before alignment and from the policy of coarse pairs, paired by case; questions
without an answer and the mean of the attributes' levels likewise. Then each attribute by itself, and where `ablate` has
left attributes out of the first run, its last model's difference without them. Markdown, and a line of JSON at the end.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.evaluate.comparison import difference
from bactrian.evaluate.estimates import estimate
from bactrian.evaluate.records import Record, read_records

STEP = "asking"
COARSE = "coarse_dpo"


def values(runs: Iterable[Path], step: str, attributes: bool) -> dict[str, dict[tuple[int, str], Record]]:
    """Model → its records, of accuracy or of attributes."""
    found: dict[str, dict[tuple[int, str], Record]] = {}
    for number, folder in enumerate(runs):
        told = json.loads((folder / "run.json").read_text())["steps"]
        path = next((each["path"] for each in told if each["name"] == step and each["path"]), None)
        if path is None:
            raise SystemExit(f"{folder}: found no step {step!r} that is made")
        for (model, task, _), records in read_records(folder.parent / path / "questions.parquet").items():
            if task.endswith("attributes") == attributes:
                found.setdefault(model, {}).update({(number, each.question): each for each in records})
    return found


def level(records: Mapping[tuple[int, str], Record]) -> str:
    """Mean in percent with an interval clustered by case, whichever run it is of."""
    made = estimate([each.score for each in records.values()], [each.cluster for each in records.values()])
    return f"{100 * made.score:.1f} [{100 * made.interval[0]:.1f}, {100 * made.interval[1]:.1f}]"


def gain(before: Mapping[tuple[int, str], Record], after: Mapping[tuple[int, str], Record]) -> tuple[str, Any]:
    """Points with interval and p, pooled over runs and clustered by case; then those of each run."""
    shared = [place for place in before if place in after]
    pairs = [(before[place].score, after[place].score, before[place].cluster, place[0]) for place in shared]
    pooled = difference(*(tuple(pair[at] for pair in pairs) for at in range(3)))
    runs = [float(np.mean([b - a for a, b, _, run in pairs if run == each])) for each in sorted({p[3] for p in pairs})]
    low, high = pooled.interval
    text = f"{100 * pooled.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {pooled.p:.1g}"
    return f"{text} ({'; '.join(f'{100 * each:+.1f}' for each in runs)})", asdict(pooled)


def unanswered(records: Iterable[Record]) -> str:
    shares = [each.values["unanswerable"] for each in records]
    return f"{100 * float(np.mean(shares)):.0f}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+", help="folders of runs, with run.json")
    runs = options.parse_args().runs
    right, levels = (values(runs, STEP, attributes) for attributes in (False, True))
    models, told = list(right), dict[str, Any]()
    print(f"{len(right[models[0]]):,} conversations a model, runs: {len(runs)}\n")
    heads = (
        "policy",
        "right, %",
        "without an answer, %",
        "attributes, %",
        "right, against the first",
        "against coarse pairs",
    )
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for model in models:
        cells = [model, level(right[model]), unanswered(right[model].values()), level(levels[model]), "", ""]
        coarse = "coarse_grpo" if model == "reward_fusion" else COARSE
        for at, base in ((4, models[0]), (5, coarse)):
            if model not in (base, models[0]) and base in right and (at == 4 or not model.startswith("coarse")):
                cells[at], told[f"{model} against {base}"] = gain(right[base], right[model])
        print(f"| {' | '.join(cells)} |")
    names = list(dict.fromkeys(each.group for each in levels[models[0]].values()))
    print(f"\n| policy | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for model in models:
        parts = [{k: v for k, v in levels[model].items() if v.group == name} for name in names]
        print(f"| {model} | {' | '.join(level(part) for part in parts)} |")
    ablations(runs, right[models[-1]], levels[models[-1]], models[-1], told)
    print(json.dumps(told))
    return 0


def ablations(
    runs: list[Path],
    right: Mapping[tuple[int, str], Record],
    levels: Mapping[tuple[int, str], Record],
    model: str,
    told: dict[str, Any],
) -> None:
    """The first run's last model without a part of its pairs, against itself with all of them."""
    steps = json.loads((runs[0] / "run.json").read_text())["steps"]
    parts = [each["name"] for each in steps if each["name"].startswith(f"{STEP}~") and each["path"]]
    if parts:
        print(f"\n| {model}, trained | right, % | difference | attributes, difference |\n|---|---|---|---|")
    for name in parts:
        without = values(runs[:1], name, False)
        variant = next(label for label in without if label.split("~")[0] == model)
        of = values(runs[:1], name, True)[variant]
        shown, told[name] = gain(right, without[variant])
        other, told[f"{name}, attributes"] = gain(levels, of)
        print(f"| {name.removeprefix(f'{STEP}~')} | {level(without[variant])} | {shown} | {other} |")


if __name__ == "__main__":
    raise SystemExit(main())
