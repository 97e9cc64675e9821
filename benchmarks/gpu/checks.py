"""What the machine is, and whether a GPU's numbers are what they should be."""

from __future__ import annotations

import copy
import importlib.metadata
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import steps
import torch
from parts import Bench
from shapes import TOY, Shape, language_model, random_ids, shape_of

PACKAGES = (
    "torch",
    "transformers",
    "triton",
    "trl",
    "peft",
    "bitsandbytes",
    "liger-kernel",
    "cut-cross-entropy",
    "vllm",
)


def machine(bench: Bench) -> None:
    """Hardware, versions, and what one large product and one large copy reach."""
    if bench.device == "cuda":
        asked = "name,driver_version,power.limit,clocks.max.sm,memory.total"
        words = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
        told = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
        bench.row("GPU (name, driver, power limit, highest clock, memory)", value=told or torch.cuda.get_device_name(0))
    bench.row("python, kernel", value=f"{platform.python_version()}, {platform.release()}, {platform.machine()}")
    versions = {name: _version(name) for name in PACKAGES}
    bench.row("packages", value=", ".join(f"{name} {found}" for name, found in versions.items() if found))
    bench.row("not installed", value=", ".join(name for name, found in versions.items() if not found) or "nothing")
    size = 256 if bench.toy else 8192
    a, b = (torch.randn(size, size, device=bench.device).bfloat16() for _ in range(2))
    seconds = _timed(bench, lambda: a @ b)
    bench.row(f"product of {size} x {size} in bfloat16, TFLOP/s", value=2 * size**3 / seconds / 1e12)
    one = torch.empty(2**20 if bench.toy else 2**32, dtype=torch.uint8, device=bench.device)
    other = torch.empty_like(one)
    seconds = _timed(bench, lambda: other.copy_(one))
    bench.row("copy, bytes read and written, GB/s", value=2 * one.numel() / seconds / 1e9)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _timed(bench: Bench, work: Callable[[], Any], times: int = 10) -> float:
    """Seconds of one, the mean of several after three."""
    for _ in range(3):
        work()
    wait(bench)
    began = time.perf_counter()
    for _ in range(times):
        work()
    wait(bench)
    return (time.perf_counter() - began) / times


def wait(bench: Bench) -> None:
    if bench.device == "cuda":
        torch.cuda.synchronize()


def parity(bench: Bench) -> None:
    """Each check by itself: one that raises is a row, and the others follow."""
    for check in (
        kernels,
        packed_is_plain,
        gradients,
        steps.pages,
        steps.compiled,
        gap,
        resumed,
        recomputed,
        offloaded,
        out_of_memory,
        fused,
        four_bits,
    ):
        began = time.perf_counter()
        try:
            check(bench)
        except Exception as error:  # a row for each, whatever it is
            text = str(error).strip().splitlines()
            bench.row(check.__name__, error=f"{type(error).__name__}: {text[0][:200] if text else ''}")
        bench.row(f"seconds of {check.__name__}", value=time.perf_counter() - began)


def small(bench: Bench) -> Shape:
    """135M, of grouped queries: as small as still exercises the kernels."""
    return TOY if bench.toy else shape_of("135m", False)


def kernels(bench: Bench) -> None:
    """Which attention is used here for rows that share nothing, and for trees."""
    from bactrian.model.gpu_attention import trusted

    shape = small(bench)
    size = shape.attended // shape.heads
    for kind in ("varlen", "flex"):
        for dtype in ("bfloat16", "float32"):
            found = trusted(kind, torch.device(bench.device), getattr(torch, dtype), size)  # type: ignore[arg-type]
            bench.row(f"attention by {kind} in {dtype} is used", value=found)


def forests(shape: Shape, toy: bool) -> tuple[Any, list[tuple[int, ...]], list[int]]:
    """A tree of a prefix, a branch and three continuations; each leaf's sequence, and where its own tokens begin."""
    from bactrian.model.packing import Forest, Segment

    lengths = (9, 5, 7, 4, 6) if toy else (200, 150, 130, 90, 170)
    ids = [tuple(random_ids(n, shape.vocabulary, i)) for i, n in enumerate(lengths)]
    segments = [Segment(ids[0]), Segment(ids[1], 0), Segment(ids[2], 1), Segment(ids[3], 1), Segment(ids[4], 0)]
    leaves = [ids[0] + ids[1] + ids[2], ids[0] + ids[1] + ids[3], ids[0] + ids[4]]
    own = [len(ids[0] + ids[1]), len(ids[0] + ids[1]), len(ids[0])]
    return Forest.of(segments), leaves, own


def packed_is_plain(bench: Bench) -> None:
    shape = small(bench)
    forest, leaves, own = forests(shape, bench.toy)
    for dtype, allowed in (("float32", 1e-3), ("bfloat16", 0.1)):
        model = language_model(shape, bench.device, dtype, 1024, lively=True)
        where = torch.cat([torch.arange(s.start, s.stop) for s in (forest.spans[2], forest.spans[3], forest.spans[4])])
        with torch.no_grad():
            packed = model.logprobs(forest, where)
            plain = torch.cat([model._plain_logprobs(ids)[at - 1 :] for ids, at in zip(leaves, own, strict=True)])
        apart = (packed - plain).abs()
        bench.check(
            f"log-probs over a shared prefix against the plain forward, {dtype}, mean", float(apart.mean()), allowed / 2
        )
        bench.check(f"the same, largest, {dtype}", float(apart.max()), 5 * allowed)


def gradients(bench: Bench) -> None:
    """Of a tree, against its leaves one by one, float32."""
    from bactrian.model.packing import Forest, Segment

    shape = small(bench)
    forest, leaves, own = forests(shape, bench.toy)
    model = language_model(shape, bench.device, "float32", 1024, lively=True)
    where = torch.cat([torch.arange(s.start, s.stop) for s in (forest.spans[2], forest.spans[3], forest.spans[4])])
    found = gradient(model, lambda: -model.logprobs(forest, where).sum())
    alone = [(Forest.of([Segment(ids)]), torch.arange(at, len(ids))) for ids, at in zip(leaves, own, strict=True)]
    expected = gradient(model, lambda: -torch.stack([model.logprobs(*each).sum() for each in alone]).sum())
    bench.check("gradient of a tree against its leaves, float32, relative", apart(found, expected), 1e-4)


def gradient(model: Any, loss: Callable[[], torch.Tensor]) -> torch.Tensor:
    model.network.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    flat = torch.cat([w.grad.flatten().float().cpu() for w in model.network.parameters() if w.grad is not None])
    model.network.zero_grad(set_to_none=True)
    return flat


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def gap(bench: Bench) -> None:
    """Between the log-probabilities of whoever samples and those of whoever trains."""
    from bactrian.generate.engine import Request
    from bactrian.generate.local import LocalEngine
    from bactrian.model.packing import Group, plant
    from bactrian.train.batches import answer_tokens

    shape = small(bench)
    prompt, new = (12, 6) if bench.toy else (100, 100)
    for dtype, allowed in (("float32", 1e-4), ("bfloat16", 0.02)):
        model = language_model(shape, bench.device, dtype, 1024, lively=True)
        engine = LocalEngine(model)
        engine.ends = frozenset()
        asked = tuple(random_ids(prompt, shape.vocabulary, 3))
        (answers,) = engine.generate([Request(asked, n=8, seed=1, max_new_tokens=new)])
        forest, spans = plant([Group(asked, tuple(each.ids for each in answers))])
        with torch.no_grad():
            trained = model.logprobs(forest, answer_tokens(spans)[0]).cpu()
        sampled = torch.tensor([x for each in answers for x in each.logprobs])
        bench.check(
            f"sampler's against trainer's log-probs, {dtype}, nats, mean",
            float((trained - sampled).abs().mean()),
            allowed,
        )


@dataclass
class Run:
    """Some steps of SFT from the same start; the weights after them."""

    bench: Bench
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        self.shape = small(self.bench)
        self.model = language_model(self.shape, self.bench.device, "float32", 1024, lively=True)

    def weights(
        self,
        folder: Path | None = None,
        stop: int | None = None,
        micro: int = 2048,
        recompute: str = "none",
        **how: Any,
    ) -> dict[str, torch.Tensor]:
        """folder: for checkpoints, one after each step. stop: killed after so many."""
        from bactrian.chat import Rendered
        from bactrian.model.language_model import LanguageModel, split_masters
        from bactrian.model.recompute import drop_activations
        from bactrian.train.backend import LoopSettings
        from bactrian.train.loop import train
        from bactrian.train.supervised import Supervised

        network = copy.deepcopy(self.model.network)
        masters = split_masters(network, self.dtype)
        model = LanguageModel(network, self.model.tokenizer, self.model.template, masters=masters)
        drop_activations(network, recompute)  # type: ignore[arg-type]
        long = 24 if self.bench.toy else 400
        rows = [Rendered(random_ids(long - i, self.shape.vocabulary, i), [1.0] * (long - i)) for i in range(16)]
        task = Supervised(model, rows, batch_rows=4, epochs=1.5, seed=0, micro_tokens=micro)
        log = _Quiet(folder or Path(tempfile.mkdtemp()), stop)
        settings = LoopSettings(learning_rate=1e-4, checkpoint_seconds=0.0 if folder else 1e9, **how)
        try:
            train("check", model, task, settings, log, keeper=log)
        except _Killed:
            return {}
        return {name: weight.detach().float().cpu() for name, weight in model.exact().items()}


class _Killed(BaseException):
    pass


@dataclass
class _Quiet:
    """A log that keeps checkpoints, and ends the process's work after some step."""

    checkpoints: Path
    stop: int | None

    def log(self, step: int, **values: float) -> None:
        pass

    def rewind(self, step: int) -> None:
        pass

    def after(self, step: int) -> None:
        if self.stop is not None and step > self.stop:
            raise _Killed


def largest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Difference of any two weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def resumed(bench: Bench) -> None:
    run = Run(bench)
    whole = run.weights()
    bench.check("six steps, and again: largest difference of a weight", largest(whole, run.weights()), 0.0)
    place = Path(tempfile.mkdtemp())
    run.weights(place, stop=3)
    bench.check("six steps, killed after the third and resumed, the same", largest(whole, run.weights(place)), 0.0)


def recomputed(bench: Bench) -> None:
    run = Run(bench, "float32")
    whole = run.weights()
    for what in ("mlp", "layer"):
        bench.check(
            f"with activations of {what} recomputed, float32, the same",
            largest(whole, run.weights(recompute=what)),
            1e-5,
        )


def offloaded(bench: Bench) -> None:
    run = Run(bench)
    whole = run.weights(micro=512)
    bench.check(
        "with the optimiser in main memory, the same", largest(whole, run.weights(micro=512, offload=True)), 1e-5
    )
    # steps of 1e-4, so two runs that have nothing in common differ by 1e-3 or so
    bench.check("with states of 8 bits, mean", _mean(whole, run.weights(micro=512, states="8bit")), 1e-4)


def _mean(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    total = sum(float((one[name] - other[name]).abs().sum()) for name in one)
    return total / sum(weight.numel() for weight in one.values())


def out_of_memory(bench: Bench) -> None:
    """A GPU with less memory than a micro-batch needs: it is cut, and the weights are those of smaller ones."""
    if bench.device != "cuda":
        bench.row("micro-batches that do not fit", error="only on a GPU (tests/train/test_fitting.py is without one)")
        return
    run = Run(bench, "float32")
    expected = run.weights(micro=400)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_allocated() / total
    own = 8 * 4 * sum(w.numel() for w in run.model.network.parameters()) / total
    torch.cuda.set_per_process_memory_fraction(held + own + 1.0 * 2**30 / total)
    try:
        found = run.weights(micro=10**6)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    bench.check("weights where micro-batches were cut for want of memory", largest(expected, found), 1e-5)


def fused(bench: Bench) -> None:
    """Log-probabilities by a package's kernel, where one is installed."""
    from bactrian.model import gpu_logprobs
    from bactrian.model.logprobs import _score

    states = torch.randn(64, 128, device=bench.device).bfloat16()
    head = torch.randn(999, 128, device=bench.device).bfloat16()
    targets = torch.arange(64, device=bench.device)
    if (kernel := gpu_logprobs.kernel_for(states, 1.0, None)) is None:
        bench.row("log-probs by a package's kernel", error="no such kernel is used here")
        return
    ours = _score(states, head, targets, 1.0, None, entropy=False)[0]
    bench.check(
        "log-probs by a package's kernel, largest",
        float((kernel(states, head, targets, 1.0, None) - ours).abs().max()),
        0.5,
    )


def four_bits(bench: Bench) -> None:
    """Weights in 4 bits, adapters beside them: two steps."""
    from bactrian.chat import Rendered
    from bactrian.model.adapters import add_adapters
    from bactrian.model.language_model import LanguageModel
    from bactrian.train.backend import LoopSettings
    from bactrian.train.loop import train
    from bactrian.train.supervised import Supervised

    folder = Path(tempfile.mkdtemp())
    language_model(small(bench), bench.device, "float32", 1024, lively=True).save(folder)
    model = LanguageModel.load(folder, "bfloat16", device=bench.device, quantised=True)
    add_adapters(model.network, str(folder), rank=4, alpha=8.0)
    rows = [Rendered(random_ids(20, TOY.vocabulary, i), [1.0] * 20) for i in range(4)]
    task = Supervised(model, rows, batch_rows=2, epochs=1, seed=0, micro_tokens=256)
    log = _Quiet(Path(tempfile.mkdtemp()), None)
    totals = train("nf4", model, task, LoopSettings(learning_rate=1e-4), log)
    bench.row("adapters beside weights in 4 bits: loss after two steps", value=totals["loss"])
