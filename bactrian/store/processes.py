"""The processes that work at a run together: who leads, what all agree on, and how one's end becomes everybody's.

They were started by others (`launch`): we only meet. One, the leader, reads recipes, makes steps and writes; the others
wait for its word and join in where a step is trained by all (`joint`). What they agree on they exchange over the CPU,
beside whatever the GPUs do. Loads torch only where there are several.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bactrian.errors import BactrianError
from bactrian.progress import hush, note
from bactrian.stopping import Stop, among_others
from bactrian.store.launch import Place, launched
from bactrian.store.peers import Lost, Peers

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
POLL = 0.1  # seconds between two looks at the store
NOTICE = 60.0  # seconds of waiting after which a process says what it waits for
TIMEOUT = timedelta(hours=24)  # of a collective: whoever is late is working; whoever is gone is seen by `Peers`


@dataclass(frozen=True)
class Member:
    """A process, for messages and for seeing whether it lives. `space`: its kernel's name for where pids count."""

    rank: int
    host: str
    process: int
    space: str

    @classmethod
    def here(cls, rank: int) -> Member:
        try:
            space = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            space = ""
        return cls(rank, socket.gethostname(), os.getpid(), space)


class Processes:
    """This process and those that it works with. Alone it is a group of one, and nothing is exchanged."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.store: Any = None
        self.peers: Peers | None = None
        self.control: Any = None  # torch's group of all, over the CPU
        self._words = 0

    @property
    def leader(self) -> bool:
        return self.rank == 0

    @property
    def name(self) -> str:
        return f"process {self.rank} of {self.size}"

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each number summed over all processes, in the order of their ranks; a name may be missing in some."""
        if self.size == 1:
            return dict(values)
        total: dict[str, float] = {}
        for each in self.gathered(dict(values)):
            for name, value in each.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each over all processes."""
        if self.size == 1:
            return list(values)
        return [max(column) for column in zip(*self.gathered(list(values)), strict=True)]

    def gathered(self, value: T) -> list[T]:
        """What each process gives, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.control)
        return found

    def told(self, value: T) -> T:
        """The leader's value; what the others give is not looked at."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        held = [value if self.leader else None]
        dist.broadcast_object_list(held, src=0, group=self.control)
        return held[0]  # type: ignore[return-value]

    def barrier(self) -> None:
        """Returns when all have come here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self.control)

    def add(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor, group=self.control if tensor.device.type == "cpu" else None)

    def aside(self) -> Processes:
        """The same processes with a channel of their own, for a thread beside what the others exchange. All call it."""
        found = Processes(self.rank, self.size, self.local_rank)
        if self.size > 1:
            import torch.distributed as dist

            found.control = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return found

    def tell(self, **word: Any) -> None:
        """The leader's next word to the others, who wait for it in `hear` however long it takes."""
        if self.size > 1:
            self.store.set(f"word/{self._words}", json.dumps(word))
            self._words += 1

    def hear(self, what: str) -> dict[str, Any]:
        """The leader's next word. `what`: is waited for, in words.

        Raises:
            Lost: another process has ended.
        """
        assert self.peers is not None
        key, began, notice = f"word/{self._words}", time.monotonic(), NOTICE
        self.peers.waits_for(what)
        while not self.store.check([key]):
            self.peers.check()
            if time.monotonic() - began > notice:
                note(f"{self.name} has waited {notice:.0f} s for {what}, which process 0 makes")
                notice *= 4
            time.sleep(POLL)
        self.peers.waits_for("")
        self._words += 1
        word: dict[str, Any] = json.loads(self.store.get(key))
        return word

    def failed(self, error: BaseException) -> BaseException:
        """Let the others know that this process ends, and why; by which error it is to end.

        That is another's failure if it came first. One process says what happened; the rest end without a word
        (SystemExit), but for the traceback of an error that is none of ours.
        """
        assert self.peers is not None
        found = self.peers.ending(error)
        alike = found is not None and f"failed: {error}" == found.message  # all met it at once
        if found is None:  # all stop, as they agreed
            return error if self.leader else SystemExit(getattr(error, "status", 1))
        if found.signal is not None:
            stop = error if found.rank == self.rank else Stop(found.signal)
            return stop if self.peers.speaks(found) else SystemExit(128 + found.signal)
        if found.rank != self.rank and not alike:
            return Lost(found) if self.peers.speaks(found) else SystemExit(2)
        return SystemExit(2) if isinstance(error, BactrianError) and not self.leader else error


ALONE = Processes()
_present = ALONE
broken = False
"""Whether this process ends before its group has parted."""


def present() -> Processes:
    """Those that work at what this process now works at: all within `joint`, else this one alone."""
    return _present


@contextmanager
def joint(group: Processes) -> Iterator[None]:
    """Within, all processes of the group do the same work."""
    global _present
    before, _present = _present, group
    try:
        yield
    finally:
        _present = before


@contextmanager
def met() -> Iterator[Processes]:
    """All processes that were started with this one; a group of one where it was started alone.

    Within, the end of one is the end of all: one of them says which it was, and why.

    Raises:
        BactrianError: the environment is not what torchrun or srun leave, or the others do not come.
        Lost: another process has ended.
    """
    place = launched()
    if place is None:
        yield ALONE
        return
    group = _meet(place)
    if not group.leader:
        hush()
    among_others(not group.leader, same_request=5.0)
    try:
        yield group
        group.barrier()
    except BaseException as error:
        global broken
        broken = True
        ending = group.failed(error)
        if ending is error:
            raise
        raise ending from error
    _part(group)


def _meet(place: Place) -> Processes:
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    group = Processes(place.rank, place.size, place.local_rank)
    hosts = place.rank == 0 and not place.hosted
    try:
        stores = [
            TCPStore(
                place.host,
                place.port,
                is_master=hosts and number == 0,
                wait_for_workers=False,
                timeout=timedelta(minutes=10),
            )
            for number in range(2)  # the watch has a connection of its own: a call holds the other as long as it waits
        ]
        mine, watched = (PrefixStore(f"bactrian/{place.attempt}", store) for store in stores)
        gpus = torch.cuda.is_available()
        if gpus:
            torch.cuda.set_device(place.local_rank % torch.cuda.device_count())  # each may see but one
        member = Member.here(place.rank)
        mine.set(f"member/{place.rank}", json.dumps(asdict(member)))
        _wait_for_all(mine, place.size)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=PrefixStore("group", mine),
            rank=place.rank,
            world_size=place.size,
            timeout=TIMEOUT,
        )
        group.control = dist.new_group(backend="gloo", timeout=TIMEOUT) if gpus else dist.group.WORLD
    except RuntimeError as error:
        raise BactrianError(f"{group.name} at {place.host}:{place.port}: the processes did not meet: {error}") from None
    group.store = mine
    members = [Member(**json.loads(mine.get(f"member/{rank}"))) for rank in range(place.size)]
    group.peers = Peers(watched, place.rank, [asdict(each) for each in members])
    group.peers.start()
    return group


def _wait_for_all(store: Any, size: int, patience: float = 600.0) -> None:
    """
    Raises:
        BactrianError: naming those that have not come.
    """
    end = time.monotonic() + patience
    missing = list(range(size))
    while missing := [rank for rank in missing if not store.check([f"member/{rank}"])]:
        if time.monotonic() > end:
            raise BactrianError(f"of {size} processes {len(missing)} have not come in {patience:.0f} s: {missing[:8]}")
        time.sleep(POLL)


def _part(group: Processes) -> None:
    import torch.distributed as dist

    assert group.peers is not None
    group.peers.stop()
    dist.destroy_process_group()
