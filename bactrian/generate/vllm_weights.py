"""Bactrian's side of vLLM's weight transfer, in vLLM's own worker process: a backend that reads weights from files.

vLLM brings backends for GPUs (NCCL, CUDA IPC) and none for CPUs. This one works on any device, and is what the file
transfer of `weight_transfer.py` ends in. vLLM loads this module in its workers (`worker_extension_cls`), before it
makes the backend; nothing else is to import it, as it needs vLLM.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from bactrian.generate.weight_transfer import digest, read_piece

BACKEND = "bactrian_files"
OPENED_BY = "BACTRIAN_OPENED_VLLM"  # environment: the process that opened this vLLM, and with which it is to end
LOOKS = 2.0  # seconds between looks whether that is still there


@dataclass
class FilesInit(WeightTransferInitInfo):  # type: ignore[misc]
    """`check`: remember the SHA-256 of what arrives."""

    check: bool = False


@dataclass
class FilesUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]
    """One file of weights, and what it holds."""

    path: str
    names: list[str]


class FileWeights(WeightTransferEngine[FilesInit, FilesUpdate]):  # type: ignore[misc]
    """Loads weights in a checkpoint's form from safetensors files, layer by layer, into a model that is in use."""

    init_info_cls, update_info_cls = FilesInit, FilesUpdate

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.check = False
        self.arrived: dict[str, str] = {}
        self._expected: set[str] = set()
        self._loaded: set[str] = set()

    def init_transfer_engine(self, init_info: FilesInit) -> None:
        self.check = init_info.check

    def start_weight_update(self) -> None:
        self.arrived, self._loaded = {}, set()
        _abandon(self.model)
        self._expected = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: FilesUpdate) -> None:
        weights = read_piece(asdict(update_info))
        if self.check:
            self.arrived |= {name: digest(weight) for name, weight in weights.items()}
        self._loaded |= set(self.model.load_weights(weights.items()) or ())

    def finish_weight_update(self) -> None:
        """
        Raises:
            ValueError: some of the model's parameters were not loaded; vLLM would go on with the old ones.
        """
        finalize_layerwise_reload(self.model, self.model_config)
        _repack_tied(self.model)
        if missing := sorted(self._expected - self._loaded):
            raise ValueError(f"{len(missing)} of {len(self._expected)} parameters got no weights: {missing[:3]}")

    def shutdown(self) -> None:
        self.arrived = {}


def _abandon(model: torch.nn.Module) -> None:
    """Have layers forget what an update that was broken off had sent for them; vLLM would load it with the next."""
    from vllm.model_executor.model_loader.reload import layerwise

    broken_off = [layer for layer in model.modules() if layerwise.get_layerwise_info(layer).can_load()]
    for layer in broken_off:
        info = layerwise.get_layerwise_info(layer)
        if info.kernel_tensors is not None:
            layerwise._place_kernel_tensors(layer, info)  # as its own end of an update does
        info.reset()
    if broken_off:
        layerwise.LOADING_LAYERS.clear()


def _repack_tied(model: torch.nn.Module) -> None:
    """Have an output layer that is tied to the embedding make its packed copy anew.

    On CPUs vLLM multiplies by a copy in another layout. No weight of a checkpoint goes into a tied layer, so the reload
    passes it by, and its copy would stay that of the weights before.
    """
    head = getattr(model, "lm_head", None)
    method = getattr(head, "quant_method", None)
    if getattr(getattr(model, "config", None), "tie_word_embeddings", False) and method is not None:
        method.process_weights_after_loading(head)


class BactrianWorker:
    """What is added to vLLM's worker, for `collective_rpc`."""

    weight_transfer_engine: FileWeights

    def received_weights(self) -> dict[str, str]:
        """Name → SHA-256 of the weights of the last update, where they were to be remembered."""
        return self.weight_transfer_engine.arrived


if BACKEND not in WeightTransferEngineFactory._registry:  # there is no other way to ask
    WeightTransferEngineFactory.register_engine(BACKEND, FileWeights)


def end_with(process: int) -> None:
    """In a thread: end this process once that one is gone. vLLM's core, which nobody tells, ends with its workers."""
    while True:
        time.sleep(LOOKS)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os._exit(1)


if opener := os.environ.get(OPENED_BY):
    Thread(target=end_with, args=(int(opener),), daemon=True).start()
