"""Do answers depend on the batch size, and how far are the sampler's log-probs from the trainer's?

    python benchmarks/agreement.py [--prompts 64] [--new 64] [--rows 1,8,32,64]

Greedy answers of one model to the same prompts with different numbers of rows side by side: the share that differs from
those sampled alone. In float32 there must be none. Then the gap of sampled answers' log-probs, mean and largest.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from duel import machine
from generate import model_folder
from generate_side import prompts

from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.packing import Group, plant
from bactrian.train.preference import answer_tokens


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--prompts", type=int, default=64)
    options.add_argument("--new", type=int, default=64)
    options.add_argument("--rows", default="1,8,32,64")
    asked = options.parse_args()
    folder = model_folder(asked.model)
    print(f"{machine()}; {asked.model}, {asked.prompts} prompts, {asked.new} new tokens")
    result: dict[str, Any] = {"benchmark": "agreement"}
    for dtype in ("float32", "bfloat16"):
        engine = LocalEngine.load(folder, dtype)
        engine.ends = frozenset()
        given = [tuple(ids) for ids in prompts(engine.model.tokenizer, asked.prompts)]
        sizes = list(map(int, asked.rows.split(",")))
        share = differing(engine, given, asked.new, sizes)
        gaps = gap(engine, given, asked.new)
        print(
            f"{dtype}: greedy answers that differ from those at {sizes[0]} row: "
            + ", ".join(f"{rows} rows {100 * value:.0f} %" for rows, value in share.items())
            + f"; log-prob gap mean {gaps['mean']:.2g}, largest {gaps['largest']:.2g}",
            flush=True,
        )
        if dtype == "float32" and any(share.values()):
            raise SystemExit("in float32 the batch size changed an answer")
        result[dtype] = {"differing": share, "gap": gaps}
    print(json.dumps(result))


def differing(engine: LocalEngine, given: list[tuple[int, ...]], new: int, sizes: list[int]) -> dict[int, float]:
    """{rows: share of greedy answers that are not those of the first size}."""
    answers = {}
    for rows in sizes:
        engine.rows = rows
        groups = engine.generate([Request(ids, max_new_tokens=new, temperature=0.0) for ids in given])
        answers[rows] = [g[0].ids for g in groups]
    first = answers[sizes[0]]
    return {
        rows: sum(a != b for a, b in zip(found, first, strict=True)) / len(first) for rows, found in answers.items()
    }


def gap(engine: LocalEngine, given: list[tuple[int, ...]], new: int) -> dict[str, float]:
    """Between the sampler's log-probs of sampled tokens and the trainer's, of the same weights."""
    engine.rows = 32
    groups = engine.generate([Request(ids, seed=i, max_new_tokens=new) for i, ids in enumerate(given[:32])])
    gaps = []
    for start in range(0, len(groups), 8):
        part = slice(start, start + 8)
        forest, spans = plant(
            [Group(p, tuple(c.ids for c in g)) for p, g in zip(given[part], groups[part], strict=True)]
        )
        with torch.no_grad():
            trainer = engine.model.logprobs(forest, answer_tokens(spans)[0])
        gaps.append((trainer - torch.tensor([x for g in groups[part] for c in g for x in c.logprobs])).abs())
    every = torch.cat(gaps)
    return {"mean": float(every.mean()), "largest": float(every.max())}


if __name__ == "__main__":
    main()
