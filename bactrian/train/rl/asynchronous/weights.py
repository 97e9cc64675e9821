"""The weights that training moves, as bytes: what samplers are sent, and a sum by which both sides compare them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from bactrian.model.language_model import LanguageModel

Bytes = Mapping[str, np.ndarray]
"""Name of a weight → its bytes, uint8 [n]: numpy has no bfloat16, and what has no copies in it is sent without any."""


def trained(model: LanguageModel) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights that training moves, as the model computes with them: all, or its adapters alone."""
    return ((name, weight) for name, weight in model.network.named_parameters() if weight.requires_grad)


def sent(model: LanguageModel) -> dict[str, np.ndarray]:
    """The trained weights' bytes."""
    return {name: _bytes(weight) for name, weight in trained(model)}


@torch.no_grad()
def receive(model: LanguageModel, weights: Bytes) -> None:
    """Put weights that were sent into a model of the same kind.

    Raises:
        ValueError: its trained weights are others.
    """
    mine = dict(trained(model))
    if mine.keys() != weights.keys():
        raise ValueError(f"weights sent and expected differ: {sorted(mine.keys() ^ weights.keys())[:5]}")
    for name, weight in mine.items():
        found = torch.from_numpy(np.array(weights[name])).view(weight.dtype)  # a copy: what was sent is read-only
        weight.copy_(found.reshape(weight.shape))


def checksum(model: LanguageModel) -> str:
    """SHA-256 of the trained weights, by name."""
    found = hashlib.sha256()
    for name, weight in sorted(trained(model)):
        found.update(name.encode())
        found.update(_bytes(weight).data)
    return found.hexdigest()


def _bytes(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
