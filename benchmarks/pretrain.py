"""A step of pretraining beside a plain transformers + torch loop: same weights, same rows, same machine, in turns.

    python benchmarks/pretrain.py [--rounds 5] [--width 256] [--layers 4] [--rows 8] [--length 512]

A dense OLMo 2 and an OLMoE whose active parameters are as many, random weights and random tokens, rows of one length:
neither side pads. Theirs: transformers' model as it loads (SDPA, its own choice of expert products), labels = ids,
clip, fused AdamW; the routers' balance on both sides. Ours: `Supervised` and `MasterAdamW`, float32. One thread.
What is compared is processor time, whatever neighbours the machine has; ratios are of medians, over rounds in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import torch
from duel import machine

from bactrian.chat import Rendered
from bactrian.model.blank import new_model, word_tokenizer
from bactrian.model.language_model import LanguageModel
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.supervised import ExtraLosses, Supervised

EXPERTS, ACTIVE = 32, 4


def ours(folder: Path, ids: torch.Tensor) -> Callable[[], float]:
    """A step of ours; returns the loss."""
    model = LanguageModel.load(folder)
    rows = [Rendered(row.tolist(), [1.0] * len(row)) for row in ids]
    mixed = model.network.config.model_type == "olmoe"
    extra = ExtraLosses(0.0, 0.01 * ACTIVE, 0.0) if mixed else ExtraLosses()
    task = Supervised(
        model,
        rows,
        batch_rows=len(rows),
        epochs=1e6,
        seed=0,
        micro_tokens=ids.numel(),
        extra=extra,
        most_rows=len(rows),
    )
    optimiser = MasterAdamW(model.network, (0.9, 0.95), weight_decay=0.1)

    def step() -> float:
        total = 0.0
        for update in task.updates(0):
            optimiser.expect(len(update.micro_batches))
            for share in update.micro_batches:
                loss, told = share()
                loss.backward()  # type: ignore[no-untyped-call]
                total += told.get("cross_entropy", float(loss.detach()))
            optimiser.step(1e-4, 1.0)
        return total

    return step


def theirs(folder: Path, ids: torch.Tensor, experts: str | None = None) -> Callable[[], float]:
    """A step of transformers and torch; returns the loss."""
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    mixed = network.config.model_type == "olmoe"
    if experts is not None:
        network.set_experts_implementation(experts)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step() -> float:
        more = {"output_router_logits": True} if mixed else {}
        out = network(input_ids=ids, labels=ids, use_cache=False, **more)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(out.loss.detach()) - (0.01 * float(out.aux_loss.detach()) if mixed else 0.0)

    return step


def in_turns(sides: dict[str, Callable[[], float]], rounds: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Median processor seconds of a step of each side, and all their losses; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, step in sides.items():
            began = time.process_time()
            losses[name].append(step())
            seconds[name].append(time.process_time() - began)
    return {name: median(each[1:]) for name, each in seconds.items()}, losses


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("rounds", 5), ("width", 256), ("layers", 4), ("rows", 8), ("length", 512)):
        options.add_argument(f"--{name}", type=int, default=default)
    asked = options.parse_args()
    torch.set_num_threads(1)
    words = word_tokenizer([" ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(676))], asked.length)
    ids = torch.randint(3, len(words), (asked.rows, asked.length), generator=torch.Generator().manual_seed(0))
    common: dict[str, Any] = {"hidden_size": asked.width, "layers": asked.layers, "heads": asked.width // 32}
    found: dict[str, Any] = {"machine": machine(), **vars(asked)}
    place = Path(mkdtemp())
    for name, architecture, width in (("dense", "olmo2", 4 * asked.width), ("moe", "olmoe", asked.width)):
        torch.manual_seed(1)
        shape = {"experts": EXPERTS, "active": ACTIVE}
        folder = place / name
        new_model(
            words,
            architecture=architecture,
            intermediate_size=width,
            context=asked.length,
            folder=folder,
            **common,
            **shape,
        )
        sides = {"ours": ours(folder, ids), "transformers": theirs(folder, ids)}
        if name == "moe":
            sides["transformers, its loop over experts"] = theirs(folder, ids, "eager")
        seconds, losses = in_turns(sides, asked.rounds)
        found[name] = {
            "tokens_per_second": {side: ids.numel() / each for side, each in seconds.items()},
            "losses": {side: [round(loss, 4) for loss in each] for side, each in losses.items()},
        }
        found[f"ratio_{name}_vs_transformers"] = seconds["transformers"] / seconds["ours"]
        if name == "moe":
            found["ratio_moe_vs_its_loop"] = seconds["transformers, its loop over experts"] / seconds["ours"]
    found["ratio_dense_vs_litgpt"] = None  # not installed here
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
