"""Agreement with LLMBar's labels by subset: of a judge here, and of the judges whose votes the data file has.

    python benchmarks/llmbar.py ../shared/data/llmbar_judges.dev.jsonl [--model embedded:smollm2-135m --limit 40]
        [--rubric follows_instruction] [--judges Vanilla]

Each pair has one label on which its makers agree [Zeng et al. 2024]. Recorded judges voted once in each order: a pair
counts by the share of its two votes that are right, and a vote that could not be read is wrong. Position agreement is
the share of pairs whose two votes, swapped back, name the same answer. Intervals are 95 %: by bootstrap over pairs, and
Wilson's. Without --model only the recorded judges are shown. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from versus import model_folder

from bactrian.data.io.files import stream_rows
from bactrian.evaluate.statistics import paired_bootstrap, wilson
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.judge.panel import open_pair_judge
from bactrian.store.hardware import HardwareSettings

Row = Mapping[str, Any]
ORDERS = ("unswapped", "swapped")


@dataclass(frozen=True)
class Agreed:
    """One judge on one subset. `right`, `position`: shares with 95 % intervals; `faults`: votes that say nothing."""

    judge: str
    subset: str
    pairs: int
    right: float
    right_interval: tuple[float, float]
    position: float
    position_interval: tuple[float, float]
    faults: int

    def __str__(self) -> str:
        low, high = self.right_interval
        return (
            f"{self.judge:<26} {self.subset:<9} {self.pairs:>4}  {self.right:6.1%} ({low:.1%} to {high:.1%})  "
            f"{self.position:6.1%} ({self.position_interval[0]:.1%} to {self.position_interval[1]:.1%})  {self.faults}"
        )


def agreed(judge: str, subset: str, right: Sequence[float], same: Sequence[bool], faults: int) -> Agreed:
    """Of each pair the share of right votes, and whether both orders gave the same."""
    mean = paired_bootstrap([0.0] * len(right), right)
    kept = wilson(sum(same), len(same))
    share = sum(same) / len(same)
    return Agreed(judge, subset, len(right), mean.difference, mean.interval, share, kept, faults)


def recorded(rows: Sequence[Row], kinds: Sequence[str]) -> Iterable[Agreed]:
    """Of the judges in the file whose prompt is one of these."""
    names = dict.fromkeys(name for row in rows for name in row["judges"] if name.split("/")[1] in kinds)
    for name in names:
        for subset in dict.fromkeys(row["subset"] for row in rows):
            voted = [row for row in rows if row["subset"] == subset and name in row["judges"]]
            if voted:
                votes = [[row["judges"][name].get(order) for order in ORDERS] for row in voted]
                labels = [str(row["label"]) for row in voted]
                right = [sum(v == label for v in both) / 2 for both, label in zip(votes, labels, strict=True)]
                same = [both[0] is not None and both[0] == both[1] for both in votes]
                yield agreed(name, subset, right, same, sum(v is None for both in votes for v in both))


def judged_here(rows: Sequence[Row], model: Path, rubric: str) -> Iterable[Agreed]:
    """Of a model in a folder, single prompt, both orders; a pair is right or not by the mean of both."""
    judge = open_pair_judge(model, HardwareSettings().decide(), rubric=rubric)
    pairs = [
        AnswerPair(
            f"{r['subset']}-{r['idx']}", ({"role": "user", "content": r["input"]},), r["output_1"], r["output_2"]
        )
        for r in rows
    ]
    found: dict[int, Opinion] = {}
    judge.compare(pairs, found.__setitem__)
    for subset in dict.fromkeys(row["subset"] for row in rows):
        mine = [(found[at], row["label"] - 1) for at, row in enumerate(rows) if row["subset"] == subset]
        right = [float(opinion.preferred == label) for opinion, label in mine]
        same = [opinion.order_changed is False for opinion, _ in mine]
        yield agreed(f"{model.name} ({rubric})", subset, right, same, sum(bool(opinion.fault) for opinion, _ in mine))


def first_of_each(rows: Sequence[Row], limit: int) -> list[Row]:
    """At most this many rows of each subset."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row["subset"]] = seen.get(row["subset"], 0) + 1
        if seen[row["subset"]] <= limit:
            kept.append(row)
    return kept


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--model", help="embedded:NAME or a folder")
    options.add_argument("--rubric", default="follows_instruction")
    options.add_argument("--limit", type=int, default=40, help="pairs of each subset that the model judges")
    options.add_argument("--judges", default="Vanilla,Vanilla_NoRules", help="prompts of the recorded judges")
    given = options.parse_args()
    rows = [row for row, _ in stream_rows(given.data)]
    found = list(recorded(rows, given.judges.split(",")))
    if given.model:
        found += judged_here(first_of_each(rows, given.limit), model_folder(given.model), given.rubric)
    print(f"{'judge':<26} {'subset':<9} pairs  right (95 %)             position agreement       faults")
    for each in found:
        print(each)
    print(json.dumps({"benchmark": "llmbar", "agreed": [asdict(each) for each in found]}))


if __name__ == "__main__":
    main()
