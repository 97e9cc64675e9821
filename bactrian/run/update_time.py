"""How long training takes on many GPUs: an update played through, layer by layer, on two resources, products and links.

A layer's weights are gathered while the one before it is computed; its gradient is summed while the next is. Whoever
comes last is waited for in every micro-batch: of n GPUs the one with the most tokens. No constant here was set by the
runs that it is compared with: products reach the share of the peak of `gpu_hours.PRODUCTS`, links LINK_SHARE of their
makers' rates. Beside published runs: docs/clusters.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from bactrian.run.gpu_hours import GPUS, PRODUCTS
from bactrian.stages.stage import ModelPass
from bactrian.store.hardware import GpuKind

Weights = Literal["sharded", "hybrid", "replicated"]


@dataclass(frozen=True)
class Links:
    """Bytes/s that a GPU sends while it receives as many: within its machine, and over its share of the network."""

    within: float
    between: float


LINKS: dict[GpuKind, Links] = {
    "a100": Links(300e9, 25e9),  # NVLink 3; 200 Gbit/s a GPU
    "h100": Links(450e9, 50e9),  # NVLink 4; 400 Gbit/s a GPU
    "h200": Links(450e9, 50e9),
}
LINK_SHARE = 0.8
"""Of a link's rate, that large collectives reach (assumed; NCCL's own tests show 0.8 to 0.9)."""
LATENCY = 15e-6
"""Seconds of a collective before its first byte, within a machine (assumed)."""
LATENCY_A_MACHINE = 4e-6
"""And more for each machine: a ring passes all of them (assumed)."""
ROW_SPREAD = 0.8
"""Standard deviation of the logarithm of rows' lengths (assumed; that of the rows in benchmarks/sft.py)."""
PACKED_SPREAD = 0.05
"""The same of packs, which are nearly full (assumed)."""
JITTER = 0.02
"""Standard deviation of a GPU's speed, as a share (assumed)."""
SNAPSHOT = 20e9
"""Bytes/s at which a GPU's part of a checkpoint is copied to main memory; it is written while training goes on."""
CHECKPOINT_SECONDS = 120.0
"""Between two checkpoints (train/pace.py, SELDOM)."""

_GRID = 256  # points at which an expectation is worked out
_PLAYED = 4  # micro-batches that are played through; the rest go like the last


@dataclass(frozen=True)
class Cluster:
    """Machines with equally many GPUs, and how weights lie on them."""

    gpu: GpuKind
    per_node: int
    nodes: int = 1
    weights: Weights = "sharded"

    @property
    def gpus(self) -> int:
        return self.per_node * self.nodes

    def gathering(self, size: float) -> float:
        """Seconds until each GPU of a shard group has `size` bytes, of which it had a part; a sum takes as long."""
        nodes = self.nodes if self.weights == "sharded" else 1
        count = nodes * self.per_node
        if count == 1 or self.weights == "replicated":
            return 0.0
        links = LINKS[self.gpu]
        moved = size * (count - 1) / count / links.within
        if nodes > 1:  # what comes from other machines comes over all network cards of a machine, once
            moved = max(moved, size * (nodes - 1) / nodes / (links.between * self.per_node))
        return moved / LINK_SHARE + LATENCY + LATENCY_A_MACHINE * nodes

    def summing(self, size: float) -> float:
        """Seconds of a sum over what gathers do not reach: machines (hybrid) or all GPUs (replicated)."""
        links = LINKS[self.gpu]
        if self.weights == "hybrid" and self.nodes > 1:  # each GPU sums its shard with those of the other machines
            moved = 2 * size / self.per_node * (self.nodes - 1) / self.nodes / links.between
        elif self.weights == "replicated" and self.gpus > 1:
            moved = (
                2
                * size
                * (self.gpus - 1)
                / self.gpus
                / (links.between * self.per_node if self.nodes > 1 else links.within)
            )
        else:
            return 0.0
        return moved / LINK_SHARE + LATENCY + LATENCY_A_MACHINE * self.nodes


@dataclass(frozen=True)
class UpdateRows:
    """What one update trains on. rows: of how many rows; tokens: of a row on average; longest: that is cut.

    micro_tokens: of one forward and backward, where rows are packed; None: a row in each.
    """

    rows: float
    tokens: float
    longest: float = math.inf
    micro_tokens: int | None = None
    spread: float = ROW_SPREAD


@dataclass(frozen=True)
class UpdateTime:
    """Seconds of one update: all, and of it the products of a GPU that never waits, waiting for links, for others, and
    copying checkpoints."""

    seconds: float
    products: float
    links: float
    others: float
    checkpoints: float


def update_time(trained: ModelPass, batch: UpdateRows, cluster: Cluster) -> UpdateTime:
    """An update of one model on a cluster.

    Args:
        trained: gives parameters, FLOPs a token and, if known, those of attention.
    """
    per_token = trained.products + (trained.attention / trained.tokens if trained.tokens else 0)
    speed = GPUS[cluster.gpu].flops * PRODUCTS
    micro_batches, mean, latest = _cut(batch, cluster.gpus)
    jitter = 1 + JITTER * expected_largest(cluster.gpus)
    products = micro_batches * mean * per_token / speed
    computed = micro_batches * latest * per_token / speed * jitter
    played = _played(trained, cluster, micro_batches, latest * per_token / speed * jitter)
    held = 12 * trained.parameters / (1 if cluster.weights == "replicated" else cluster.gpus) / SNAPSHOT
    checkpoints = played * held / max(CHECKPOINT_SECONDS, held)
    return UpdateTime(played + checkpoints, products, max(0.0, played - computed), computed - products, checkpoints)


def tokens_a_second(trained: ModelPass, batch: UpdateRows, cluster: Cluster) -> float:
    """Of one GPU."""
    return batch.rows * batch.tokens / update_time(trained, batch, cluster).seconds / cluster.gpus


@dataclass(frozen=True)
class ClusterTime:
    """A step by the clock. links, others: shares of its time in which GPUs wait for weights and gradients, and for the
    one that has most to do."""

    hours: float
    tokens_a_second: float  # of one GPU
    links: float
    others: float


def clock(trained: ModelPass, cluster: Cluster, packed: bool) -> ClusterTime:
    """All updates of a model's training, each of `trained.batch` rows."""
    rows, tokens = min(trained.batch, trained.rows), trained.tokens / trained.rows
    batch = UpdateRows(rows, tokens, micro_tokens=trained.micro_tokens if packed else None)
    one = update_time(trained, batch, cluster)
    speed = rows * tokens / one.seconds / cluster.gpus
    hours = trained.rows / rows * one.seconds / 3600
    return ClusterTime(hours, speed, one.links / one.seconds, one.others / one.seconds)


def _cut(batch: UpdateRows, gpus: int) -> tuple[float, float, float]:
    """Micro-batches of each GPU, their tokens on average, and those of the GPU that has most."""
    if batch.micro_tokens is None:
        count = max(1.0, math.ceil(batch.rows / gpus))
        mean = batch.rows * batch.tokens / gpus / count
        return count, mean, max(mean, largest_of(gpus, batch.tokens, batch.spread, batch.longest))
    each = batch.rows * batch.tokens / gpus
    count = max(1.0, math.ceil(each / batch.micro_tokens))
    # a row is not cut: where a GPU gets less than one, some get a whole one and some none
    least = batch.tokens if batch.rows < gpus else each / count
    return count, each / count, max(each / count, largest_of(gpus, least, PACKED_SPREAD, batch.longest))


def largest_of(count: int, mean: float, spread: float, longest: float = math.inf) -> float:
    """Expected largest of `count` log-normal lengths with this mean and spread, none above `longest`."""
    normal, middle = NormalDist(), math.log(mean) - spread**2 / 2
    places = (normal.inv_cdf(((i + 0.5) / _GRID) ** (1 / count)) for i in range(_GRID))
    return sum(min(longest, math.exp(middle + spread * each)) for each in places) / _GRID


def expected_largest(count: int) -> float:
    """Of `count` standard normal numbers the largest, on average."""
    normal = NormalDist()
    return sum(normal.inv_cdf(((i + 0.5) / _GRID) ** (1 / count)) for i in range(_GRID)) / _GRID if count > 1 else 0.0


def _played(trained: ModelPass, cluster: Cluster, micro_batches: float, seconds: float) -> float:
    """Seconds of an update whose micro-batches take `seconds` of products each.

    Two things happen at a time, products and transfers, each in its order. A layer is gathered at most one ahead of its
    products, as there is memory for two whole ones; gathering for the next layer goes before the sum of this one's
    gradient.
    """
    layers = layers_of(trained.parameters)
    unit = trained.parameters / layers
    gather = cluster.gathering(2 * unit)  # in bfloat16
    add = cluster.gathering(4 * unit)
    between = cluster.summing(4 * unit) if cluster.weights == "hybrid" else 0.0  # once an update, in its last backward
    forward = seconds * 2 / trained.flops_a_token / layers
    backward = seconds / layers - forward
    product = link = 0.0
    ends: list[float] = []
    many = min(_PLAYED, math.ceil(micro_batches))
    for number in range(many):
        sum_up = add + (between if number == many - 1 else 0.0)
        done = [product, product]  # when the products of the last two layers ended
        for _ in range(layers):
            link = max(link, done[-2]) + gather
            product = max(product, link) + forward
            done.append(product)
        waiting = 0.0  # a sum that is due when the next layer was gathered
        for _ in range(layers):
            link = max(link, done[-2]) + gather
            product = max(product, link) + backward
            link = max(link, waiting) + sum_up if waiting else link
            waiting = product
            done.append(product)
        link = max(link, waiting) + sum_up
        ends.append(max(product, link))
    each = (ends[-2] - ends[0]) / (many - 2) if many > 2 else ends[0]
    at_end = cluster.summing(4 * trained.parameters) if cluster.weights == "replicated" else 0.0
    return ends[-1] + (micro_batches - many) * each + at_end


def layers_of(parameters: float) -> int:
    """About: 16 at 1B, 32 at 8B, 80 at 70B, 126 at 405B (Llama 3)."""
    return max(2, round(32 * math.pow(parameters / 8e9, 0.38)))
