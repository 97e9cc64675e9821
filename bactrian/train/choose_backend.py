"""Which backend has the weights: by the hardware, and by how many processes work together."""

from bactrian.store import processes
from bactrian.store.hardware import Hardware
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
    return ShardedBackend(group)
