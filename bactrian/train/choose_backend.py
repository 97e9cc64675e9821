"""Which backend has the weights: by the hardware, and by how many processes work together."""

from bactrian.errors import BactrianError
from bactrian.store import processes
from bactrian.store.hardware import Hardware
from bactrian.store.launch import local_size
from bactrian.train.backend import Backend, LocalBackend
from bactrian.train.replicated import ReplicatedBackend
from bactrian.train.sharded import ShardedBackend


def open_backend(hardware: Hardware, whole: bool = False) -> Backend:
    """The backend for this hardware, and for the processes that now work together.

    Args:
        whole: the weights must be whole in each process, as those beside adapters.
    """
    group = processes.present()
    if group.size == 1:
        return LocalBackend()
    if whole or hardware.weights == "replicated":
        return ReplicatedBackend(group)
    return ShardedBackend(group, on_one_machine(group) if hardware.weights == "hybrid" else None)


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
