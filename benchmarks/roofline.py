"""How near a training step comes to the machine's matrix product.

    python benchmarks/roofline.py [--model embedded:smollm2-135m] [--runs 5]

Measures the speed of a square bfloat16 product (2048), and training steps on rows of 512 tokens: SFT with all tokens
trained, SFT with 60 %, DPO. The share counts only the operations that the loss needs: 6 a weight and token, the head
where a token is trained, causal attention; nothing that is computed twice.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

LENGTH = 512


def square_peak(threads: int, size: int = 2048, runs: int = 12) -> float:
    """FLOP/s of a square bfloat16 product, the best of some."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.randn(size, size).to(torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def needed(config: Any, tokens: float, trained: float, pairs: float) -> float:
    """Operations of forward and backward: layers on `tokens`, attention on `pairs` of them, the head on `trained`."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings().weight.numel()
    layers = sum(p.numel() for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2)
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    attention = 12 * width * config.num_hidden_layers * pairs
    return 6 * (layers * tokens + head * trained) + attention


def main() -> None:
    import numpy as np
    from duel import machine
    from transformers import AutoConfig
    from versus import arguments, draw_ids, model_folder

    asked = arguments(__doc__).parse_args()
    folder = model_folder(asked.model)
    config = AutoConfig.from_pretrained(folder)
    random = np.random.default_rng(2)
    result: dict[str, Any] = {"benchmark": "roofline"}
    peaks = [square_peak(asked.threads)]
    rows = []
    for name, share, seen in (("sft, all trained", 1.0, 0.5), ("sft, 60 % trained", 0.6, 0.5), ("dpo", 0.5, 0.0)):
        count = 4 * (asked.runs + 2)
        if name == "dpo":
            task, lengths = "dpo", {"prompt": LENGTH // 3, "chosen": LENGTH // 3, "rejected": LENGTH // 3}
            work = {"rows": [{k: draw_ids(random, n) for k, n in lengths.items()} for _ in range(count)], "beta": 0.1}
            tokens, p = sum(lengths.values()), LENGTH // 3
            pairs, trained = p * p / 2 + 2 * (p * p + p * p / 2), 2.0 * p
        else:
            task, prompt = "sft", int((1 - share) * LENGTH)
            marks = [0] * prompt + [1] * (LENGTH - prompt)
            work = {"rows": [{"ids": draw_ids(random, LENGTH), "trained": marks} for _ in range(count)]}
            tokens, pairs, trained = LENGTH, seen * LENGTH**2, share * LENGTH
        seconds, peak = measure(task, folder, {**work, "batch": 4}, asked.runs, asked.threads)
        peaks.append(square_peak(asked.threads))
        flops = 4 * needed(config, tokens, trained, pairs) / seconds
        rows.append((name, 4 * tokens / seconds, flops, peak))
    top = statistics.median(peaks)
    print(f"{machine()}; {asked.model}; bf16 square product {top / 1e9:.0f} GFLOP/s (median of {len(peaks)})")
    print(f"{'step':>20} {'tokens/s':>9} {'GFLOP/s':>8} {'share':>6} {'peak GiB':>9}")
    for name, speed, flops, peak in rows:
        print(f"{name:>20} {speed:>9.0f} {flops / 1e9:>8.0f} {flops / top:>6.0%} {peak:>9.2f}")
        result[name] = {"tokens_per_second": speed, "share_of_peak": flops / top, "peak_gib": peak}
    print(json.dumps({**result, "square_gflops": top / 1e9}))


def measure(task: str, folder: Any, work: dict[str, Any], runs: int, threads: int) -> tuple[float, float]:
    """Median seconds of a step of ours, and its peak memory in GiB."""
    import sys

    from duel import Side
    from versus import HERE, write_work

    files = write_work(work, "roofline")
    script = HERE / "training_ours.py"
    with Side(
        "ours", sys.executable, script, task, str(folder), str(files["ours"]), "bfloat16", threads=threads
    ) as side:
        steps = [side.ask("step") for _ in range(runs + 1)][1:]
    return statistics.median(step["seconds"] for step in steps), steps[-1]["peak"]


if __name__ == "__main__":
    main()
