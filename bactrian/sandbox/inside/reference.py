"""Runs a reference solution on each input of a problem, and says what it gives: what programs will be compared with."""

from __future__ import annotations

import sys
import time

from bactrian.sandbox.inside import codec, confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def main(job: Mapping[str, Any]) -> None:
    confine.confine(job)
    confine.silence(0, 1, 2)
    done = 0
    try:
        names = vars(sys.modules.setdefault("reference", type(sys)("reference")))
        exec(compile(job["program"], "<reference>", "exec"), names)  # noqa: S102 - this is the place for it
        function = names[job["entry_point"]]
        for written in codec.loads(job["inputs"]):
            arguments = codec.decode(written, _refuse)
            began = time.process_time()
            value = function(*arguments)
            seconds = time.process_time() - began
            codec.send(job["answers"], {"value": codec.encode(value, _refuse), "seconds": seconds})
            done += 1
    except Exception as error:
        codec.send(job["answers"], {"failed": f"after {done} inputs, {type(error).__name__}: {error}"[:300]})


def _refuse(value: Any) -> Any:
    raise codec.Unsendable(f"an object of {type(value).__name__} is no plain value")
