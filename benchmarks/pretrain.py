"""A step of pretraining beside a plain transformers + torch loop and litgpt: same weights, same rows, in turns.

    python benchmarks/pretrain.py [--rounds 5] [--width 256] [--layers 4] [--rows 8] [--length 512] [--dtype float32]
        [--litgpt PYTHON] [--only dense]

A dense OLMo 2 and an OLMoE whose active parameters are as many, random weights and random tokens, rows of one length:
neither side pads. Theirs: transformers' model as it loads (SDPA, its own choice of expert products), labels = ids,
clip, fused AdamW; the routers' balance on both sides; in bfloat16 under autocast, weights in float32. `--litgpt` is the
Python of an environment that has it: its model with the same weights, compiled and not. Ours: `Supervised` and
`MasterAdamW`, in bfloat16 with masters. One thread.

What is compared is processor time, whatever neighbours the machine has; ratios are of medians, over rounds in turns.
`share_of_product`: needed operations of our step (roofline.py) a second, over those of a square product of the dtype.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import torch
from duel import Side, machine
from roofline import needed

from bactrian.chat import Rendered
from bactrian.model.blank import new_model, word_tokenizer
from bactrian.model.language_model import LanguageModel
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.supervised import ExtraLosses, Supervised

EXPERTS, ACTIVE = 32, 4
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Step = Callable[[], tuple[float, float]]
"""One step: processor seconds, loss."""


def timed(step: Callable[[], float]) -> Step:
    """The same, and what it took of this process' processor time."""

    def run() -> tuple[float, float]:
        began = time.process_time()
        loss = step()
        return time.process_time() - began, loss

    return run


def ours(folder: Path, ids: torch.Tensor, dtype: str) -> Callable[[], float]:
    """A step of ours; returns the loss."""
    model = LanguageModel.load(folder, dtype, masters=True)
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
    optimiser = MasterAdamW(model.network, (0.9, 0.95), weight_decay=0.1, masters=model.masters)

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


def theirs(folder: Path, ids: torch.Tensor, dtype: str, experts: str | None = None) -> Callable[[], float]:
    """A step of transformers and torch; returns the loss."""
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    mixed = network.config.model_type == "olmoe"
    if experts is not None:
        network.set_experts_implementation(experts)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step() -> float:
        more = {"output_router_logits": True} if mixed else {}
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            out = network(input_ids=ids, labels=ids, use_cache=False, **more)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(out.loss.detach()) - (0.01 * float(out.aux_loss.detach()) if mixed else 0.0)

    return step


def litgpt(side: Side) -> Step:
    """A step of a process that runs pretrain_litgpt.py."""

    def step() -> tuple[float, float]:
        told = side.ask("step")
        return told["seconds"], told["loss"]

    return step


def in_turns(sides: dict[str, Step], rounds: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Median processor seconds of a step of each side, and all their losses; the first two rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 2):
        for name, step in sides.items():
            took, loss = step()
            seconds[name].append(took)
            losses[name].append(loss)
    return {name: median(each[2:]) for name, each in seconds.items()}, losses


def product_speed(dtype: str, size: int = 2048, runs: int = 8) -> float:
    """Operations a processor second of a square product, the best of some."""
    a, b = (torch.randn(size, size).to(DTYPES[dtype]) for _ in range(2))
    best = float("inf")
    for _ in range(runs):
        began = time.process_time()
        a @ b
        best = min(best, time.process_time() - began)
    return 2 * size**3 / best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("width", 256), ("layers", 4), ("rows", 8), ("length", 512)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    options.add_argument("--litgpt", help="Python of an environment that has litgpt")
    options.add_argument("--only", choices=("dense", "moe"))
    asked = options.parse_args()
    torch.set_num_threads(1)
    words = word_tokenizer([" ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(676))], asked.length)
    ids = torch.randint(3, len(words), (asked.rows, asked.length), generator=torch.Generator().manual_seed(0))
    common: dict[str, Any] = {"hidden_size": asked.width, "layers": asked.layers, "heads": asked.width // 32}
    found: dict[str, Any] = {"machine": machine(), **vars(asked), "litgpt": bool(asked.litgpt)}
    found["product_gflops"] = product_speed(asked.dtype) / 1e9
    place = Path(mkdtemp())
    for name, width in (("dense", 4 * asked.width), ("moe", asked.width)):
        if asked.only not in (None, name):
            continue
        torch.manual_seed(1)
        folder = place / name
        new_model(
            words,
            architecture="olmo2" if name == "dense" else "olmoe",
            intermediate_size=width,
            context=asked.length,
            folder=folder,
            tied=False,
            experts=EXPERTS,
            active=ACTIVE,
            **common,
        )
        with ExitStack() as stack:
            sides = {
                "ours": timed(ours(folder, ids, asked.dtype)),
                "transformers": timed(theirs(folder, ids, asked.dtype)),
            }
            if name == "moe":
                sides["transformers, its loop over experts"] = timed(theirs(folder, ids, asked.dtype, "eager"))
            elif asked.litgpt:
                script = Path(__file__).with_name("pretrain_litgpt.py")
                for how in ("plain", "compiled"):
                    arguments = (str(folder), str(asked.rows), str(asked.length), asked.dtype, how)
                    side = Side(f"litgpt, {how}", asked.litgpt, script, *arguments, threads=1, patience=900)
                    sides[side.name] = litgpt(stack.enter_context(side))
            seconds, losses = in_turns(sides, asked.rounds)
        found[name] = {
            "tokens_per_second": {side: ids.numel() / each for side, each in seconds.items()},
            "losses": {side: [round(loss, 4) for loss in each] for side, each in losses.items()},
        }
        for other in [side for side in seconds if side != "ours"]:
            label = "_".join(other.replace(",", "").split())
            found[f"ratio_{name}_vs_{label}"] = seconds[other] / seconds["ours"]
        if name == "dense":
            operations = needed_of(folder, ids)
            found["share_of_product"] = operations / seconds["ours"] / (found["product_gflops"] * 1e9)
    if asked.litgpt and asked.only != "moe":
        found["ratio_dense_vs_litgpt"] = min(
            found["ratio_dense_vs_litgpt_plain"], found["ratio_dense_vs_litgpt_compiled"]
        )
    print(json.dumps(found, indent=1))


def needed_of(folder: Path, ids: torch.Tensor) -> float:
    """Operations that a step of a dense model needs: forward and backward, causal attention, all tokens but a first."""
    from transformers import AutoConfig

    rows, length = ids.shape
    return needed(
        AutoConfig.from_pretrained(folder), ids.numel(), rows * (length - 1), rows * length * (length + 1) / 2
    )


if __name__ == "__main__":
    main()
