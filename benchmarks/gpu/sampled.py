"""Sampling by our own decoder, and a step of GRPO: sampling, rewards that cost nothing, one update."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from parts import Bench
from shapes import Shape, flops_a_token, language_model, random_ids, shape_of, skewed_lengths
from tuned import run

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12}
"""Of the memory by the makers' data sheets, bytes/s."""


def sampling(bench: Bench, name: str, how: str = "") -> None:
    """Tokens a second, and the share of the memory's bandwidth that weights and caches took, where that is known.

    how: "compiled", or nothing.
    """
    from bactrian.generate.engine import Request
    from bactrian.generate.local import LocalEngine

    shape, toy = shape_of(name, bench.toy), bench.toy
    prompt, new = (16, 8) if toy else (512, 256)
    model = language_model(shape, bench.device, "bfloat16", prompt + new)
    gpu = torch.cuda.get_device_name(0) if bench.device == "cuda" else ""
    bandwidth = next((bytes_ for part, bytes_ in BANDWIDTH.items() if part in gpu), None)
    for rows in (4,) if toy else (128, 8, 256):
        engine = LocalEngine(model, rows=rows, cache_tokens=rows * (prompt + new), native=False, compiled=bool(how))
        engine.ends = frozenset()
        ids = [tuple(random_ids(prompt, shape.vocabulary, i)) for i in range(rows)]
        for tokens in (6, new):  # the first warms up: it compiles, records, and compares
            asked = [Request(each, n=1, seed=i, max_new_tokens=tokens) for i, each in enumerate(ids)]
            began = time.perf_counter()
            engine.generate(asked)
            took = time.perf_counter() - began
        told: dict[str, Any] = {"tokens_per_second": rows * new / took, "step_seconds": took / new, "steps": new}
        if bandwidth is not None:
            cached = rows * (prompt + new / 2) * 4 * shape.layers * shape.kv * (shape.attended // shape.heads)
            told["mbu"] = new * (2 * model.parameters + cached) / took / bandwidth
        used = "compiled" if engine.step.compiled is not None else "not compiled"
        bench.row(f"sampling {name}, {rows} rows of {prompt} + {new} tokens, bf16, own decoder, {used}", **told)
        if bench.left < 2 * took:
            return
    ragged(bench, name, engine, (prompt + new) // 2)


def ragged(bench: Bench, name: str, engine: Any, longest: int) -> None:
    """Eight samples to each prompt, of lengths that differ, and the pages that they took at most."""
    from bactrian.generate.engine import Request
    from bactrian.generate.paged import PagedBatch
    from bactrian.model.paged_attention import PAGE

    count = 4 if bench.toy else 64
    prompts, answers = (skewed_lengths(count, longest, seed) for seed in (0, 1))
    asked = [
        Request(tuple(random_ids(p, engine.model.head.shape[0], i)), n=8, seed=i, max_new_tokens=new)
        for i, (p, new) in enumerate(zip(prompts, answers, strict=True))
    ]
    made: list[PagedBatch] = []
    plain = engine._batch

    def noted(requests: Sequence[Request]) -> Any:
        made.append(plain(requests))
        return made[-1]

    engine._batch = noted
    began = time.perf_counter()
    engine.generate(asked)
    took = time.perf_counter() - began
    capacity = max(p + new for p, new in zip(prompts, answers, strict=True))
    held = made[0].pages.most_held * PAGE / (made[0].most * capacity)
    used = "compiled" if engine.step.compiled is not None else "not compiled"
    what = (
        f"sampling {name}, {8 * count} answers of up to {longest} tokens, at most {made[0].most} at once, bf16, {used}"
    )
    bench.row(what, tokens_per_second=8 * sum(answers) / took)
    bench.row(f"tokens of cache held at most, as a share of rows x the longest, {used}", value=held)


class Asked:
    """Whoever samples for a policy: made-up prompts, rewards that the ids decide."""

    def __init__(self, model: Any, shape: Shape, problems: int, prompt: int, samples: int, new: int) -> None:
        from bactrian.generate.local import LocalEngine

        self.engine = LocalEngine(model, rows=problems * samples, cache_tokens=problems * samples * (prompt + new))
        self.engine.ends = frozenset()
        self.samples, self.new = samples, new
        self.prompts = [tuple(random_ids(prompt, shape.vocabulary, i)) for i in range(problems)]
        self.seconds: list[float] = []
        self.gaps: list[float] = []

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.prompts[problem]

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Any]]:
        from bactrian.generate.engine import Request
        from bactrian.train.rl.rollouts import Rollout

        began = time.perf_counter()
        asked = [
            Request(self.prompt(p), n=self.samples, seed=1000 * step + p, max_new_tokens=self.new) for p in problems
        ]
        groups = self.engine.generate(asked)
        self.seconds.append(time.perf_counter() - began)
        return [
            [Rollout(c.ids, c.logprobs, sum(c.ids) % 1000 / 1000, True, version) for c in answers] for answers in groups
        ]


def grpo(bench: Bench, name: str) -> None:
    """A step of problems x samples answers, all of one length."""
    from bactrian.model.recompute import drop_activations
    from bactrian.stages.rl.rlvr import RLVR
    from bactrian.train.rl.policy import GroupPolicy

    shape, toy = shape_of(name, bench.toy), bench.toy
    problems, samples, prompt, new = (2, 2, 16, 6) if toy else (16, 8, 512, 256)
    model = language_model(shape, bench.device, "bfloat16", prompt + new, masters=True)
    drop_activations(model.network, "layer")
    sampler = Asked(model, shape, problems, prompt, samples, new)
    given = {"problems_per_step": problems, "max_new_tokens": new, "samples": samples}
    chosen = {"sampling": {"gap_limit": 10.0}, "memory": {"micro_tokens": 4 * (prompt + samples * new)}}
    settings = RLVR.model_validate({"model": "-", "data": "-", **given, **chosen, "reward": {"no_end_reward": None}})
    task = GroupPolicy(model, sampler, problems, settings, steps=1000, seed=0)
    found = run(bench, model, task, flops_a_token(model.parameters, shape, prompt + new))
    mean = sorted(sampler.seconds)[len(sampler.seconds) // 2]
    found.pop("mfu", None), found.pop("mfu_6n", None)  # sampling is most of it
    what = f"GRPO step {name}, {problems} x {samples} answers, {prompt} + {new} tokens, own decoder"
    bench.row(what, sampling_seconds=mean, update_seconds=found["step_seconds"] - mean, **found)


KINDS: dict[str, Callable[..., None]] = {"sampling": sampling, "grpo": grpo}
