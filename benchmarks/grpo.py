"""A whole GRPO step, rollouts to update: ours beside TRL's GRPOTrainer.

    python benchmarks/grpo.py [--peer-python PATH] [--prompts 2] [--samples 8] [--new 128] [--prompt-tokens 40,1000]

Every rollout has exactly `--new` tokens on both sides: no end token ends one, so neither gains by short answers.
Rewards are a function of the rollout's ids that differs within every group: all groups are trained on. TRL's defaults
that cost time and that ours does not have are switched off (gradient checkpointing, logging; the KL term is 0 by
default); with a long prompt it trains on four rows at a time, as its memory demands. Both compute in bfloat16; TRL's
weights are bfloat16 without float32 masters, ours have masters. `continuous` is TRL with transformers' continuous
batching.

First, in float32, both must give the same loss and gradient on the same rollout ids, within 1e-5 relative.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from duel import Side, in_turns, machine
from generate import model_folder

SCRIPT = Path(__file__).with_name("grpo_side.py")
TOLERANCE = 1e-5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--peer-python", default=sys.executable, help="with trl")
    options.add_argument("--peers", default="trl")
    options.add_argument("--prompts", type=int, default=2)
    options.add_argument("--samples", type=int, default=8)
    options.add_argument("--new", type=int, default=128)
    options.add_argument("--prompt-tokens", default="40,1000")
    options.add_argument("--runs", type=int, default=5)
    asked = options.parse_args()
    folder = model_folder(asked.model)
    print(f"{machine()}; {asked.model} {asked.dtype}, {asked.prompts} x {asked.samples} rollouts of {asked.new} tokens")
    print(f"median of {asked.runs} steps in turns")
    print(f"{'prompt':>7} {'side':>11} {'s/step':>7} {'sampling':>9} {'ours / it':>9} {'peak GiB':>9}")
    result: dict[str, Any] = {"benchmark": "grpo", "check": {}}
    for length in map(int, asked.prompt_tokens.split(",")):

        def side(name: str, dtype: str, samples: int = asked.samples, length: int = length) -> Side:
            python = sys.executable if name == "ours" else asked.peer_python
            work = (str(folder), str(asked.prompts), str(samples), str(asked.new), str(length))
            return Side(name, python, SCRIPT, name, dtype, *work)

        # in float32 a peer needs more than this machine's memory for all rollouts to a long prompt
        few = partial(side, samples=min(asked.samples, 2))
        result["check"][length] = same_gradient(few, asked.peers.split(",")[0])
        sides = [side(name, asked.dtype) for name in ("ours", *asked.peers.split(","))]
        for each in sides:
            each.ask("step", run=-1)  # warm
        seconds = in_turns(sides, asked.runs, "step")
        for each in sides:
            told = each.ask("peak")
            ratio = seconds[each.name] / seconds["ours"]
            print(
                f"{length:>7} {each.name:>11} {seconds[each.name]:>7.2f} {told['sampling']:>9.2f} {ratio:>9.2f} "
                f"{told['gigabytes']:>9.2f}",
                flush=True,
            )
            result[f"{each.name}@{length}"] = {
                "seconds": seconds[each.name],
                "ratio": ratio,
                "sampling": told["sampling"],
                "peak_gib": told["gigabytes"],
            }
            each.process.kill()
    print(json.dumps(result))


def same_gradient(side: Any, peer: str) -> dict[str, float]:
    """Relative differences of loss and gradient between ours and the peer's, in float32.

    Raises:
        SystemExit: they are larger than TOLERANCE.
    """
    import torch
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        losses, gradients = {}, {}
        for name in ("ours", peer):
            path = str(Path(folder) / f"{name}.safetensors")
            with side(name, "float32") as each:
                losses[name] = each.ask("gradient", path=path)["loss"]
            gradients[name] = load_file(path)
    ours, theirs = gradients["ours"], gradients[peer]
    if ours.keys() != theirs.keys():
        raise SystemExit(f"gradients of other weights: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    distance = torch.stack([(ours[k] - theirs[k]).double().square().sum() for k in ours]).sum().sqrt()
    size = torch.stack([theirs[k].double().square().sum() for k in theirs]).sum().sqrt()
    found = {
        # the loss is near 0 at the first step whatever the policy (advantages add up to 0): its scale is an advantage's
        "loss": abs(losses["ours"] - losses[peer]),
        "gradient": float(distance / size),
    }
    if max(found.values()) > TOLERANCE:
        raise SystemExit(f"loss and gradient differ: {found}: nothing to compare")
    return found


if __name__ == "__main__":
    main()
