"""What a reference solution gives for each input of a problem: found in the sandbox, once, and kept by content."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass, replace
from threading import Lock
from typing import Any

from bactrian.sandbox import packages
from bactrian.sandbox.inside import codec
from bactrian.sandbox.isolation import Isolation
from bactrian.sandbox.limits import Limits
from bactrian.sandbox.liveness import Hangs, Watch, messages
from bactrian.sandbox.process import Sandboxed

KEPT = 1000
"""References whose answers are remembered."""
EACH = 0.1
"""Seconds of processor time that a reference may take for an input on the average, beyond its limit."""


@dataclass(frozen=True)
class ReferenceProgram:
    """A program, the name of its function, and the arguments of each call, as JSON in the form of codec.py."""

    program: str
    entry_point: str
    inputs: str
    count: int

    @classmethod
    def of(cls, program: str, entry_point: str, inputs: Sequence[Sequence[Any]]) -> "ReferenceProgram":
        """From plain values. Raises codec.Unsendable for others."""
        written = [codec.encode(list(arguments), _refuse) for arguments in inputs]
        return cls(program, entry_point, codec.dumps(written), len(inputs))


@dataclass(frozen=True)
class ReferenceAnswers:
    """`pairs`: [arguments, value] of each input, as JSON in the form of codec.py.

    `seconds`, `longest`: processor time of all calls, and of one.
    """

    pairs: str
    seconds: float
    longest: float


_known: OrderedDict[str, Future[ReferenceAnswers]] = OrderedDict()
_lock = Lock()


def answers(reference: ReferenceProgram, isolation: Isolation, limits: Limits) -> ReferenceAnswers:
    """Of this reference on these inputs, with these versions of packages; whoever asks first finds
    them.

    Raises:
        ValueError: if the reference fails, or takes more than `limits` and EACH second an
            input; Stalled.
    """
    parts = [*astuple(reference), *packages.versions().items(), *astuple(limits)]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    with _lock:
        if found := (key in _known):
            _known.move_to_end(key)
        future = _known.setdefault(key, Future())
        while len(_known) > KEPT:
            _known.popitem(last=False)
    if not found:
        try:
            future.set_result(_answers(reference, isolation, limits))
        except BaseException as error:
            if not isinstance(error, ValueError):  # not the reference's own fault: it may be asked again
                with _lock:
                    _known.pop(key, None)
            future.set_exception(error)
    return future.result()


def _answers(reference: ReferenceProgram, isolation: Isolation, limits: Limits) -> ReferenceAnswers:
    more = replace(limits, cpu=limits.cpu + int(EACH * reference.count))
    reading, writing = os.pipe()
    job = {**vars(reference), "answers": writing}
    try:
        try:
            sandbox = Sandboxed("reference", job, isolation, more, keep=(writing,))
        finally:
            os.close(writing)
        with sandbox:
            found = _read(reading, Watch([sandbox], more))
            if len(found) != reference.count:
                said = sandbox.complaint()[-200:] or f"it ended after {len(found)} of {reference.count} inputs"
                raise ValueError(f"the reference: {said}")
    finally:
        os.close(reading)
    pairs = zip(json.loads(reference.inputs), (each["value"] for each in found), strict=True)
    seconds = [float(each["seconds"]) for each in found]
    return ReferenceAnswers(codec.dumps([list(pair) for pair in pairs]), sum(seconds), max(seconds, default=0.0))


def _read(pipe: int, watch: Watch) -> list[dict[str, Any]]:
    found = []
    try:
        for said in messages(pipe, watch, codec.LIMIT + 4):
            if not isinstance(said, dict) or "failed" in said:
                raise ValueError(f"the reference: {said and said['failed']}")
            found.append(said)
    except Hangs as error:
        raise ValueError(f"the reference: {error}") from None
    return found


def _refuse(value: Any) -> Any:
    raise codec.Unsendable(f"an object of {type(value).__name__} is no plain value")
