"""Programs that read standard input and print."""

import os
import select
import subprocess
import time

from bactrian.sandbox.isolation import Isolation
from bactrian.sandbox.limits import Ended, Limits, Run
from bactrian.sandbox.process import Sandboxed


def run_program(source: str, isolation: Isolation, stdin: str = "", limits: Limits = Limits()) -> Run:  # noqa: B008
    """Run a Python program as a script. Never raises for what the program does; OSError if no sandbox starts.

    >>> run_program("print(6 * 7)", chosen()).output
    '42\\n'
    """
    job = {"program": source, "stdin": stdin}
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        try:
            sandbox = Sandboxed("script", job, isolation, limits, output=writing)
        finally:
            os.close(writing)
        with sandbox:
            output, ended = _read(pipe.fileno(), sandbox, limits)
            seconds = time.monotonic() - sandbox.started
            status = sandbox.process.wait() if ended is None else -9
            error = sandbox.complaint()
    return Run(ended or _ended(status), output, error, status, seconds)


def _read(descriptor: int, sandbox: Sandboxed, limits: Limits) -> tuple[str, Ended | None]:
    """What it prints until it ends or is over a limit, and over which. It ends when all that held its output have."""
    parts: list[bytes] = []
    size = 0
    ended: Ended | None = None
    deadline = sandbox.started + limits.wall
    while ended is None:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            ended = "timed_out"
        elif not (part := os.read(descriptor, 1 << 16)):
            break
        else:
            parts.append(part)
            size += len(part)
            if size > limits.output:
                ended = "flooded"
    text = b"".join(parts)[: limits.output].decode(errors="replace")
    if ended is None:
        ended = _wait(sandbox, deadline)
    return text, ended


def _wait(sandbox: Sandboxed, deadline: float) -> Ended | None:
    """For a program that closed its output and goes on."""
    try:
        sandbox.process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timed_out"
    return None


def _ended(status: int) -> Ended:
    """From the tool's exit status; it gives a signal of the program's as 128 plus its number."""
    return "finished" if status == 0 else "killed" if status < 0 or status > 128 else "failed"
