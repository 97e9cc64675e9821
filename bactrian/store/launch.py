"""Which process of how many this one is, as torchrun or SLURM's srun says in the environment. Loads no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bactrian.errors import BactrianError

PORTS = range(20000, 60000)
"""Where under SLURM the first process listens: one of these, by the job's and the step's number."""
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Place:
    """A process among those that were started together.

    rank: its number of `size`, from 0. local_rank: its number of the `local_size` on its machine.
    host, port: where the first process's store listens. hosted: whoever started us runs that store (torchrun).
    attempt: names this start: what an earlier one left in the store is not ours.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str
    port: int
    hosted: bool = False
    attempt: str = "0"


def launched(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place; None where it was started alone.

    Raises:
        BactrianError: a variable is missing, or is no number, or does not fit the others.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        place = _of_torchrun(environment)
    elif "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:  # a batch script is no step: it is alone
        place = _of_slurm(environment)
    else:
        return None
    if not (0 <= place.rank < place.size and 0 <= place.local_rank < place.local_size <= place.size):
        raise BactrianError(
            f"environment: found process {place.rank} of {place.size}, on its machine {place.local_rank} of "
            f"{place.local_size}; expected numbers below those after them"
        )
    return place if place.size > 1 else None


def local_size(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes of ours share this machine."""
    place = launched(environment)
    return 1 if place is None else place.local_size


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    return Place(
        _number(environment, "RANK"),
        _number(environment, "WORLD_SIZE"),
        _number(environment, "LOCAL_RANK"),
        _number(environment, "LOCAL_WORLD_SIZE"),
        _text(environment, "MASTER_ADDR"),
        _number(environment, "MASTER_PORT"),
        hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _of_slurm(environment: Mapping[str, str]) -> Place:
    size = _number(environment, "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS")
    nodes = "SLURM_STEP_NODELIST" if "SLURM_STEP_NODELIST" in environment else "SLURM_JOB_NODELIST"
    tasks = "SLURM_STEP_TASKS_PER_NODE" if "SLURM_STEP_TASKS_PER_NODE" in environment else "SLURM_TASKS_PER_NODE"
    hosts = host_names(_text(environment, nodes))
    job, step = _number(environment, "SLURM_JOB_ID"), _number(environment, "SLURM_STEP_ID")
    port = PORTS[(101 * job + step) % len(PORTS)]
    per_node = counts(environment[tasks]) if tasks in environment else [-(-size // len(hosts))] * len(hosts)
    node = _number(environment, "SLURM_NODEID")
    if node >= len(per_node):
        raise BactrianError(f"environment, {tasks}: found {len(per_node)} machines, and SLURM_NODEID {node}")
    return Place(
        _number(environment, "SLURM_PROCID"),
        size,
        _number(environment, "SLURM_LOCALID"),
        per_node[node],
        environment.get("MASTER_ADDR") or hosts[0],
        _number(environment, "MASTER_PORT") if "MASTER_PORT" in environment else port,
        attempt=f"{job}.{step}.{environment.get('SLURM_RESTART_COUNT', '0')}",
    )


def host_names(text: str) -> list[str]:
    """The machines of a SLURM node list.

    >>> host_names("gpu[08-10,12],login1")
    ['gpu08', 'gpu09', 'gpu10', 'gpu12', 'login1']

    Raises:
        BactrianError: it is none.
    """
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        names += _expanded(part, text)
    if not names or text.count("[") != text.count("]"):
        raise BactrianError(f"environment: found the node list {text!r}, expected names such as node[01-04],node7")
    return names


def _expanded(part: str, text: str) -> list[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        return [part]
    inside, _, after = rest.partition("]")
    names = []
    for piece in inside.split(","):
        found = _RANGE.fullmatch(piece)
        if found is None:
            raise BactrianError(f"environment: found the node list {text!r}, and in it [{piece}], expected numbers")
        first, last = found[1], found[2] or found[1]
        middles = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        names += (
            [before + middle + end for middle in middles for end in _expanded(after, text)]
            if after
            else [before + middle for middle in middles]
        )
    return names


def counts(text: str) -> list[int]:
    """Processes of each machine, as SLURM writes them.

    >>> counts("2(x3),1")
    [2, 2, 2, 1]

    Raises:
        BactrianError: it is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise BactrianError(f"environment: found tasks per node {text!r}, expected numbers such as 8(x4),2")
        found += [int(match[1])] * int(match[2] or 1)
    return found


def _text(environment: Mapping[str, str], name: str) -> str:
    found = environment.get(name, "")
    if not found:
        raise BactrianError(f"environment, {name}: found nothing, expected what torchrun or srun puts there")
    return found


def _number(environment: Mapping[str, str], name: str) -> int:
    found = _text(environment, name)
    if not found.isdecimal():
        raise BactrianError(f"environment, {name}: found {found!r}, expected a number")
    return int(found)
