"""Ways to make one weight of several models' other than by averaging, tensor by tensor in float32.

SLERP goes along the arc between two tensors [Shoemake 1985]. TIES and DARE look at what training changed since the
common start: TIES keeps the largest changes of each model, and of each number those of the sign that weighs more
[Yadav et al. 2023]; DARE drops changes at random and scales up those that are left [Yu et al. 2024].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

Way = Literal["average", "slerp", "ties", "dare", "dare_ties"]
PARALLEL = 0.9995
"""Tensors whose cosine is above this are as good as parallel: the arc is a line."""


def slerp(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """The tensor at `share` of the way from one to the other, seen as vectors, along the arc between them.

    Args:
        share: of the other, in [0, 1].
    """
    a, b = one.double().flatten(), other.double().flatten()
    norms = float(a.norm()) * float(b.norm())
    cosine = float(a @ b) / norms if norms else 1.0
    if abs(cosine) > PARALLEL:
        return (one.double() * (1 - share) + other.double() * share).float()
    angle = math.acos(cosine)
    mixed = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
    return mixed.view_as(one).float()


def trimmed(change: torch.Tensor, density: float) -> torch.Tensor:
    """A change with its smallest numbers set to 0; `density`: share that is kept."""
    keep = max(1, int(density * change.numel()))
    if keep >= change.numel():
        return change
    flat = change.flatten()
    kept = torch.zeros_like(flat)
    places = flat.abs().topk(keep).indices
    kept[places] = flat[places]
    return kept.view_as(change)


def dropped(change: torch.Tensor, density: float, random: torch.Generator) -> torch.Tensor:
    """A change with numbers set to 0 at random and the others scaled up, so that the mean stays."""
    kept = torch.rand(change.shape, generator=random) < density
    return change * kept / density


def elected(changes: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    """The weighted mean, number by number, of the changes whose sign is that of their weighted sum."""
    weighted = torch.stack([share * change for share, change in zip(shares, changes, strict=True)])
    sign = torch.sign(weighted.sum(0))
    agrees = (torch.sign(weighted) == sign) & (sign != 0)
    weight = torch.tensor(shares).view(-1, *[1] * changes[0].dim()) * agrees
    total = weight.sum(0)
    return torch.where(total > 0, (weighted * agrees).sum(0) / total.clamp(min=1e-12), 0.0)


def merged(
    way: Way,
    weights: Sequence[torch.Tensor],
    shares: Sequence[float],
    start: torch.Tensor | None,
    *,
    density: float = 1.0,
    scale: float = 1.0,
    random: torch.Generator | None = None,
) -> torch.Tensor:
    """One weight of several models' in float32.

    Args:
        weights: of each model; shares: of each, which add up to 1.
        start: that of the common start; needed by `ties`, `dare` and `dare_ties`.
        density: share of each change that is kept. scale: of the merged change.
        random: of `dare` and `dare_ties`.
    """
    if way == "average":
        mean = torch.zeros_like(weights[0])
        for share, weight in zip(shares, weights, strict=True):
            mean += share * weight
        return mean
    if way == "slerp":
        one, other = weights
        return slerp(one, other, shares[1])
    assert start is not None, "changes are since the start"
    changes = [weight - start for weight in weights]
    if way == "ties":
        changes = [trimmed(change, density) for change in changes]
    else:
        assert random is not None
        changes = [dropped(change, density, random) for change in changes]
    if way == "dare":
        change = torch.zeros_like(start)
        for share, each in zip(shares, changes, strict=True):
            change += share * each
    else:
        change = elected(changes, shares)
    return start + scale * change
