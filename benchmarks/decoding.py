"""Where a step of sampling goes, by operation, and what its matrix products alone would take.

    OMP_NUM_THREADS=2 python benchmarks/decoding.py [--rows 16,32,64] [--new 128] [--model embedded:smollm2-135m]

Ours alone, in bfloat16: prompts of 24 tokens, each with exactly --new more. Each of the decoder's operations is timed
where it is called (which costs some 2 % itself); "the step" is measured without that. The products alone are the
decoder's own, one layer after another, on as many rows, with nothing between them: the limit of a sampler that did
nothing else. Ends with a line of JSON, in milliseconds a step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

import torch
from duel import machine
from generate import model_folder

from bactrian.generate.decode_kernels import Kernels
from bactrian.generate.decoder import FusedLinear
from bactrian.generate.engine import Request
from bactrian.generate.fast import FastBatch
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel

TIMED: tuple[tuple[type, str, str], ...] = (
    (FusedLinear, "__call__", "products"),
    (FusedLinear, "add", "products"),
    (Kernels, "attend", "attention"),
    (Kernels, "norm", "norms and gates"),
    (Kernels, "gate", "norms and gates"),
    (LocalEngine, "_sample", "choosing"),
    (FastBatch, "prefill", "prefill"),
)


def sampled(engine: LocalEngine, rows: int, new: int) -> float:
    """Seconds for that many answers of that length."""
    asked = [Request(tuple(range(100 + i, 124 + i)), seed=i, max_new_tokens=new, temperature=1.0) for i in range(rows)]
    began = time.perf_counter()
    answers = engine.generate(asked)
    assert all(len(answer[0].ids) == new for answer in answers)
    return time.perf_counter() - began


def by_operation(engine: LocalEngine, rows: int, new: int) -> Counter[str]:
    """Seconds in each operation while sampling."""
    spent: Counter[str] = Counter()

    def timed(function: Any, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.perf_counter() - began

        return call

    plain = [(owner, method, getattr(owner, method)) for owner, method, _ in TIMED]
    for owner, method, name in TIMED:
        setattr(owner, method, timed(getattr(owner, method), name))
    try:
        sampled(engine, rows, new)
    finally:
        for owner, method, function in plain:
            setattr(owner, method, function)
    return spent


@torch.inference_mode()
def products_alone(engine: LocalEngine, rows: int, repeats: int = 12) -> float:
    """Seconds of a step's matrix products, each on an input of its own size; the median."""
    assert engine.decoder is not None
    with engine.decoder as decoder:
        assert decoder.head is not None
        ordered = [each for layer in decoder.layers for each in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        base = decoder.base.layers[0]
        modules = (base.self_attn.q_proj, base.self_attn.o_proj, base.mlp.gate_proj, base.mlp.down_proj)
        inputs = [torch.randn(rows, module.in_features).to(decoder.model.dtype) for module in modules]
        found = []
        for _ in range(repeats):
            began = time.perf_counter()
            for number, product in enumerate(ordered):
                product(inputs[number % 4])
            decoder.head(inputs[0])
            found.append(time.perf_counter() - began)
    return sorted(found)[repeats // 2]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--rows", default="16,32,64")
    options.add_argument("--new", type=int, default=128)
    asked = options.parse_args()
    model = LanguageModel.load(model_folder(asked.model), "bfloat16")
    result: dict[str, Any] = {"benchmark": "decoding", "threads": torch.get_num_threads()}
    columns = ("products", "attention", "norms and gates", "choosing", "prefill")
    print(f"{machine()}; {asked.model} bfloat16, {asked.new} new tokens, {torch.get_num_threads()} threads; ms a step")
    heads = " ".join(f"{name:>15}" for name in (*columns, "products alone"))
    print(f"{'rows':>5} {'step':>7} {'tokens/s':>9} {heads}")
    for rows in map(int, asked.rows.split(",")):
        engine = LocalEngine(model, rows=rows)
        engine.ends = frozenset()  # nothing ends an answer early
        sampled(engine, rows, 8)
        step = min(sampled(engine, rows, asked.new) for _ in range(3)) / asked.new
        spent = by_operation(engine, rows, asked.new)
        alone = products_alone(engine, rows)
        line = {"step": step, **{name: spent[name] / asked.new for name in columns}, "products alone": alone}
        result[str(rows)] = {name: 1000 * value for name, value in line.items()}
        cells = " ".join(f"{1000 * line[name]:>15.1f}" for name in columns)
        print(f"{rows:>5} {1000 * step:>7.1f} {rows / step:>9.0f} {cells} {1000 * alone:>15.1f}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
