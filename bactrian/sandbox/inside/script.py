"""Runs a program as a script: what it reads is given, what it prints goes to the machine outside."""

from __future__ import annotations

import os
import sys

from bactrian.sandbox.inside import confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def main(job: Mapping[str, Any]) -> None:
    confine.confine(job)
    _feed(job["stdin"].encode("utf-8", "surrogatepass"))
    names = vars(sys.modules["__main__"])
    names.clear()
    names.update(__name__="__main__", __builtins__=sys.modules["builtins"])
    try:
        exec(compile(job["program"], "<program>", "exec"), names)  # noqa: S102 - this is the place for it
    except Exception as error:
        import traceback

        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        sys.exit(1)


def _feed(text: bytes) -> None:
    """Make the text standard input, from a file of the scratch folder that has no name any more."""
    name = ".stdin"
    with open(name, "wb") as file:  # noqa: PTH123 - pathlib costs a tenth of the start
        file.write(text)
    descriptor = os.open(name, os.O_RDONLY)
    os.unlink(name)  # noqa: PTH108
    os.dup2(descriptor, 0)
    os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", errors="replace")  # noqa: SIM115
