"""The sampler's step on a GPU: whether pages are read where they lie, and whether it compiles and is the same then."""

from __future__ import annotations

import time
from dataclasses import replace
from unittest import mock

import torch
from parts import Bench
from shapes import TOY, language_model, random_ids, shape_of


def pages(bench: Bench) -> None:
    """FlexAttention over pages against gathered pages, for heads that share keys and heads that do not."""
    from bactrian.model import paged_attention

    device = torch.device(bench.device)
    for heads in ((9, 3, 64), (32, 8, 128), (4, 4, 64))[: 1 if bench.toy else 3]:
        for dtype, allowed in ((torch.float32, 1e-3), (torch.bfloat16, 0.02)):
            for window in (None, 71):
                apart = paged_attention.gap(device, dtype, heads, window)
                what = f"FlexAttention over pages, heads {heads}, window {window}, {dtype}"
                bench.check(f"{what}, relative difference", apart, allowed)
    shape = TOY if bench.toy else shape_of("135m", False)
    heads = (shape.heads, shape.kv, shape.attended // shape.heads)
    bench.row("attention over pages", value=paged_attention.kind_for(device, torch.bfloat16, heads))


def compiled(bench: Bench) -> None:
    """Answers of a compiled step against one that is not, on two layers; the seconds it takes to compile."""
    from bactrian.generate.decode_step import DecodeStep
    from bactrian.generate.engine import Request
    from bactrian.generate.local import LocalEngine

    shape = TOY if bench.toy else replace(shape_of("135m", False), layers=2)
    prompt, new = (12, 6) if bench.toy else (100, 100)
    asked = [Request(tuple(random_ids(prompt + i, shape.vocabulary, i)), n=4, max_new_tokens=new) for i in range(2)]
    for dtype, allowed in (("float32", 1e-3), ("bfloat16", 0.05))[: 1 if bench.toy else 2]:
        model = language_model(shape, bench.device, dtype, 1024, lively=True)
        found = []
        for compile_ in (False, True):
            engine = LocalEngine(model, native=False)
            engine.step = DecodeStep(model, compile_, "inductor" if bench.device == "cuda" else "aot_eager")
            engine.ends = frozenset()
            began = time.perf_counter()
            with mock.patch("bactrian.model.fused.usable", lambda x: False):  # a CPU's kernels in C cannot be traced
                found.append([c for group in engine.generate(asked) for c in group])
            took = time.perf_counter() - began
        used = engine.step.compiled is not None
        bench.check(f"the step is not compiled, {dtype} (the log says why)", float(not used), 0.0)
        bench.row(f"seconds of the first answers by a compiled step, {dtype}", value=took)
        bench.row(f"shapes that were compiled, {dtype}", value=len(engine.step.compared))
        agree = [a.ids == b.ids for a, b in zip(*found, strict=True)]
        bench.row(f"answers that are the same compiled and not, {dtype}", value=sum(agree) / len(agree))
        # up to where rounding first draws another token
        gaps = []
        for a, b in zip(*found, strict=True):
            until = next((i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=True)) if x != y), len(a.ids))
            gaps += [abs(x - y) for x, y in zip(a.logprobs[:until], b.logprobs[:until], strict=True)]
        what = f"log-probs of a compiled step against one that is not, {dtype}, nats, mean"
        bench.check(what, sum(gaps) / max(1, len(gaps)), allowed)
