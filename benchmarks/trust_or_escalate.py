"""Do calibrated judges keep their promise? Recorded judges over random splits, and judges whose true risk is known.

    python benchmarks/trust_or_escalate.py [--data FOLDER] [--splits 1000] [--sets 2000] [--delta 0.1] [--seed 0]

Three experiments: the cascade of Trust or Escalate on its authors' recorded judges (254 pairs with a person's label);
GPT-4 as recorded by LLMBar, its confidence the share of six votes; and synthetic judges, on calibration sets that are
drawn independently, against their true risk. Each beside the ways without a guarantee, on the same splits. Prints
tables in Markdown; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.judge.calibration.baselines import point_estimate, released
from bactrian.judge.calibration.cascades import JudgedItems
from bactrian.judge.calibration.confidence_quality import confidence_quality
from bactrian.judge.calibration.search import METHODS, Floats
from bactrian.judge.calibration.splits import (
    CalibrationSets,
    GuaranteeRate,
    calibrated,
    guarantee_rate,
    outcome,
    pool_of,
    random_splits,
    strategies,
    thresholds_in_turn,
)
from bactrian.judge.calibration.synthetic_judges import SYNTHETIC, SyntheticJudges

ALPHAS = (0.05, 0.1, 0.15, 0.2)
LEAST = 30
PRICES = {"mistral-7b-instruct": 0.2, "gpt-3.5-turbo": 0.5, "gpt-4-turbo": 10.0}
"""Dollars for a million tokens read, an example of a price table: all three read the same text and write one letter."""
CHARACTERS_A_TOKEN = 4
SET_SIZE, LATER = 500, 10_000
VOTERS = {"GPT-4/Vanilla", "GPT-4/Vanilla_NoRules", "GPT-4/CoT"}


@dataclass(frozen=True)
class Recorded:
    """Judges of the same items, recorded by others. costs: of a call, [m, n]."""

    name: str
    judges: list[JudgedItems]
    groups: list[str]
    costs: Floats


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--splits", type=int, default=1000)
    options.add_argument("--sets", type=int, default=2000)
    options.add_argument("--delta", type=float, default=0.1)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    result: dict[str, Any] = {"benchmark": "trust_or_escalate", "delta": asked.delta}
    for recorded in (trust_or_escalate(asked.data), llmbar(asked.data)):
        result[recorded.name] = over_splits(recorded, asked.splits, asked.delta, asked.seed)
    result["synthetic"] = [
        row for number, judges in enumerate(SYNTHETIC) for row in on_synthetic(judges, asked.sets, asked.delta, number)
    ]
    show_synthetic(result["synthetic"], asked.sets, asked.delta)
    print(json.dumps(result))


def trust_or_escalate(folder: Path) -> Recorded:
    rows = read(folder / "trust_or_escalate_calibration.dev.jsonl")
    judges, costs = [], []
    for name, price in PRICES.items():
        probabilities = np.array([row["judge_probs"][name] for row in rows])
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        wrong = probabilities.argmax(axis=1) + 1 != np.array([row["human"] for row in rows])
        judges.append(JudgedItems(name, probabilities.max(axis=1), wrong))
        read_tokens = [len(row["instruction"] + "".join(row["outputs"])) / CHARACTERS_A_TOKEN for row in rows]
        costs.append(np.array(read_tokens) * price / 1e6)
    return Recorded("trust_or_escalate", judges, [row["instruction"] for row in rows], np.stack(costs))


def llmbar(folder: Path) -> Recorded:
    """GPT-4's six votes (three prompts, both orders); three against three is a judge that says nothing."""
    rows = read(folder / "llmbar_judges.dev.jsonl")
    confidences, wrong = [], []
    for row in rows:
        votes = [vote for name in sorted(VOTERS) for vote in row["judges"].get(name, {}).values()]
        first, second = votes.count("1"), votes.count("2")
        confidences.append(max(first, second) / len(votes) if first != second else 0.0)
        wrong.append((1 if first > second else 2) != row["label"])
    groups = [row["input"] for row in rows]
    return Recorded("llmbar", [JudgedItems("GPT-4, six votes", confidences, wrong)], groups, np.ones((1, len(rows))))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def over_splits(recorded: Recorded, count: int, delta: float, seed: int) -> list[dict[str, Any]]:
    """Half of the prompts calibrate, half test, `count` times: a row for each alpha and way."""
    show_judges(recorded)
    confidences, wrong, groups = pool_of(recorded.judges, recorded.groups)
    calibrates, tests = random_splits(groups, count, 0.5, seed)
    wide = (len(confidences), count, len(groups))
    c, w = np.broadcast_to(confidences[:, None], wide), np.broadcast_to(wrong[:, None], wide)
    sets = CalibrationSets(c, w, calibrates)
    rows = []
    for alpha in ALPHAS:
        for name, find in strategies(len(confidences), delta, LEAST, seed).items():
            thresholds = find(sets, alpha)
            tested = outcome(c, w, tests, thresholds, recorded.costs)
            everything = outcome(c, w, calibrates | tests, thresholds, recorded.costs)
            rows.append(
                {
                    "alpha": alpha,
                    "way": name,
                    "test": as_json(guarantee_rate(tested.agreement, alpha)),
                    "pool": as_json(guarantee_rate(everything.agreement, alpha)),
                    "agreement": mean(tested.agreement),
                    "coverage": mean(tested.coverage),
                    "cost": mean(tested.cost),
                    "decided": tested.decided.mean(axis=1).round(3).tolist(),
                }
            )
    show_splits(recorded, rows, count, delta)
    return rows


def on_synthetic(judges: SyntheticJudges, count: int, delta: float, number: int) -> list[dict[str, Any]]:
    """`count` calibration sets of new items, and what their thresholds do on items whose risk is known."""
    rng = np.random.default_rng([number, count])
    confidences, wrong = judges.items(rng, (count, SET_SIZE))
    later, risks = judges.draw(rng, (1, LATER))
    strength = len(confidences)
    sets = CalibrationSets(confidences, wrong, np.ones((count, SET_SIZE), dtype=bool))
    ways = {name: (calibrated(name, LEAST, number), delta / strength) for name in METHODS}
    ways |= {"point estimate": (point_estimate, delta), "released": (released, delta)}
    rows = []
    for alpha in (0.1, 0.2):
        for name, (rule, share) in ways.items():
            thresholds = thresholds_in_turn(sets, rule, alpha, [share] * strength)
            agreement, coverage = truth(later, risks, thresholds)
            rate = as_json(guarantee_rate(agreement, alpha))
            rows.append({"judge": judges.name, "alpha": alpha, "way": name, "truth": rate, "coverage": mean(coverage)})
    return rows


def truth(later: Floats, risks: Floats, thresholds: Floats, chunk: int = 50) -> tuple[Floats, Floats]:
    """Agreement and coverage of each set's thresholds, [s] each, on items with known risks; a few sets at a time."""
    found = []
    for start in range(0, thresholds.shape[1], chunk):
        some = thresholds[:, start : start + chunk]
        members = np.ones((some.shape[1], later.shape[2]), dtype=bool)
        found.append(outcome(later, risks, members, some, np.ones(len(later))))
    return np.concatenate([part.agreement for part in found]), np.concatenate([part.coverage for part in found])


def as_json(rate: GuaranteeRate) -> dict[str, float]:
    return {"rate": rate.rate, "low": rate.low, "high": rate.high, "empty": rate.empty}


def mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def show_judges(recorded: Recorded) -> None:
    print(f"\n### {recorded.name}: {len(recorded.groups)} items of {len(set(recorded.groups))} prompts\n")
    print("| judge | agreement | ECE | AUROC | AUPRC |\n|---|---|---|---|---|")
    for judge in recorded.judges:
        quality = confidence_quality(judge.confidences, judge.wrong, recorded.groups)
        figures = (quality.agreement, quality.ece, quality.auroc, quality.auprc)
        print(f"| {judge.name} | " + " | ".join(f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in figures) + " |")


def show_splits(recorded: Recorded, rows: Sequence[dict[str, Any]], count: int, delta: float) -> None:
    print(
        f"\n{count} random splits, half calibrates; delta {delta}, promise kept in at least {1 - delta:.0%} of splits\n"
    )
    print(
        "| alpha | way | kept on the test half | kept on all items | nothing accepted | agreement | coverage | cost |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        agreement = "–" if row["agreement"] is None else f"{row['agreement']:.3f}"
        print(
            f"| {row['alpha']} | {row['way']} | {in_words(row['test'])} | {in_words(row['pool'])} | "
            f"{row['test']['empty'] / count:.1%} | {agreement} | {row['coverage']:.3f} | {row['cost']:.3f} |"
        )


def show_synthetic(rows: Sequence[dict[str, Any]], count: int, delta: float) -> None:
    print(f"\n### Synthetic judges: {count} calibration sets of {SET_SIZE} new items each; delta {delta}\n")
    print("| judge | alpha | way | true risk at most alpha | nothing accepted | coverage |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['judge']} | {row['alpha']} | {row['way']} | {in_words(row['truth'])} | "
            f"{row['truth']['empty'] / count:.1%} | {row['coverage']:.3f} |"
        )


def in_words(rate: dict[str, float]) -> str:
    return f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"


if __name__ == "__main__":
    main()
