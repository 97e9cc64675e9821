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

Transformers' loop over experts is in a process of its own. In bfloat16 oneDNN compiles a product for each number of
rows and keeps a thousand of them in each of two caches, with memory that grows with the weights: the loop has new
numbers in each step, which cost gigabytes at width 576 and put out what the other sides had there. Its caches hold
`KEPT_PRODUCTS`; none of what they drop would be used again. What all sides need is reckoned first, and refused where
the machine has less to spare.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import torch
from duel import Side, machine, serve
from roofline import needed

from bactrian.chat import Rendered
from bactrian.model.blank import new_model, word_tokenizer
from bactrian.model.language_model import LanguageModel
from bactrian.stages.tune.decoder_size import decoder_size
from bactrian.train.base_options import ShapeSettings
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.supervised import ExtraLosses, Supervised

EXPERTS, ACTIVE = 32, 4
LOOP = "transformers, its loop over experts"
KEPT_PRODUCTS = 64
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""oneDNN's own, and torch's of what it made with oneDNN."""
BYTES_OF_WEIGHT, BYTES_OF_TOKEN = 18, 160
"""What a side keeps of each weight (copies, gradient, moments), and of each token, unit of width and layer. Measured at
widths 128 and 256, rows 4: a side took 0.6 to 1.0 of what these say."""
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


def looped(folder: str, rows: int, length: int, dtype: str) -> None:
    """Serve steps of transformers' loop over experts."""
    torch.set_num_threads(1)
    vocabulary = json.loads((Path(folder) / "config.json").read_text())["vocab_size"]
    step = timed(theirs(Path(folder), random_rows(vocabulary, rows, length), dtype, "eager"))
    serve({"step": lambda **_: dict(zip(("seconds", "loss"), step(), strict=True))})


def random_rows(vocabulary: int, rows: int, length: int) -> torch.Tensor:
    """The same in each process."""
    return torch.randint(3, vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))


def reckoned(name: str, vocabulary: int, tokens: int, width: int, layers: int) -> float:
    """Bytes that one side needs, about, for the dense model or the mixture (`name`)."""
    architecture, inner = ("olmo2", 4 * width) if name == "dense" else ("olmoe", width)
    shape = ShapeSettings(tied=False, experts=EXPERTS, active=ACTIVE)
    size = decoder_size(architecture, width, layers, width // 32, inner, tokens, vocabulary, shape)
    return BYTES_OF_WEIGHT * size.parameters + BYTES_OF_TOKEN * tokens * width * layers


def refuse_more_than_there_is(needed: float, available: float, what: str) -> None:
    """
    Raises:
        SystemExit: the sides need more memory than is to be had; with both numbers.
    """
    if needed > available:
        raise SystemExit(
            f"{what}: its sides need about {needed / 2**30:.1f} GiB together, found {available / 2**30:.1f} GiB to "
            "spare; take a smaller --width, fewer --layers or --rows"
        )


def available_memory() -> float:
    """Bytes, by /proc/meminfo."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def served(side: Side) -> Step:
    """A step of a process that serves them."""

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
    ids = random_rows(len(words), asked.rows, asked.length)
    for name in (asked.only,) if asked.only else ("dense", "moe"):
        sides = 3 if name == "moe" else 4 if asked.litgpt else 2
        needed = sides * reckoned(name, len(words), ids.numel(), asked.width, asked.layers)
        refuse_more_than_there_is(needed, available_memory(), name)
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
            steps = {
                "ours": timed(ours(folder, ids, asked.dtype)),
                "transformers": timed(theirs(folder, ids, asked.dtype)),
            }
            if name == "moe":
                capacity = dict.fromkeys(CACHES, str(KEPT_PRODUCTS))
                arguments = ("loop", str(folder), str(asked.rows), str(asked.length), asked.dtype)
                loop = Side(LOOP, sys.executable, Path(__file__), *arguments, threads=1, more=capacity)
                steps[LOOP] = served(stack.enter_context(loop))
            elif asked.litgpt:
                script = Path(__file__).with_name("pretrain_litgpt.py")
                for how in ("plain", "compiled"):
                    arguments = (str(folder), str(asked.rows), str(asked.length), asked.dtype, how)
                    side = Side(f"litgpt, {how}", asked.litgpt, script, *arguments, threads=1, patience=900)
                    steps[side.name] = served(stack.enter_context(side))
            seconds, losses = in_turns(steps, asked.rounds)
            del steps  # or the dense models would be held beside the mixtures
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
    if sys.argv[1:2] == ["loop"]:
        looped(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    else:
        main()
