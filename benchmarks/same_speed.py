"""Whether two source trees are as fast: the same training, RL and sampling in both, by turns.

    python benchmarks/same_speed.py --before ../before --after . --rounds 3 [--only dpo rlvr]

Each run is a process of its own, a stage's command on SmolLM2-135M with rows made here. What is compared is the seconds
that the manifest says, loading included. Prints each run, and the ratio of the medians, after over before; the last
line is JSON. On an idle machine, please.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "embedded:smollm2-135m"
TOPICS = ("rivers", "camels", "bridges", "clocks", "letters", "winter", "maps", "bread")


def write_rows(folder: Path) -> None:
    """96 conversations of about 120 tokens, 48 pairs, and 48 problems that no model answers in few tokens."""
    talk = [
        {
            "id": f"t{n}",
            "messages": [
                {"role": "user", "content": f"Say something about {TOPICS[n % 8]}, number {n}."},
                {"role": "assistant", "content": f"Of {TOPICS[n % 8]} there is much to say. " * (8 + n % 5)},
            ],
        }
        for n in range(96)
    ]
    problems = [
        {
            "id": f"p{n}",
            "messages": [{"role": "user", "content": f"Write a long story about {TOPICS[n % 8]} and the number {n}."}],
            "ground_truth": str(n),
            "dataset": "gsm8k",
        }
        for n in range(48)
    ]
    pairs = [
        {
            "id": each["id"],
            "prompt": each["messages"][:1],
            "chosen": each["messages"][1:],
            "rejected": [{"role": "assistant", "content": f"No, not of {TOPICS[n % 8]}. " * (6 + n % 4)}],
        }
        for n, each in enumerate(talk[:48])
    ]
    for name, rows in (("talk", talk), ("problems", problems), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def seconds(tree: Path, folder: Path, name: str, arguments: list[str]) -> float:
    """The seconds that one step took, by its manifest. Raises CalledProcessError where it fails."""
    store = folder / name
    command = [sys.executable, "-m", "bactrian", *arguments, "--store", str(store), "--name", "speed"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    (step,) = json.loads((store / "speed" / "run.json").read_text())["steps"]
    return float(step["seconds"])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--before", type=Path, required=True)
    options.add_argument("--after", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", nargs="*", help="of sft, dpo, rlvr, evaluate; by default all")
    given = options.parse_args()
    trees = {"before": given.before.resolve(), "after": given.after.resolve()}
    tasks = {
        "sft": ["sft", "--model", MODEL, "--data", "talk.jsonl", "--epochs", "1", "--batch-size", "16"],
        "dpo": ["dpo", "--model", MODEL, "--data", "pairs.jsonl", "--epochs", "1", "--batch-size", "16"],
        "rlvr": [
            *("rlvr", "--model", MODEL, "--data", "problems.jsonl", "--steps", "3", "--samples", "8"),
            *("--problems-per-step", "4", "--max-new-tokens", "64"),
        ],
        "evaluate": ["evaluate", "--models", MODEL, "--data", "problems.jsonl", "--max-new-tokens", "128"],
    }
    tasks = {name: arguments for name, arguments in tasks.items() if not given.only or name in given.only}
    found: dict[str, dict[str, list[float]]] = {task: {side: [] for side in trees} for task in tasks}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder)
        for number in range(given.rounds):
            for task, arguments in tasks.items():
                for side in trees if number % 2 == 0 else reversed(trees):
                    took = seconds(trees[side], folder, f"{task}-{side}-{number}", arguments)
                    found[task][side].append(took)
                    print(f"{task:9} {side:7} {took:7.1f} s", flush=True)
    ratios = {
        task: statistics.median(sides["after"]) / statistics.median(sides["before"]) for task, sides in found.items()
    }
    for task, ratio in ratios.items():
        print(f"{task}: after / before = {ratio:.3f}")
    print(json.dumps({"benchmark": "same_speed", "seconds": found, "after_over_before": ratios}))


if __name__ == "__main__":
    main()
