"""GPU-hours of a step on a cluster, from what goes through its models: products, weights over the network, decoding.

Reckoned as the published post-training of 2024 ran: weights sharded over all GPUs and gathered for every micro-batch
(ZeRO-3 [Rajbhandari et al. 2020]), one row in a micro-batch, answers padded to the longest, decoding bound by memory.
The five constants, where each is from, and the published runs beside the forecast: docs/large-recipes.md.
"""

import math
from dataclasses import dataclass

from bactrian.recipe.recipe import Compute, PublishedRun
from bactrian.stages.stage import Forecast, ModelPass, SamplingLoad


@dataclass(frozen=True)
class Gpu:
    """By its maker's data sheet: FLOP/s of dense bfloat16 products, bytes/s and bytes of its memory."""

    flops: float
    bandwidth: float
    memory: float


GPUS = {"a100": Gpu(312e12, 2.0e12, 80e9), "h100": Gpu(989e12, 3.35e12, 80e9), "h200": Gpu(989e12, 4.8e12, 141e9)}

PRODUCTS = 0.4
"""Share of a GPU's peak that training reaches while it computes: 41 to 46 % at 7B to 32B [Olmo 3 2025; fms-fsdp]."""
GATHERED = 125e9
"""Bytes/s at which a GPU gathers weights: between its network (50e9) and its links (450e9). Set by two SFT runs."""
LEARNING = 0.14
"""Share of the peak that learners of RL reach at 8B parameters, gathering and all. Set by three RL runs."""
LEARNING_GROWTH = 0.15
"""Exponent of the parameters in that share: 11.1 % at 0.6B, 14.7 % at 4B [prime-rl's benchmarks, RL trainer, 2026]."""
DECODING = 0.129
"""Share of the memory's bandwidth that sampling reached in RL code of the time [OlmoRL's ablation, its start, 2025]."""

_DECODED_AT_ONCE = 256  # vLLM's max_num_seqs
_TRAINED_BYTES = 16.0  # of a parameter: weight, gradient, float32 master, two moments
_GATHERINGS = {True: 3.0, False: 1.0}  # trained: forward, backward, and the gradients' way back; read: forward


@dataclass(frozen=True)
class GpuTime:
    """GPU-seconds of a step: of learners and samplers at work, and of each side waiting for the other."""

    learning: float = 0.0
    sampling: float = 0.0
    waiting: float = 0.0

    @property
    def hours(self) -> float:
        """GPU-hours, all together."""
        return (self.learning + self.sampling + self.waiting) / 3600


def gpu_time(forecast: Forecast, compute: Compute, run: PublishedRun | None = None) -> GpuTime:
    """What a step takes of the recipe's GPU.

    Args:
        run: the published run of the step, if there is one. Its numbers of GPUs say who waits for whom; without them
            learners and samplers take turns on the same GPUs, and nobody waits.
    """
    gpu = GPUS[compute.gpu]
    if not forecast.passes and not forecast.sampling:
        return GpuTime(learning=forecast.flops / gpu.flops / PRODUCTS)
    own = bool(forecast.passes) and bool(forecast.sampling)
    sharded = _TRAINED_BYTES * max((each.parameters for each in forecast.passes), default=0.0) > gpu.memory
    learning = sum(
        _learner(each, gpu, compute.packed) if own else _trainer(each, gpu, sharded, compute.packed)
        for each in forecast.passes
    )
    sampling = sum(_sampler(each, gpu) for each in forecast.sampling)
    if run is None or not run.samplers or not own:
        return GpuTime(learning, sampling)
    # one step's answers are sampled while those of the step before are trained on
    took = max(learning / (run.gpus - run.samplers), sampling / run.samplers)
    return GpuTime(learning, sampling, took * run.gpus - learning - sampling)


def fewest_gpus(peak_memory: float, compute: Compute) -> int:
    """GPUs whose memory together holds a step."""
    return max(1, math.ceil(peak_memory / GPUS[compute.gpu].memory))


def _trainer(each: ModelPass, gpu: Gpu, sharded: bool, packed: bool) -> float:
    """GPU-seconds of supervised training: products, then weights gathered anew for every micro-batch."""
    batches = each.tokens / each.micro_tokens if packed else each.rows
    gathered = batches * _GATHERINGS[each.flops_a_token >= 6] * 2 * each.parameters / GATHERED
    return each.flops / gpu.flops / PRODUCTS + (gathered if sharded else 0.0)


def _learner(each: ModelPass, gpu: Gpu, packed: bool) -> float:
    """GPU-seconds of a learner in reinforcement learning, on padded rows unless they are packed."""
    share = min(PRODUCTS, LEARNING * math.pow(each.parameters / 8e9, LEARNING_GROWTH))
    padded = each.padded / each.tokens if each.padded and not packed else 1.0
    return each.flops * padded / gpu.flops / share


def _sampler(load: SamplingLoad, gpu: Gpu) -> float:
    """GPU-seconds of sampling: prompts are products; each step of decoding reads all weights and what is cached.

    A round's answers are decoded some hundred at a time; once fewer are left, the longest is waited for.
    """
    prefill = 2 * load.multiplied * load.prompts * load.prompt_tokens / gpu.flops / PRODUCTS
    each_round = load.answers / load.rounds if load.rounds else 0.0
    steps = (
        load.longest + max(0.0, each_round - _DECODED_AT_ONCE) * load.tokens / _DECODED_AT_ONCE if each_round else 0.0
    )
    weights = load.rounds * steps * 2 * load.parameters
    cached = load.answers * load.tokens * (load.prompt_tokens + load.tokens / 2) * cache_bytes(load.parameters)
    return prefill + (weights + cached) / gpu.bandwidth / DECODING


def cache_bytes(parameters: float) -> float:
    """Bytes of one token's keys and values, about: 23 kB at 135M parameters, 131 kB at 8B, 328 kB at 70B (Llama)."""
    return 131e3 * math.pow(parameters / 8e9, 0.42)
