"""Asynchronous GRPO beside synchronous GRPO where the reward is slow: the same steps, answers and rewards.

    python benchmarks/async_rl.py [--delay 1.5] [--steps 30] [--runs 3] [--staleness 1,2]

The artificial verifier takes `--delay` seconds over the answers that it is given together, as a service does that
answers many at a time; it sleeps, and needs no processor. Both sides ask it for all answers of a step at once.
Synchronous: sample, wait, train, by turns. Asynchronous: one sampler, a Ray actor, is `--staleness` steps ahead. The
model has the shape of recipes/nano.yaml and no training, so that nearly every answer is as long as it may be, and both
do the same work. `--delay 0` says what the same costs or gains where rewards are quick.

A run's time is that of all its steps by the clock; of the asynchronous ones this includes the start of the sampler
(a process that loads torch) and the wait for the first batch. `steady` leaves out the first `ahead` + 1 steps of each
side. Ray's own start is in neither. The sides take turns, seed by seed. The last line is JSON: {"speedup_delay": of
the best staleness, over whole runs, median of seeds, …}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from duel import machine

from bactrian.data.io.files import read_rows
from bactrian.generate.engines import open_engine
from bactrian.model.language_model import LanguageModel
from bactrian.recipe.recipe import load
from bactrian.run.runner import run as make
from bactrian.stages.rl.rlvr import RLVR
from bactrian.store.artifact import Store, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.ray_session import ray_session
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import train
from bactrian.train.rl.asynchronous.ray_workers import RayWorkers
from bactrian.train.rl.asynchronous.remote_sampler import RemoteSampler
from bactrian.train.rl.asynchronous.sampling_worker import Post
from bactrian.train.rl.policy import GroupPolicy
from bactrian.train.rl.rollouts import Sampler
from bactrian.train.rl.verified import VerifiedSampler
from bactrian.verify import Judge, Pool, Problem
from bactrian.verify.verdict import Verdict

RECIPE = """\
name: base
seed: 1
hardware: {dtype: float32, threads: 1}
steps:
  corpus: {stage: corpus, count: 300, largest: 10}
  practice:
    stage: problems
    tasks: [{source: word_problems, count: 2000, operations: [1, 2], largest: 10}]
  base: {stage: pretrain, data: corpus, vocabulary: practice, batch_size: 300, epochs: 1}
"""


@dataclass(frozen=True)
class SlowJudge:
    """Sleeps, then says what has nothing to do with the answer's worth, but is the same for the same answer."""

    seconds: float

    def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        time.sleep(self.seconds)
        return [Verdict(float(sum(map(ord, answer)) % 2), "right", None, "") for _, answer in asked]


def slow_judges(seconds: float) -> Mapping[str, Judge]:
    return {"judge": SlowJudge(seconds)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--delay", type=float, default=1.5, help="seconds over the answers of a step")
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--problems", type=int, default=16)
    options.add_argument("--new", type=int, default=24, help="tokens of an answer")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--staleness", default="1,2")
    options.add_argument("--in-flight", action="store_true", help="take up new weights in the middle of answers")
    options.add_argument("--verifiers", type=int, default=1, help="steps whose answers the verifier has at once")
    options.add_argument("--runs", type=int, default=3)
    asked = options.parse_args()
    print(f"{machine()}; {asked.problems} x 8 answers of {asked.new} tokens a step, {asked.steps} steps, float32, ")
    print(f"{asked.threads} thread(s) for each side, {asked.delay:g} s over a step's answers; seeds 1 to {asked.runs}")
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "base.yaml").write_text(RECIPE)
        store = Store(Path(made) / "runs")
        steps = make(load(Path(made) / "base.yaml"), store, report=False)
        where = {step.name: store.root / str(step.path) for step in steps}
        rows = [{**row, "dataset": "judge", "settings": {}} for row in read_rows(where["practice"], "problem")]
        began = time.perf_counter()
        ray_session("this benchmark")
        print(f"Ray's start: {time.perf_counter() - began:.1f} s", flush=True)
        times: dict[str, list[list[float]]] = {}
        kinds = {"synchronous": 0, **{f"ahead {k}": k for k in map(int, asked.staleness.split(","))}}
        for seed in range(1, asked.runs + 1):
            for name, ahead in kinds.items():
                folder = Path(made) / f"{name} {seed}"
                seconds = run(asked, where["base"], rows, folder, seed, None if name == "synchronous" else ahead)
                times.setdefault(name, []).append(seconds)
                print(f"seed {seed} {name:12} {sum(seconds):7.1f} s, {show(seconds)} s a step", flush=True)
    whole = {name: [sum(seconds) for seconds in each] for name, each in times.items()}
    last = {name: [sum(seconds[1 + max(kinds.values()) :]) for seconds in each] for name, each in times.items()}
    speedups = {name: ratio(whole["synchronous"], each) for name, each in whole.items() if name != "synchronous"}
    steady = {name: ratio(last["synchronous"], each) for name, each in last.items() if name != "synchronous"}
    best = max(speedups, key=lambda name: speedups[name])
    told = {"speedup_delay": speedups[best], "of": best, "speedups": speedups, "steady": steady}
    print(json.dumps(told | {"delay": asked.delay, "steps": asked.steps, "seconds": whole}))


def show(seconds: list[float]) -> str:
    return f"first {seconds[0]:.1f}, then median {statistics.median(seconds[1:]):.2f}"


def ratio(before: list[float], after: list[float]) -> float:
    """Median over seeds of how many times as fast."""
    return round(statistics.median(a / b for a, b in zip(before, after, strict=True)), 2)


def run(
    asked: argparse.Namespace, base: Path, rows: list[dict[str, Any]], folder: Path, seed: int, ahead: int | None
) -> list[float]:
    """Seconds of each step; `ahead` None: synchronous."""
    sampling = {"rows_at_once": 256, "staleness": ahead or 0, "importance_cap": 2.0}
    stage = RLVR.model_validate(
        {
            "model": "base",
            "data": "practice",
            "steps": asked.steps,
            "problems_per_step": asked.problems,
            "max_new_tokens": asked.new,
            "reward": {"no_end_reward": None},
            "sampling": sampling,
        }
    )
    hardware = Hardware(dtype="float32", threads=asked.threads)
    model = LanguageModel.load(base)
    log = Workspace.temporary(folder)
    with ExitStack() as stack:
        pool = stack.enter_context(Pool(2, 10.0, slow_judges(asked.delay)))
        local = VerifiedSampler(
            open_engine(model, hardware, rows=256),
            rows,
            pool,
            seed,
            samples=stage.samples,
            max_new_tokens=asked.new,
            temperature=1.0,
        )
        sampler: Sampler = local
        if ahead is not None:
            post = Post(
                partial(LanguageModel.load, base),
                partial(slow_judges, asked.delay),
                hardware,
                rows,
                seed,
                stage.samples,
                asked.new,
                1.0,
                256,
                10.0,
                piece=8 if asked.in_flight else None,
                verifiers=asked.verifiers,
            )
            crew = stack.enter_context(RayWorkers(post, 1, model))
            sampler = RemoteSampler(crew, local.prompts, parts=1, exact=not asked.in_flight, gap_limit=0.1)
        task = GroupPolicy(model, sampler, len(rows), stage, steps=stage.steps, seed=seed)
        train("rlvr", model, task, LoopSettings(1e-6, "constant", checkpoint_seconds=1e6), log)
    return seconds_of_steps(log.output / "metrics.jsonl")


def seconds_of_steps(metrics: Path) -> list[float]:
    """The clock from the beginning of each step to its end: its tokens over its tokens per second."""
    seconds, before = [], 0.0
    for line in metrics.read_text().splitlines():
        values: dict[str, Any] = json.loads(line)
        seconds.append((values["tokens"] - before) / values["tokens_per_second"])
        before = values["tokens"]
    return seconds


if __name__ == "__main__":
    main()
