"""Fabricates a run's folder: seven steps with seeded synthetic numbers, in the form of docs/design.md."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from bactrian.store.manifest import Manifest
from bactrian.verify import OUTCOMES

TASKS = ("sums", "chain-sums")
MODELS = ("base", "sft", "dpo", "rlvr")
ACCURACY = {"base": 0.03, "sft": 0.31, "dpo": 0.32, "rlvr": 0.42}
QUESTIONS = 300
SAMPLES = {"greedy": 1, "sampled": 4}
RECIPE = """# Expected: greedy 41 % ± 2 over 3 seeds.
name: {name}
seed: 17
hardware: {{threads: 2, dtype: float32}}
steps:
  problems: {{stage: problems, task: sums, count: 4000}}
  heldout:  {{stage: problems, task: sums, count: 300, seed: 1}}
  sft:      {{stage: sft, model: "embedded:smollm2-135m", data: problems, epochs: 1, learning_rate: 2.0e-5}}
  pairs:    {{stage: pairs, models: [sft], data: problems, samples: 8}}
  dpo:      {{stage: dpo, model: sft, data: pairs, loss: dpo_norm, beta: 5}}
  rlvr:     {{stage: rlvr, model: dpo, data: problems, group: 8, kl: 0.01}}
  scores:   {{stage: evaluate, models: ["embedded:smollm2-135m", sft, dpo, rlvr], data: heldout}}
"""


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _curve(rng: random.Random, start: float, end: float, noise: float, at: float) -> float:
    return end + (start - end) * math.exp(-4 * at) + rng.gauss(0, noise)


def sft_metrics(rng: random.Random, steps: int) -> list[dict[str, Any]]:
    """Loss falling over a warm-up and cosine schedule."""
    return [
        {
            "step": i,
            "loss": _curve(rng, 2.9, 0.62, 0.06, i / steps),
            "learning_rate": 2e-5 * min(1, i / 20, 1.05 - i / steps),
            "grad_norm": _curve(rng, 4.2, 1.1, 0.25, i / steps),
            "tokens": 4196 * i,
            "tokens_per_second": 1450 + rng.gauss(0, 60),
        }
        for i in range(1, steps + 1)
    ]


def dpo_metrics(rng: random.Random, steps: int) -> list[dict[str, Any]]:
    """Pairs told apart ever better."""
    rows = []
    for i in range(1, steps + 1):
        chosen, rejected = _curve(rng, 0, 0.18, 0.05, i / steps), _curve(rng, 0, -0.55, 0.06, i / steps)
        rows.append(
            {
                "step": i,
                "loss": _curve(rng, 0.693, 0.51, 0.03, i / steps),
                "learning_rate": 5e-7 * (1 - i / steps),
                "grad_norm": 1.5 + rng.gauss(0, 0.2),
                "tokens": 6250 * i,
                "tokens_per_second": 980 + rng.gauss(0, 30),
                "accuracy": min(1, max(0, _curve(rng, 0.5, 0.74, 0.06, i / steps))),
                "margin": chosen - rejected,
                "reward_chosen": chosen,
                "reward_rejected": rejected,
            }
        )
    return rows


def rlvr_metrics(rng: random.Random, steps: int) -> list[dict[str, Any]]:
    """Reward rising, groups without signal becoming more, a tiny gap between sampler and trainer."""
    return [
        {
            "step": i,
            "loss": rng.gauss(0, 0.004),
            "surrogate": rng.gauss(0, 0.004),
            "score": _curve(rng, 0.33, 0.48, 0.05, i / steps),
            "reward": _curve(rng, 0.31, 0.47, 0.05, i / steps),
            "reward_std": _curve(rng, 0.36, 0.3, 0.02, i / steps),
            "zero_variance": min(1, max(0, 0.22 + 0.2 * i / steps + rng.gauss(0, 0.06))),
            "kl": 0.03 * i / steps + abs(rng.gauss(0, 0.002)),
            "completion_length": _curve(rng, 38, 30, 1.5, i / steps),
            "truncated": max(0, _curve(rng, 0.09, 0.015, 0.012, i / steps)),
            "logprob_gap_mean": abs(rng.gauss(4e-7, 1e-7)),
            "logprob_gap_max": abs(rng.gauss(4e-6, 1e-6)),
            "clip_fraction": abs(rng.gauss(0.004, 0.002)),
            "entropy": _curve(rng, 0.62, 0.37, 0.02, i / steps),
            "learning_rate": 1e-6,
            "grad_norm": 0.5 + abs(rng.gauss(0, 0.1)),
            "tokens": 9450 * i,
            "tokens_per_second": 610 + rng.gauss(0, 25),
            "weight_version": i,
            "end_of_text_penalty": 0.1 * rng.random(),
        }
        for i in range(1, steps + 1)
    ]


def wilson(right: int, total: int) -> list[float]:
    """The 95 % Wilson interval."""
    z, p = 1.96, right / total
    centre, half = p + z * z / (2 * total), z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return [(centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)]


PROMPT = (
    "<|im_start|>user\nA caravan carries {} bags of salt, takes on {} and sells {}. How many bags are left?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
Rows = list[dict[str, Any]]


def _answers(rng: random.Random) -> tuple[Rows, dict[tuple[str, str, str], Rows]]:
    """Rows of questions.parquet: all models on the same questions, greedy once and sampled four times."""
    rows: Rows = []
    grouped: dict[tuple[str, str, str], Rows] = {}
    for task in TASKS:
        for number in range(QUESTIONS):
            bags = [rng.randrange(10, 99) for _ in range(3)]
            luck = rng.gauss(0, 0.18)
            for model, mode, sample in (
                (m, mode_, k) for m in MODELS for mode_, n in SAMPLES.items() for k in range(n)
            ):
                skill = ACCURACY[model] * (0.8 if task == "chain-sums" else 1.0)
                right = rng.random() < min(0.98, max(0.0, skill + luck * min(1, skill * 4)))
                row = {"model": model, "task": task, "mode": mode, "question": f"{task}-{number}", "sample": sample}
                rows.append(row | _answer(rng, model, bags, right))
                grouped.setdefault((task, model, mode), []).append(rows[-1])
    return rows, grouped


def _answer(rng: random.Random, model: str, bags: list[int], right: bool) -> dict[str, Any]:
    """What a model said to one question: the base model rambles, the others compute."""
    a, b, c = bags
    truth = a + b - c
    said = truth if right else truth + rng.choice([-10, -1, 1, 2, 10])
    unparsable, truncated = {"base": (0.5, 0.75), "sft": (0.03, 0.08)}.get(model, (0.01, 0.03))
    roll = rng.random()
    fault = "unparsable" if roll < unparsable else "truncated" if roll < truncated else "wrong"
    outcome = "right" if right else fault
    text = f"First add: {a} + {b} = {a + b}. Then take away {c}: {a + b} - {c} = {said}.\n#### {said}"
    if model == "base":
        text = f"The caravan carries {a} bags. The caravan takes on {b}. The caravan is a caravan of {said}."
    return {
        "prompt": PROMPT.format(a, b, c),
        "completion": text,
        "ground_truth": str(truth),
        "extracted": None if outcome == "unparsable" else str(said),
        "score": float(right),
        "outcome": outcome,
        "tokens": 26 + rng.randrange(20),
        "finish": "length" if outcome == "truncated" else "stop",
    }


def results(rng: random.Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """results.json and the rows of questions.parquet, consistent with each other."""
    rows, grouped = _answers(rng)
    scores, comparisons = [], []
    for (task, model, mode), given in grouped.items():
        counts = {name: sum(row["outcome"] == name for row in given) for name in OUTCOMES}
        score = counts["right"] / len(given)
        pass_at = {} if mode == "greedy" else {"1": score, "4": 1 - (1 - score) ** 2.6}
        scores.append(
            {
                "model": model,
                "task": task,
                "mode": mode,
                "questions": QUESTIONS,
                "samples": len(given) // QUESTIONS,
                "score": score,
                "interval": wilson(counts["right"], len(given)),
                "counts": counts,
                "pass_at_k": pass_at,
                "mean_tokens": sum(row["tokens"] for row in given) / len(given),
            }
        )
    for task in TASKS:
        for mode in ("greedy", "sampled"):
            for i, before in enumerate(MODELS):
                for after in MODELS[i + 1 :]:
                    comparisons.append(_compare(task, mode, before, after, grouped))
    facts = {
        "n": QUESTIONS,
        "verifier": "gsm8k",
        "max_new_tokens": 64,
        "template_hash": _hash("template"),
        "prompt_example": rows[0]["prompt"],
        "overlap": 0,
    }
    tasks = {task: facts | {"data_hash": _hash(task)} for task in TASKS}
    return {"tasks": tasks, "models": list(MODELS), "scores": scores, "comparisons": comparisons}, rows


def _compare(task: str, mode: str, before: str, after: str, grouped: dict[Any, list[dict[str, Any]]]) -> dict[str, Any]:
    pairs = list(zip(grouped[task, before, mode], grouped[task, after, mode], strict=True))
    gained = sum(b["score"] > a["score"] for a, b in pairs)
    lost = sum(b["score"] < a["score"] for a, b in pairs)
    difference = (gained - lost) / len(pairs)
    half = 1.96 * math.sqrt(max(1e-9, (gained + lost) / len(pairs) - difference**2) / len(pairs))
    p = math.erfc(abs(gained - lost) / math.sqrt(2 * max(1, gained + lost)))
    return {
        "task": task,
        "mode": mode,
        "before": before,
        "after": after,
        "difference": difference,
        "interval": [difference - half, difference + half],
        "p": p,
        "test": "mcnemar" if mode == "greedy" else "bootstrap",
        "gained": gained,
        "lost": lost,
    }


BASE = "embedded:smollm2-135m"
# name, stage, kind, inputs (steps or sources), seconds
STEPS = (
    ("problems", "problems", "data", (), 3.1),
    ("heldout", "problems", "data", (), 0.6),
    ("sft", "sft", "model", (BASE, "problems"), 241.0),
    ("pairs", "pairs", "data", ("sft", "problems"), 158.0),
    ("dpo", "dpo", "model", ("sft", "pairs"), 132.0),
    ("rlvr", "rlvr", "model", ("dpo", "problems"), 377.0),
    ("scores", "evaluate", "results", (BASE, "sft", "dpo", "rlvr", "heldout"), 119.0),
)
METRICS = {"sft": (sft_metrics, 240), "dpo": (dpo_metrics, 90), "rlvr": (rlvr_metrics, 60)}
GYM = {"source": "reasoning-gym", "licence": "Apache-2.0", "marks": []}
SMOL = {"source": "SmolLM2-135M", "licence": "Apache-2.0", "marks": []}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_manifest(folder: Path, stage: str, step: str, kind: str, seconds: float, **more: Any) -> None:
    """manifest.json over whatever the folder holds."""
    files = {
        p.name: {"sha256": hashlib.sha256(p.read_bytes()).hexdigest(), "bytes": p.stat().st_size}
        for p in sorted(folder.iterdir())
    }
    manifest = {
        "kind": kind,
        "stage": stage,
        "step": step,
        "key": _hash(step),
        "content_hash": _hash(step, "content"),
        "inputs": {},
        "settings": {"learning_rate": 2e-5, "epochs": 1, "loss": "dpo_norm", "beta": 5.0, "tasks": ["sums"]},
        "seed": 17,
        "code": {"version": "0.1.0", "commit": "c8fa1c5d0b7e", "fingerprint": _hash("code")},
        "packages": {"torch": "2.8.0", "transformers": "5.0.1", "numpy": "2.3.1"},
        "hardware": {
            "cpu": "AMD EPYC 7B13",
            "cores": 2,
            "threads": 2,
            "memory": 8 * 2**30,
            "gpu": None,
            "dtype": "float32",
        },
        "licences": [GYM] if kind == "data" else [GYM, SMOL],
        "started": "2025-10-03T14:05:00+00:00",
        "seconds": seconds,
        "attempts": 1,
        "metrics": {},
        "files": files,
    }
    Manifest.model_validate(manifest | more).write(folder)


def write_run(store: Path, name: str = "quickstart", seed: int = 17) -> Path:
    """A whole run below `store`; returns the run's folder."""
    shutil.copytree(_written(name, seed).name, store, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return store / name


@cache
def _written(name: str, seed: int) -> tempfile.TemporaryDirectory[str]:
    """A store with the run, written once a process."""
    kept = tempfile.TemporaryDirectory()
    store, rng = Path(kept.name), random.Random(seed)
    steps = []
    for step, stage, kind, inputs, seconds in STEPS:
        path = Path("artifacts") / f"{stage}-{_hash(step)[:12]}"
        folder = store / path
        folder.mkdir(parents=True)
        if kind == "model":
            (folder / "config.json").write_text("{}")
            make, count = METRICS[stage]
            write_lines(folder / "metrics.jsonl", make(rng, count))
        elif kind == "results":
            summary, rows = results(rng)
            (folder / "results.json").write_text(json.dumps(summary))
            parquet.write_table(pa.Table.from_pylist(rows), folder / "questions.parquet")
        else:
            (folder / "README.md").write_text("# card")
        read = {ref: {"key": _hash(ref), "content_hash": _hash(ref, "content"), "path": ref} for ref in inputs}
        write_manifest(folder, stage, step, kind, seconds, inputs=read)
        steps.append(
            {
                "name": step,
                "stage": stage,
                "kind": kind,
                "key": _hash(step),
                "path": str(path),
                "seconds": seconds,
                "status": "reused" if kind == "data" and step != "pairs" else "made",
                "inputs": {ref: ref for ref in inputs},
            }
        )
    run = store / name
    run.mkdir()
    record = {
        "name": name,
        "recipe": RECIPE.format(name=name),
        "recipe_path": f"recipes/{name}.yaml",
        "steps": steps,
        "command": f"bactrian run recipes/{name}.yaml --set rlvr.steps=60",
        "started": "2025-10-03T14:05:00+00:00",
        "seconds": 1031.0,
    }
    (run / "run.json").write_text(json.dumps(record))
    return kept
