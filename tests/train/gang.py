"""Several processes that work together, on this machine: forked from one that has loaded torch."""

import io
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from bactrian.store.processes import joint, met

PATIENCE = 240.0
PRELOADED = ["tests.train.bench"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """As torchrun leaves it, but that the first process has the store."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def slurm_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """As srun leaves it on one machine."""
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
        "SLURM_STEP_NUM_TASKS": str(size),
        "SLURM_STEP_TASKS_PER_NODE": str(size),
        "SLURM_STEP_NODELIST": "localhost",
        "MASTER_PORT": str(port),
    }


def together(size: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What `work(group, *given)` returns in each of `size` processes, by rank; all work jointly.

    Raises:
        AssertionError: one raised, with its traceback.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port, answers = free_port(), context.Queue()
    started = [
        context.Process(target=_one, args=(rank, size, port, answers, work, given), daemon=True) for rank in range(size)
    ]
    for each in started:
        each.start()
    try:
        found = dict(_answer(answers) for _ in started)
    finally:
        for each in started:
            each.join(20)
            each.kill()
    broken = {rank: text for rank, (fine, text) in found.items() if not fine}
    assert not broken, "\n".join(f"process {rank}:\n{text}" for rank, text in broken.items())
    return [torch.load(io.BytesIO(found[rank][1]), weights_only=False) for rank in range(size)]


def _answer(answers: Any) -> Any:
    try:
        return answers.get(timeout=PATIENCE)
    except Empty:
        raise AssertionError(f"no answer within {PATIENCE:.0f} s") from None


def ended(work: Callable[..., int], given: Sequence[tuple[dict[str, str], tuple[Any, ...]]], folder: Path) -> list[int]:
    """The statuses of processes that each call `work`, in this folder, with an environment and arguments of their own;
    negative where a signal ended one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    started = [
        context.Process(target=_status, args=(settings, folder, work, each), daemon=True) for settings, each in given
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE)
        process.kill()
    return [process.exitcode if process.exitcode is not None else -9 for process in started]


def _status(settings: dict[str, str], folder: Path, work: Callable[..., int], given: tuple[Any, ...]) -> None:
    os.environ.update(settings)
    os.chdir(folder)
    os._exit(work(*given))


def _one(rank: int, size: int, port: int, answers: Any, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    os.environ.update(environment(rank, size, port))
    torch.set_num_threads(1)
    try:
        with met() as group, joint(group):
            result = work(group, *given)
        kept = io.BytesIO()  # a tensor that is sent by itself is a file of a process that has ended
        torch.save(result, kept)
        answers.put((rank, (True, kept.getvalue())))
    except BaseException:
        answers.put((rank, (False, traceback.format_exc())))
