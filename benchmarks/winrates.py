"""AlpacaEval 2's leaderboard again, raw and length-controlled, and ratings of a round robin.

python benchmarks/winrates.py [--data FOLDER] [--resamples N]

For each model of the development half: the published figures, ours with the model's published weights and difficulties
recovered from all *other* models, ours fitted to its preferences alone (weights, difficulties and anchors from the
others), and the self-contained variant, which uses no published weight at all. Then Bradley-Terry ratings of
eight systems judged by GPT-4 in both orders, and of four judged by people. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.judge.winrates.games import position_bias, read_game
from bactrian.judge.winrates.length_control import control_length, joint_difficulty, length_feature
from bactrian.judge.winrates.logistic import ClusterDraws, percentile_interval
from bactrian.judge.winrates.published import PublishedModel, recover_anchors, recover_difficulty
from bactrian.judge.winrates.ratings import fit_ratings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CONCISE, VERBOSE = "gpt4_1106_preview_concise", "gpt4_1106_preview_verbose"
RAW = {CONCISE: 23.0, VERBOSE: 64.0}  # win rates of the two, Dubois et al. 2024, section 4.1


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def published_models(data: Path) -> tuple[list[PublishedModel], dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """The models with published weights; all weights; (raw, recomputed) win rates, in percent, by model."""
    baseline = np.array([len(row["output"]) for row in rows_of(data / "alpaca_eval_gpt4turbo_baseline.jsonl")])
    with (data / "alpaca_eval2_lc_baseline_gpt4_1106.csv").open() as file:
        weights = {row[0]: np.array(row[1:], dtype=float) for row in list(csv.reader(file))[1:]}
    models, raw = [], {}
    for row in rows_of(data / "alpaca_eval2_model_preferences.dev.jsonl"):
        if row["leaderboard_lc_win_rate"] is None:
            continue
        said = np.array([np.nan if each is None else each for each in row["preferences"]], dtype=float)
        kept = ~np.isnan(said)
        outcomes = np.where(said == 0, 1.5, said)[kept] - 1
        lengths = np.array([0 if each is None else each for each in row["output_chars"]], dtype=float)[kept]
        feature = length_feature(baseline[kept], lengths)
        name = row["generator"]
        models.append(
            PublishedModel(
                name, outcomes, feature, np.arange(kept.sum()), weights[name], row["leaderboard_lc_win_rate"]
            )
        )
        raw[name] = (row["leaderboard_win_rate"], 100 * float(outcomes.mean()))
    return models, weights, raw


def leaderboard(data: Path, resamples: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A line for each model, and the largest and mean differences to the leaderboard, in points."""
    models, weights, raw = published_models(data)
    complete = [each for each in models if len(each.outcomes) == 805]
    own_difficulty = joint_difficulty(np.array([each.outcomes for each in complete]))
    lines = []
    for model in models:
        others = [each for each in models if each is not model]
        known = recover_difficulty(others)
        anchors = recover_anchors(others, known, (weights[CONCISE], RAW[CONCISE]), (weights[VERBOSE], RAW[VERBOSE]))
        gamma = known.values[model.places]
        fit = control_length(model.outcomes, model.length, gamma, anchors)
        draws = ClusterDraws.of([str(place) for place in range(len(model.outcomes))])

        def refit(times: np.ndarray, model=model, gamma=gamma, anchors=anchors, fit=fit) -> np.ndarray:
            again = control_length(model.outcomes, model.length, gamma, anchors, times, fit.coefficients)
            return np.array([100 * again.win_rate])

        interval = percentile_interval(draws.refitted(refit, resamples, 0)[:, 0]) if resamples else (0.0, 0.0)
        alone = control_length(model.outcomes, model.length, own_difficulty[model.places])
        lines.append(
            {
                "model": model.name,
                "n": len(model.outcomes),
                "raw": raw[model.name][0],
                "raw_ours": raw[model.name][1],
                "lc": model.win_rate,
                "lc_weights": known.win_rate(model.weights),
                "lc_fitted": 100 * fit.win_rate,
                "interval": interval,
                "lc_alone": 100 * alone.win_rate,
            }
        )
    gaps = {
        name: np.abs([line[ours] - line[theirs] for line in lines])
        for name, ours, theirs in (
            ("raw", "raw_ours", "raw"),
            ("lc_weights", "lc_weights", "lc"),
            ("lc_fitted", "lc_fitted", "lc"),
            ("lc_alone", "lc_alone", "lc"),
        )
    }
    summary = {f"{name}_{word}": float(do(gap)) for name, gap in gaps.items() for word, do in STATISTICS.items()}
    summary["lc_weights_within_0.1"] = int((gaps["lc_weights"] <= 0.1).sum())
    return lines, summary


def misplaced(data: Path) -> None:
    """What the models with missing annotations would have, had each row been given its own instruction's difficulty."""
    models, weights, _ = published_models(data)
    said = {row["generator"]: row["preferences"] for row in rows_of(data / "alpaca_eval2_model_preferences.dev.jsonl")}
    print("\n| annotations are missing | published ψ | ours, as published | its own difficulties | LC | ours | own |")
    print("|---|---|---|---|---|---|---|")
    for model in models:
        own = np.array([place for place, each in enumerate(said[model.name]) if each is not None])
        if len(own) == 805:
            continue
        known = recover_difficulty([each for each in models if each is not model])
        spread = (weights[CONCISE], RAW[CONCISE]), (weights[VERBOSE], RAW[VERBOSE])
        anchors = recover_anchors([each for each in models if each is not model], known, *spread)
        fits = [
            control_length(model.outcomes, model.length, known.values[places], anchors)
            for places in (model.places, own)
        ]
        psi, rates = [fit.difficulty for fit in fits], [100 * fit.win_rate for fit in fits]
        print(
            f"| {model.name}: {805 - len(own)} | {model.weights[1]:.2f} | {psi[0]:.2f} | {psi[1]:.2f} | "
            f"{model.win_rate:.2f} | {rates[0]:.2f} | {rates[1]:.2f} |"
        )


STATISTICS = {"max": np.max, "mean": np.mean, "median": np.median}


def round_robin(path: Path, resamples: int, one_judge: bool) -> None:
    """Ratings of all models of a file, by everybody who judged them."""
    games = [read_game(row, f"row {n}") for n, row in enumerate(rows_of(path), 1)]
    found = fit_ratings(games, resamples=resamples)
    print(f"\n{path.name}: {len(games):,} verdicts, {found.abstained} unread")
    print("\n| system | rating | 95 % interval | comparisons |\n|---|---|---|---|")
    for each in found.ratings:
        low, high = each.interval
        print(f"| {each.model} | {each.rating:.0f} | {low:.0f} to {high:.0f} | {each.games:,} |")
    bias = position_bias(games)
    if not one_judge:  # people who saw one order each: what they differ in is not the order alone
        return
    low, high = bias.interval
    print(
        f"\n{bias.both_orders:,} pairs in both orders; the verdict changes with the order in {bias.changed:.1%}; "
        f"the first answer has {bias.first_share:.1%} of the wins ({low:.1%} to {high:.1%}, ties half)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--resamples", type=int, default=300)
    asked = parser.parse_args()
    lines, summary = leaderboard(asked.data, asked.resamples)
    print("| model | n | raw | ours | LC | published weights | fitted | 95 % interval | no published weights |")
    print("|---|---|---|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda each: -each["lc"]):
        low, high = line["interval"]
        print(
            f"| {line['model']} | {line['n']} | {line['raw']:.2f} | {line['raw_ours']:.2f} | {line['lc']:.2f} | "
            f"{line['lc_weights']:.2f} | {line['lc_fitted']:.2f} | {low:.1f} to {high:.1f} | {line['lc_alone']:.2f} |"
        )
    misplaced(asked.data)
    for name, one_judge in (("qlora_gpt4_pairwise_vicuna.jsonl", True), ("tulu1_human_eval.dev.jsonl", False)):
        round_robin(asked.data / name, asked.resamples, one_judge)
    print(json.dumps({name: round(value, 4) for name, value in summary.items()}))


if __name__ == "__main__":
    main()
