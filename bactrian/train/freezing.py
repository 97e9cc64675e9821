"""Parts of a network that are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch

from bactrian.errors import BactrianError


def freeze(network: torch.nn.Module, patterns: Sequence[str]) -> int:
    """Stop training the weights whose names match any of the patterns (`*` stands for any part).

    Returns:
        How many numbers are left to train.

    Raises:
        BactrianError: a pattern matches no weight, or nothing is left to train.
    """
    names = [name for name, weight in network.named_parameters() if weight.requires_grad]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join([*names[:2], *names[-1:]])
            raise BactrianError(f"freeze: no weight is named {pattern!r}; there are {len(names)}, such as {some}")
    for name, weight in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            weight.requires_grad_(False)
    left = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    if not left:
        raise BactrianError(f"freeze: {', '.join(patterns)} leaves no weight to train")
    return left
