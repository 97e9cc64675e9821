"""Training by the loop that stages use: SFT of all weights, beside adapters, with 8-bit states, offloaded; DPO."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parts import Bench
from shapes import Shape, flops_a_token, language_model, random_ids, shape_of, skewed_lengths

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 products by the makers' data sheets, FLOP/s; elsewhere no MFU is given."""
WARM = 3  # steps that are not counted: kernels are compiled, memory is asked for
LONG_ENOUGH = 18.0  # seconds of steps
LONGEST = 8192


class Steps:
    """A log that times the steps, for `train`."""

    def __init__(self, device: str, most: int | None = None) -> None:
        """
        Args:
            most: steps after which training ends.
        """
        self.device, self.most = device, most
        self.checkpoints = Path(tempfile.mkdtemp())
        self.at: list[float] = []
        self.tokens: list[float] = []
        self.loss = float("nan")

    def log(self, step: int, **values: float) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.at.append(time.perf_counter())
        self.tokens.append(values["tokens"])
        self.loss = values["loss"]
        if self.most is not None and step >= self.most:
            from bactrian.train.loop import Enough

            raise Enough("a toy's steps are made")

    def rewind(self, step: int) -> None:
        self.at.append(time.perf_counter())
        self.tokens.append(0.0)

    def told(self, costs: dict[str, float]) -> dict[str, Any]:
        """What was measured after the warm-up.

        Args:
            costs: FLOPs a token, by the convention they are counted by.
        """
        first = min(WARM, len(self.at) - 2)
        seconds = [b - a for a, b in zip(self.at[first:], self.at[first + 1 :], strict=False)]
        if not seconds:
            raise RuntimeError(f"{len(self.at) - 1} steps were made, expected more than {WARM}")
        speed = (self.tokens[-1] - self.tokens[first]) / sum(seconds)
        quarters = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
        name = torch.cuda.get_device_name(0) if self.device == "cuda" else ""
        peak = next((flops for part, flops in PEAKS.items() if part in name), None)
        return {
            "tokens_per_second": speed,
            "step_seconds": statistics.median(seconds),
            "spread": quarters[2] - quarters[0],
            "steps": len(seconds),
            "loss": self.loss,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else None,
            **{name: speed * cost / peak for name, cost in costs.items() if peak is not None},
        }


def run(bench: Bench, model: Any, task: Any, costs: dict[str, float], **how: Any) -> dict[str, Any]:
    """Train for the time that there is, and no longer than is worth it."""
    from bactrian.train.backend import LoopSettings
    from bactrian.train.loop import train

    log = Steps(bench.device, most=6 if bench.toy else None)
    limit = None if bench.toy else min(LONG_ENOUGH, max(3.0, bench.left))
    train("bench", model, task, LoopSettings(learning_rate=1e-5, checkpoint_seconds=1e9, time_limit=limit, **how), log)
    return log.told(costs)


def sft(bench: Bench, name: str, how: str = "full") -> None:
    """how: full, 8k (rows of 8,192 tokens), lora, 8bit (optimiser states), offload."""
    from bactrian.chat import Rendered
    from bactrian.model.adapters import add_adapters
    from bactrian.model.recompute import drop_activations
    from bactrian.train.supervised import Supervised

    shape, toy = shape_of(name, bench.toy), bench.toy
    long = 128 if toy else LONGEST
    masters = how in ("full", "8k", "offload") and name != "8b"
    model = language_model(shape, bench.device, "bfloat16", long, masters=masters)
    parameters = model.parameters
    recompute = name == "8b" or how == "8k"
    if recompute:
        drop_activations(model.network, "layer")
    adapted = how == "lora"
    if adapted:
        add_adapters(model.network, "none", rank=16, alpha=32.0)
    lengths = [long] * 64 if how == "8k" or name == "8b" else skewed_lengths(2048 if not toy else 64, long // 4)
    rows = [Rendered(random_ids(n, shape.vocabulary, i), [1.0] * n) for i, n in enumerate(lengths)]
    mean = sum(n * n for n in lengths) / sum(lengths)  # of the row that a token is in
    micro = long if how == "8k" or name == "8b" else 2 * long
    per_step = max(1, micro * len(lengths) // sum(lengths))
    task = Supervised(model, rows, batch_rows=per_step, epochs=1000, seed=0, micro_tokens=micro)
    options = {"8bit": {"states": "8bit"}, "offload": {"offload": True}}.get(how, {})
    kept = ", layers recomputed" if recompute else ""
    what = f"SFT {name}, {how}, {len(lengths)} rows of {min(lengths)}-{max(lengths)} tokens, bf16{kept}"
    bench.row(what, **run(bench, model, task, flops_a_token(parameters, shape, mean, adapted), **options))


def dpo(bench: Bench, name: str) -> None:
    """Pairs that share a prompt, which is forwarded once; tokens as a trainer that forwards it twice counts them."""
    from bactrian.train.losses import Objective
    from bactrian.train.preference import Preference, PreferencePair, reference_logprobs

    shape, toy = shape_of(name, bench.toy), bench.toy
    prompt, answer, count = (16, 12, 16) if toy else (512, 384, 256)
    model = language_model(shape, bench.device, "bfloat16", 4 * (prompt + answer), masters=True)
    pairs = [pair(shape, i, prompt, answer) for i in range(count)]
    began = time.perf_counter()
    micro = 8 * (prompt + 2 * answer)
    reference = reference_logprobs(model, [PreferencePair(*each) for each in pairs], micro)
    took = time.perf_counter() - began
    task = Preference(
        model,
        [PreferencePair(*each) for each in pairs],
        reference,
        Objective("dpo", 0.1),
        batch_pairs=8,
        epochs=1000,
        seed=0,
        micro_tokens=micro,
    )
    costs = flops_a_token(model.parameters, shape, prompt + answer)
    found = run(bench, model, task, costs)
    found["tokens_per_second"] *= (2 * prompt + 2 * answer) / (prompt + 2 * answer)
    bench.row(f"DPO {name}, {prompt} + 2 x {answer} tokens, prompt counted twice", reference_seconds=took, **found)


def pair(shape: Shape, number: int, prompt: int, answer: int) -> tuple[tuple[int, ...], ...]:
    ids = random_ids(prompt + 2 * answer, shape.vocabulary, number)
    return tuple(ids[:prompt]), tuple(ids[prompt : prompt + answer]), tuple(ids[prompt + answer :])


KINDS: dict[str, Callable[..., None]] = {"sft": sft, "dpo": dpo}
