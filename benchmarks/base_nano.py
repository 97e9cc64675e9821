"""What mid-training and the soup did in runs of `recipes/base-nano.yaml`, one a seed, from their own results.

    python benchmarks/base_nano.py STORE/base-nano [STORE2/base-nano …]

Bits per byte of each kind of held-out text; stage 1 against the soup, and the soup against the mean of its parts,
paired by text: intervals and p-values by 10,000 resamples of the texts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

PARTS, SOUP, START = ("stage2_a", "stage2_b", "stage2_c"), "base", "stage1"
RESAMPLES = 10_000


def bits_of(run: Path) -> dict[str, dict[str, Any]]:
    """Task → model → bits of each text, and its bytes, in one order."""
    rows = pq.read_table(run / "likelihood" / "questions.parquet").to_pylist()
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["question"]):
        values = json.loads(row["values"])
        task = found.setdefault(row["task"], {"bytes": {}})
        task["bytes"][row["question"]] = values["bytes"]
        task.setdefault(row["model"], []).append(values["bits"])
    return {
        name: {key: np.array(list(each.values()) if key == "bytes" else each) for key, each in task.items()}
        for name, task in found.items()
    }


def change(before: Any, after: Any, sizes: Any, seed: int = 0) -> dict[str, Any]:
    """Bits per byte after − before, 95 % interval and two-sided p, texts drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    differences = (after - before)[drawn].sum(1) / sizes[drawn].sum(1)
    beyond = min((differences >= 0).sum(), (differences <= 0).sum())
    return {
        "difference": round(float((after - before).sum() / sizes.sum()), 5),
        "interval": [round(float(bound), 5) for bound in np.quantile(differences, [0.025, 0.975])],
        "p": round(min(1.0, 2 * (int(beyond) + 1) / (RESAMPLES + 1)), 5),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+")
    for run in options.parse_args().runs:
        for task, each in bits_of(run).items():
            sizes = each["bytes"]
            mean = np.mean([each[part] for part in PARTS], axis=0)
            told = {
                "bits_per_byte": {
                    model: round(float(each[model].sum() / sizes.sum()), 4) for model in (START, *PARTS, SOUP)
                },
                "midtraining": change(each[START], each[SOUP], sizes),
                "one_part": change(each[START], each[PARTS[0]], sizes),
                "soup_against_mean_of_parts": change(mean, each[SOUP], sizes),
            }
            print(json.dumps({"run": str(run), "texts": task, **told}))


if __name__ == "__main__":
    main()
