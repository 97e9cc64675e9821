"""Sampling by our own decoder, and a step of GRPO: sampling, rewards that cost nothing, one update."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from parts import Bench
from shapes import Shape, flops_a_token, language_model, random_ids, shape_of
from tuned import run

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12}
"""Of the memory by the makers' data sheets, bytes/s."""


def sampling(bench: Bench, name: str) -> None:
    """Tokens a second, and the share of the memory's bandwidth that weights and caches took, where that is known."""
    from bactrian.generate.engine import Request
    from bactrian.generate.local import LocalEngine

    shape, toy = shape_of(name, bench.toy), bench.toy
    prompt, new = (16, 8) if toy else (512, 256)
    model = language_model(shape, bench.device, "bfloat16", prompt + new)
    gpu = torch.cuda.get_device_name(0) if bench.device == "cuda" else ""
    bandwidth = next((bytes_ for part, bytes_ in BANDWIDTH.items() if part in gpu), None)
    for rows in (4,) if toy else (8, 64, 256):
        engine = LocalEngine(model, rows=rows, cache_tokens=rows * (prompt + new))
        engine.ends = frozenset()
        ids = [tuple(random_ids(prompt, shape.vocabulary, i)) for i in range(rows)]
        for tokens in (2, new):  # the first warms up
            asked = [Request(each, n=1, seed=i, max_new_tokens=tokens) for i, each in enumerate(ids)]
            began = time.perf_counter()
            engine.generate(asked)
            took = time.perf_counter() - began
        told: dict[str, Any] = {"tokens_per_second": rows * new / took, "step_seconds": took / new, "steps": new}
        if bandwidth is not None:
            cached = rows * (prompt + new / 2) * 4 * shape.layers * shape.kv * (shape.attended // shape.heads)
            told["mbu"] = new * (2 * model.parameters + cached) / took / bandwidth
        bench.row(f"sampling {name}, {rows} rows of {prompt} + {new} tokens, bf16, own decoder", **told)
        if bench.left < 2 * took:
            break


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


KINDS: dict[str, Callable[[Bench, str], None]] = {"sampling": sampling, "grpo": grpo}
