"""Reinforcement learning with vLLM as the sampler, beside the engine in this process: same problems, same seeds.

    python benchmarks/vllm_rl.py [--model embedded:smollm2-135m] [--steps 5] [--seeds 1] [--store FOLDER]
                                 [--runs local,vllm,killed,server]

Stage `rlvr` (GRPO) on "Write one sentence about …", rewarded by the share of words of at most four letters: once with
`hardware: {engine: local}` and once with `vllm`, which is sent the weights before each step's sampling and says of each
weight what arrived (SHA-256). Reported by step: the mean reward with the standard error of its group means, and the
mean absolute difference of the sampler's and the trainer's log-probabilities, in nats; by transfer its bytes and
seconds. In the run `killed` vLLM's core process is killed (-9) in the middle of the third step's sampling. The run
`server` asks a `vllm serve` that is started here, as a user would. With `--store` each run is kept there, and not made
again.

Needs vLLM (docs/dependencies.md). Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.generate import engines
from bactrian.generate.process_engine import ProcessEngine
from bactrian.model.embedded import materialise
from bactrian.recipe.references import EMBEDDED_PREFIX
from bactrian.run.python import RecipeInCode

THINGS = ("bees", "rivers", "bread", "winter", "trains", "paper", "clocks", "salt", "bridges", "music", "ships", "sand")
REWARD = """def short_words(completion: str, row: dict) -> float:
    words = completion.split()
    return sum(len(word) <= 4 for word in words) / max(1, len(words))
"""
RUNS = ("local", "vllm", "killed", "server")
SERVED = [
    *("--enforce-eager", "--max-model-len", "512", "--kv-cache-memory-bytes", str(2**30), "--max-num-seqs", "64"),
    *("--enable-scale-out", "--logprobs-mode", "processed_logprobs"),
    *("--weight-transfer-config", '{"backend": "bactrian_files"}'),
    *("--worker-extension-cls", "bactrian.generate.vllm_weights.BactrianWorker"),
]
KILLED_AT = 3  # the step
KILLED_AFTER = 100  # tokens of it


class Opened:
    """Stands in front of `open_engine`, to see afterwards what the engine did; and kills it, if asked."""

    def __init__(self, kill: bool) -> None:
        self.kill, self.engine, self.open = kill, None, engines.open_engine
        self.killed: list[int] = []

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.engine = self.open(*arguments, **options)
        if self.kill:
            self._aim(self.engine)
        return self.engine

    def _aim(self, engine: ProcessEngine) -> None:
        generate, calls, drawn = engine.generate, 0, 0

        def watched(requests: Any, on_tokens: Any = None, on_finish: Any = None) -> Any:
            nonlocal calls
            calls += 1

            def heard(tokens: int) -> None:
                nonlocal drawn
                drawn += tokens * (calls == KILLED_AT)
                if drawn >= KILLED_AFTER and not self.killed:
                    self.killed = engine.process.pids
                    for process in self.killed:
                        os.kill(process, signal.SIGKILL)
                if on_tokens:
                    on_tokens(tokens)

            return generate(requests, heard, on_finish)

        engine.generate = watched  # type: ignore[method-assign]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--problems", type=int, default=8)
    options.add_argument("--samples", type=int, default=8)
    options.add_argument("--new", type=int, default=32)
    options.add_argument("--dtype", default="float32")
    options.add_argument("--learning-rate", type=float, default=1e-5)
    options.add_argument("--runs", default="local,vllm,killed")
    options.add_argument("--store")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(asked.store or folder)
        found = [train(asked, store, run, seed) for seed in range(asked.seeds) for run in asked.runs.split(",")]
    table(found)
    print(json.dumps({"benchmark": "vllm_rl", **summary(found)}))


def train(asked: argparse.Namespace, store: Path, run: str, seed: int) -> dict[str, Any]:
    """One run of rlvr: what its metrics and its engine say."""
    where = store / f"{run}-{seed}"
    kept = where / "told.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        show(found)
        return found
    if run == "server":
        with served(asked) as url:
            found = trained(asked, where, run, seed, {"server": url, "check_weights": True})
    else:
        found = trained(asked, where, run, seed, {"cache_gib": 1.0, "context": 512, "check_weights": True})
    kept.write_text(json.dumps(found))
    show(found)
    return found


@contextmanager
def served(asked: argparse.Namespace) -> Iterator[str]:
    """A vLLM server on the model's folder, as its user would start it; its URL."""
    model = asked.model
    folder = materialise(model.removeprefix(EMBEDDED_PREFIX)) if model.startswith(EMBEDDED_PREFIX) else Path(model)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command = [*program, "--host", "127.0.0.1", "--port", str(port), "--dtype", asked.dtype, *SERVED]
    mine = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    process = subprocess.Popen(command, env={**os.environ, **mine}, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def trained(asked: argparse.Namespace, where: Path, run: str, seed: int, vllm: dict[str, Any]) -> dict[str, Any]:
    """Train, and collect what was told."""
    store, engine = where.parent, "local" if run == "local" else "vllm"
    hardware = {"engine": engine, "dtype": asked.dtype, "device": "cpu"}
    if engine == "vllm":
        hardware["vllm"] = vllm
    recipe = RecipeInCode("vllm-rl", seed=seed, hardware=hardware, store=where)
    reward = store / "short_words.py"
    store.mkdir(parents=True, exist_ok=True)
    reward.write_text(REWARD)
    rows = [{"prompt": f"Write one sentence about {thing}."} for thing in THINGS]
    recipe.step(
        "rlvr",
        "rlvr",
        model=asked.model,
        data=rows,
        reward={"verifier": f"{reward}:short_words", "no_end_reward": None},
        steps=asked.steps,
        problems_per_step=asked.problems,
        samples=asked.samples,
        max_new_tokens=asked.new,
        learning_rate=asked.learning_rate,
        watch={"rollouts": asked.problems},
    )
    opened = Opened(run == "killed")
    engines.open_engine = opened
    try:
        recipe.run(report=False)
    finally:
        engines.open_engine = opened.open
        if isinstance(opened.engine, ProcessEngine):
            opened.engine.close()
    return told(where, opened, run, seed)


def told(where: Path, opened: Opened, run: str, seed: int) -> dict[str, Any]:
    """Numbers by step."""
    (metrics,) = where.glob("artifacts/rlvr-*/metrics.jsonl")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()]
    rollouts = [json.loads(line) for line in (metrics.parent / "rollouts.jsonl").read_text().splitlines()]
    by_step: dict[int, dict[str, list[float]]] = {}
    for row in rollouts:
        by_step.setdefault(row["step"], {}).setdefault(row["question"], []).append(row["score"])
    errors = [np.std([np.mean(g) for g in groups.values()], ddof=1) / len(groups) ** 0.5 for groups in by_step.values()]
    sent = opened.engine.sent if isinstance(opened.engine, ProcessEngine) else []
    return {
        "run": run,
        "seed": seed,
        "killed": len(opened.killed),
        "replaced": getattr(opened.engine, "replaced", 0),
        "reward": [step["reward"] for step in steps],
        "error": [float(error) for error in errors],
        "gap": [step["logprob_gap_mean"] for step in steps],
        "largest_gap": [step["logprob_gap_max"] for step in steps],
        "sync": [{"bytes": each.bytes, "pieces": each.pieces, "seconds": each.seconds} for each in sent],
        "problems": [sorted(groups) for groups in by_step.values()],
        "samples": [sorted({len(scores) for scores in groups.values()}) for groups in by_step.values()],
    }


def show(found: dict[str, Any]) -> None:
    """Print a run."""
    print(f"\n{found['run']}, seed {found['seed']}")
    each = zip(found["reward"], found["error"], found["gap"], found["largest_gap"], strict=True)
    for step, (reward, error, gap, largest) in enumerate(each, 1):
        print(f"  step {step}: reward {reward:.3f} ± {error:.3f}, gap {gap:.2e} nats (largest {largest:.2e})")
    for sent in found["sync"]:
        print(f"  sent {sent['bytes'] / 2**20:.0f} MiB in {sent['pieces']} pieces, {sent['seconds']:.2f} s")


def table(found: list[dict[str, Any]]) -> None:
    """All runs, in the form of a document's table."""
    print("\n| run | seed | reward by step ± standard error | mean gap, nats | largest | transfers | replaced |")
    print("|---|---|---|---|---|---|---|")
    for each in found:
        rewards = ", ".join(f"{r:.3f} ± {e:.3f}" for r, e in zip(each["reward"], each["error"], strict=True))
        sync = each["sync"]
        seconds = [sent["seconds"] for sent in sync]
        sent = (
            f"{len(sync)} of {sync[0]['bytes'] / 2**20:.0f} MiB, {min(seconds):.2f}–{max(seconds):.2f} s"
            if sync
            else ""
        )
        gap, largest = np.mean(each["gap"]), max(each["largest_gap"])
        print(
            f"| {each['run']} | {each['seed']} | {rewards} | {gap:.1e} | {largest:.1e} | {sent} | {each['replaced']} |"
        )


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The rewards beside those of the engine in this process: mean differences and their errors."""
    told: dict[str, Any] = {"runs": [{k: v for k, v in each.items() if k != "problems"} for each in found]}
    mine = {each["seed"]: each for each in found if each["run"] == "local"}
    for name in RUNS:
        runs = [each for each in found if each["run"] == name]
        if runs:
            told[f"gap_{name}"] = float(np.mean([gap for each in runs for gap in each["gap"]]))
        pairs = [(mine[each["seed"]], each) for each in runs if name != "local" and each["seed"] in mine]
        if pairs:
            difference = np.concatenate([np.subtract(b["reward"], a["reward"]) for a, b in pairs])
            noise = np.concatenate([np.hypot(a["error"], b["error"]) for a, b in pairs])
            told[f"reward_{name}_less_local"] = float(difference.mean())
            told[f"reward_{name}_less_local_error"] = float((noise**2).sum() ** 0.5 / len(noise))
    told["same_problems"] = all(
        each["problems"] == first["problems"] for each in found for first in found if first["seed"] == each["seed"]
    )
    return told


if __name__ == "__main__":
    main()
