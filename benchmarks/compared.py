"""Several runs of recipes/comparison.yaml, which differ in their seed, as one table.

    python benchmarks/compared.py runs/comparison runs/comparison-18 runs/comparison-19

Of each method: accuracy greedy and sampled (mean over the runs, and the lowest and highest of them); the difference of
its sampled accuracy from the SFT model's of the same run, by question, with a 95 % bootstrap interval over questions of
the mean over runs, and each run's own; KL(method ‖ SFT) in nats an answer, from answers sampled here: the mean of
log π − log π_sft (k1, unbiased), with its standard error over runs; tokens of a sampled answer; the reward of the last
ten steps; tokens sampled for training. Prints a Markdown table, ends with a line of JSON.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from bactrian.chat import prompt_ids
from bactrian.data.io.files import read_rows
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, plant
from bactrian.train.batches import answer_tokens

LAST = 10  # steps that "the reward at the end" is the mean of
DRAWS = 10_000
COLUMNS = (
    "method",
    "greedy, %",
    "sampled, %",
    "sampled − SFT, points",
    "each run",
    "KL to SFT, nats",
    "tokens",
    "reward, end",
    "tokens sampled",
)


@dataclass(frozen=True)
class ComparedRun:
    """One run: artifact folders by step, the methods in order, and what each scored.

    greedy, sampled: by method, accuracy of each question [Q]. length: tokens of a sampled answer.
    """

    steps: dict[str, Path]
    methods: list[str]
    greedy: dict[str, np.ndarray]
    sampled: dict[str, np.ndarray]
    length: dict[str, float]


def read_run(folder: Path) -> ComparedRun:
    if not (folder / "run.json").is_file():
        raise SystemExit(f"{folder}: found no run.json, expected the folder of a run")
    record = json.loads((folder / "run.json").read_text())
    steps = {each["name"]: folder.parent / each["path"] for each in record["steps"] if each["path"]}
    if "scores" not in steps:
        raise SystemExit(f"{folder}: no step scores yet")
    rows = pq.read_table(steps["scores"] / "questions.parquet").to_pylist()
    methods = list(dict.fromkeys(row["model"] for row in rows))
    of = {
        (m, mode): [r for r in rows if r["model"] == m and r["mode"] == mode]
        for m in methods
        for mode in ("greedy", "sampled")
    }
    length = {m: float(np.mean([row["tokens"] for row in of[m, "sampled"]])) for m in methods}
    return ComparedRun(
        steps,
        methods,
        {m: by_question(of[m, "greedy"]) for m in methods},
        {m: by_question(of[m, "sampled"]) for m in methods},
        length,
    )


def by_question(rows: list[dict[str, Any]]) -> np.ndarray:
    """Each question's share of right answers, questions in the order of their names."""
    right: dict[str, list[float]] = {}
    for row in rows:
        right.setdefault(row["question"], []).append(float(row["outcome"] == "right"))
    return np.array([np.mean(right[question]) for question in sorted(right)])


def drift(
    policy: LanguageModel, reference: LanguageModel, rows: list[dict[str, Any]], seed: int, longest: int
) -> float:
    """KL(policy ‖ reference) in nats an answer, from one sampled answer to each row's question."""
    prompts = [tuple(prompt_ids(row["messages"], policy.template, row["id"])) for row in rows]
    requests = [Request(p, seed=seed + i, max_new_tokens=longest, temperature=1.0) for i, p in enumerate(prompts)]
    answers = [group[0] for group in LocalEngine(policy, rows=128).generate(requests)]
    ours = sum(sum(answer.logprobs) for answer in answers)
    theirs = 0.0
    for at in range(0, len(answers), 64):
        part = zip(prompts[at : at + 64], answers[at : at + 64], strict=True)
        forest, spans = plant([Group(prompt, (answer.ids,)) for prompt, answer in part])
        with torch.no_grad():
            theirs += float(reference.logprobs(forest, answer_tokens(spans)[0], 1.0).sum())
    return (ours - theirs) / len(answers)


def training(step: Path) -> tuple[float | None, int | None]:
    """Mean reward of the last steps and tokens sampled; None where nothing was sampled."""
    file = step / "metrics.jsonl"
    told = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if not told or "reward" not in told[-1]:
        return None, None
    steps = {each["tokens"]: each["reward"] for each in told}  # a step's updates say the same
    return float(np.mean(list(steps.values())[-LAST:])), int(told[-1]["tokens"])


def line_of(method: str, runs: list[ComparedRun], kls: list[float]) -> dict[str, Any]:
    """A method's numbers over the runs."""
    base = runs[0].methods[0]
    differences = np.stack([run.sampled[method] - run.sampled[base] for run in runs])  # [runs, Q]
    mean = differences.mean(0)
    draws = np.random.default_rng(0).integers(0, len(mean), (DRAWS, len(mean)))
    ended = [training(run.steps[method]) for run in runs]
    rewards = [reward for reward, _ in ended if reward is not None]
    tokens = [count for _, count in ended if count is not None]
    return {
        "method": method,
        "greedy": [float(run.greedy[method].mean()) for run in runs],
        "sampled": [float(run.sampled[method].mean()) for run in runs],
        "gain": float(mean.mean()),
        "gain_interval": np.percentile(mean[draws].mean(1), [2.5, 97.5]).tolist(),
        "gains": differences.mean(1).tolist(),
        "kl": kls,
        "length": float(np.mean([run.length[method] for run in runs])),
        "reward": float(np.mean(rewards)) if rewards else None,
        "tokens": float(np.mean(tokens)) if tokens else None,
    }


def shown(line: dict[str, Any]) -> str:
    def spread(values: list[float]) -> str:
        return f"{100 * np.mean(values):.1f} ({100 * min(values):.1f}–{100 * max(values):.1f})"

    low, high = line["gain_interval"]
    gain = f"{100 * line['gain']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    kl = f"{np.mean(line['kl']):.3f}"
    if len(line["kl"]) > 1:
        kl += f" ± {np.std(line['kl'], ddof=1) / len(line['kl']) ** 0.5:.3f}"
    cells = [
        f"`{line['method']}`",
        spread(line["greedy"]),
        spread(line["sampled"]),
        gain,
        ", ".join(f"{100 * each:+.1f}" for each in line["gains"]),
        kl,
        f"{line['length']:.1f}",
        "–" if line["reward"] is None else f"{line['reward']:.3f}",
        "–" if line["tokens"] is None else f"{line['tokens'] / 1000:,.0f}k",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", type=Path, nargs="+", help="folders of runs, with run.json")
    options.add_argument("--questions", type=int, default=300, help="for the KL, of those of the step unseen")
    options.add_argument("--longest", type=int, default=40, help="tokens of an answer")
    asked = options.parse_args()
    runs = [read_run(folder) for folder in asked.runs]
    rows = read_rows(runs[0].steps["unseen"])[: asked.questions]
    start = LanguageModel.load(runs[0].steps[runs[0].methods[0]])
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    lines = []
    for method in runs[0].methods:
        kls = [
            drift(LanguageModel.load(run.steps[method]), start, rows, 1000 * i, asked.longest)
            for i, run in enumerate(runs)
        ]
        lines.append(line_of(method, runs, kls))
        print(shown(lines[-1]), flush=True)
    questions = len(runs[0].greedy[runs[0].methods[0]])
    print(json.dumps({"runs": [str(folder) for folder in asked.runs], "questions": questions, "lines": lines}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
