"""Programs that read standard input and print."""

import os
import subprocess
import time
from contextlib import ExitStack

from bactrian.sandbox.isolation import Isolation
from bactrian.sandbox.limits import Ended, Limits, ProgramRun
from bactrian.sandbox.liveness import TICK, Hangs, Stalled, Watch
from bactrian.sandbox.process import Sandboxed


def run_program(source: str, isolation: Isolation, stdin: str = "", limits: Limits = Limits()) -> ProgramRun:  # noqa: B008
    """Run a Python program as a script. Never raises for what the program does; OSError if no sandbox starts.

    >>> run_program("print(6 * 7)", chosen_isolation()).output
    '42\\n'
    """
    with ExitStack() as stack:
        pipes = [os.pipe(), os.pipe()]
        for reading, _ in pipes:
            stack.callback(os.close, reading)
        try:
            job = {"program": source, "stdin": stdin}
            sandbox = Sandboxed("script", job, isolation, limits, output=pipes[0][1], error=pipes[1][1])
        finally:
            for _, writing in pipes:
                os.close(writing)
        with sandbox:
            printed, ended = _read([reading for reading, _ in pipes], sandbox, limits)
            seconds = time.monotonic() - sandbox.started
            status = sandbox.process.wait() if ended is None else -9
    output, error = (text[: limits.output].decode(errors="replace") for text in printed)
    return ProgramRun(ended or _ended(status), output, error.strip(), status, seconds)


def _read(pipes: list[int], sandbox: Sandboxed, limits: Limits) -> tuple[list[bytes], Ended | None]:
    """What it writes to each pipe until it ends or is over a limit, and over which."""
    parts: dict[int, list[bytes]] = {pipe: [] for pipe in pipes}
    size, waiting = dict.fromkeys(pipes, 0), list(pipes)
    watch = Watch([sandbox], limits)
    ended: Ended | None = None
    try:
        while waiting and ended is None:
            for pipe in watch.wait(waiting):
                part = os.read(pipe, 1 << 16)
                if not part:
                    waiting.remove(pipe)
                parts[pipe].append(part)
                size[pipe] += len(part)
            ended = "flooded" if max(size.values()) > limits.output else None
        if ended is None:
            _wait(sandbox, watch)
    except (Hangs, Stalled) as error:
        ended = "stalled" if isinstance(error, Stalled) else "timed_out"
    return [b"".join(parts[pipe]) for pipe in pipes], ended


def _wait(sandbox: Sandboxed, watch: Watch) -> None:
    """For a program that closed its output and goes on."""
    while True:
        try:
            sandbox.process.wait(TICK)
            return
        except subprocess.TimeoutExpired:
            watch.check()


def _ended(status: int) -> Ended:
    """From the tool's exit status; it gives a signal of the program's as 128 plus its number."""
    return "finished" if status == 0 else "killed" if status < 0 or status > 128 else "failed"
