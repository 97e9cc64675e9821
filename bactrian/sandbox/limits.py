"""What a program may use, and what came of running one."""

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Of one sandboxed program. It is one process with one thread: it may start neither another nor a thread.

    `cpu`: seconds of processor time that it may use; `test`: that one call of it may use. `wall`: seconds of the clock
    that it may let pass asleep; time in which the machine keeps it waiting is not counted. `memory` is its address
    space, `scratch` the folder that it may write in, `output` what it may print, all in bytes.
    """

    wall: float = 15.0
    cpu: int = 10
    test: float = 3.0
    memory: int = 512 * MIB
    scratch: int = 32 * MIB
    output: int = MIB


Ended = Literal["finished", "failed", "killed", "timed_out", "flooded", "stalled"]


@dataclass(frozen=True)
class ProgramRun:
    """One program that ran to its end, or was ended.

    "finished": status 0; "failed": another exit status, such as 1 after an exception; "killed": by a signal, such as
    for too much processor time or a crash of the interpreter; "timed_out": it slept for longer than it may; "flooded":
    it printed more than it may; "stalled": the machine is so busy that nothing can be said of it. `output` and `error`
    are what it printed, cut at the limit.
    """

    ended: Ended
    output: str
    error: str
    status: int
    seconds: float
