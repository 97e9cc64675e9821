"""Weights on their way from a trainer to whoever samples: vLLM's four phases, over files that both sides see.

`init_weight_transfer_engine`, then for each update `start_weight_update`, `update_weights` once or more, and
`finish_weight_update`. What is sent lies in memory (/dev/shm) where there is room, one piece of some weights at a time.
Whoever receives says afterwards what arrived, if asked, and the sender compares: by SHA-256, weight by weight.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from bactrian.errors import BactrianError

PIECE = 512 << 20  # bytes of weights in one file
_SHARED = Path("/dev/shm")


class WeightReceiver(Protocol):
    """Whoever samples, as a sender sees it: vLLM's `VLLMWeightSyncClient`, and one question more."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Once, before the first update. `init_info`: {check}, whether `received_weights` will be asked."""
        ...

    def start_weight_update(self) -> None:
        """From here on nothing is sampled until the update is finished."""
        ...

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Some of the weights. `update_info`: {path, names} of a safetensors file, which is gone after the call."""
        ...

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """All weights are there; what is sampled from now on is of this version."""
        ...

    def received_weights(self) -> dict[str, str]:
        """Name → SHA-256 of each weight of the last update, as it was loaded."""
        ...


@dataclass(frozen=True)
class Sent:
    """What an update took: bytes, files, seconds."""

    bytes: int
    pieces: int
    seconds: float


class WeightSender:
    """Sends all weights of a model to one receiver."""

    def __init__(self, receiver: WeightReceiver, *, check: bool = False, piece: int = PIECE) -> None:
        """
        Args:
            check: have the receiver say what arrived, and compare: one pass of SHA-256 on each side.
            piece: bytes of weights in one file; a weight larger than that has a file of its own.
        """
        self.receiver, self.check, self.piece = receiver, check, piece
        receiver.init_weight_transfer_engine({"check": check})

    def send(self, weights: Mapping[str, torch.Tensor], version: int) -> Sent:
        """
        Raises:
            BactrianError: what arrived is not what was sent. The receiver is not to be used any more.
        """
        from safetensors.torch import save_file

        began, size, pieces = time.perf_counter(), 0, 0
        digests: dict[str, str] = {}
        self.receiver.start_weight_update()
        with _folder(min(self.piece, sum(weight.nbytes for weight in weights.values()))) as folder:
            for names in _pieces(weights, self.piece):
                file = folder / f"{pieces}.safetensors"
                mine = {name: weights[name].detach().to("cpu").contiguous() for name in names}
                save_file({name: _apart(weight, mine) for name, weight in mine.items()}, file)
                if self.check:
                    digests |= {name: digest(weight) for name, weight in mine.items()}
                self.receiver.update_weights({"path": str(file), "names": names})
                file.unlink()
                size, pieces = size + sum(weight.nbytes for weight in mine.values()), pieces + 1
        self.receiver.finish_weight_update(str(version))
        if self.check:
            compare(digests, self.receiver.received_weights(), version)
        return Sent(size, pieces, time.perf_counter() - began)


def compare(sent: Mapping[str, str], received: Mapping[str, str], version: int) -> None:
    """
    Raises:
        BactrianError: weights are missing, were not sent, or are not what they were.
    """
    wrong = {name: "did not arrive" for name in sent if name not in received}
    wrong |= {name: "was not sent" for name in received if name not in sent}
    wrong |= {name: "is not what was sent" for name in sent if name in received and sent[name] != received[name]}
    if wrong:
        name, what = next(iter(wrong.items()))
        raise BactrianError(
            f"weights of version {version}: {len(wrong)} of {len(sent)} differ between trainer and sampler by their "
            f"SHA-256: {name} {what}; what is sampled would not be of the policy that is trained"
        )


def read_piece(update_info: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of one `update_weights`, mapped from their file: for a receiver.

    Raises:
        ValueError: the file holds other weights than it was said to.
    """
    from safetensors import safe_open

    with safe_open(update_info["path"], framework="pt") as opened:
        names = list(opened.keys())
        found = {name: opened.get_tensor(name) for name in names}
    if sorted(found) != sorted(update_info["names"]):
        raise ValueError(f"{update_info['path']}: found {sorted(found)}, expected {sorted(update_info['names'])}")
    return {name: found[name] for name in update_info["names"]}


def digest(weight: torch.Tensor) -> str:
    """SHA-256 of a weight's bytes."""
    flat = weight.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()


def _apart(weight: torch.Tensor, others: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The weight in memory that no other shares, as safetensors wants it."""
    shared = sum(other.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() for other in others.values())
    return weight.clone() if shared > 1 else weight


def _pieces(weights: Mapping[str, torch.Tensor], most: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, weight in weights.items():
        if names and size + weight.nbytes > most:
            yield names
            names, size = [], 0
        names.append(name)
        size += weight.nbytes
    if names:
        yield names


@contextmanager
def _folder(need: int) -> Iterator[Path]:
    """A folder in memory, where there is room for `need` bytes twice over; else in the temporary folder."""
    roomy = _SHARED.is_dir() and os.access(_SHARED, os.W_OK) and shutil.disk_usage(_SHARED).free > 2 * need
    with tempfile.TemporaryDirectory(prefix="bactrian-weights-", dir=_SHARED if roomy else None) as folder:
        yield Path(folder)
