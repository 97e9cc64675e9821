"""Where weights lie: by the hardware, and by how many processes work together."""

from typing import TypeVar

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.quantised import is_quantised
from bactrian.model.reward_model import RewardModel
from bactrian.store import processes
from bactrian.store.hardware import Hardware
from bactrian.store.launch import local_size
from bactrian.train.backend import Backend, LocalBackend
from bactrian.train.frozen import ShardedReference, ShardedRewardModel
from bactrian.train.replicated import ReplicatedBackend
from bactrian.train.sharded import ShardedBackend

Model = TypeVar("Model", LanguageModel, RewardModel)


def open_backend(hardware: Hardware, whole: bool = False) -> Backend:
    """The backend for this hardware, and for the processes that now work together.

    Args:
        whole: the weights must be whole in each process, as those in 4 bits.
    """
    group = processes.present()
    if group.size == 1:
        return LocalBackend()
    if whole or hardware.weights == "replicated":
        return ReplicatedBackend(group)
    return ShardedBackend(group, _within(group, hardware))


def in_shards(model: Model, hardware: Hardware) -> Model:
    """A model that is read and not trained, as the hardware has weights: in shards, in place, or as it is."""
    group = processes.present()
    if group.size == 1 or hardware.weights == "replicated" or is_quantised(model.network):
        return model
    if isinstance(model, RewardModel):
        return ShardedRewardModel.of_whole(model, group, _within(group, hardware))
    return ShardedReference.of_whole(model, group, _within(group, hardware))


def _within(group: processes.Processes, hardware: Hardware) -> int:
    """Over how many processes weights are cut."""
    return on_one_machine(group) if hardware.weights == "hybrid" else group.size


def on_one_machine(group: processes.Processes) -> int:
    """How many of these processes each machine has.

    Raises:
        BactrianError: not equally many, or not one after the other.
    """
    here = local_size()
    each = group.gathered((here, group.local_rank))
    if any(found != (here, rank % here) for rank, found in enumerate(each)):
        told = ", ".join(str(size) for size in dict.fromkeys(size for size, _ in each))
        raise BactrianError(
            f"hardware, field weights: found hybrid, and machines with {told} processes, or ranks that alternate "
            "between machines; expected as many on each, numbered machine by machine (torchrun, or srun "
            "--distribution=block)"
        )
    return here
