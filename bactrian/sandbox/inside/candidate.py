"""Runs a program that tests of another process put questions to; knows of the tests no more than each call's arguments.

Everything here is in the program's own hands once it runs. That is why nothing here decides anything.
"""

from __future__ import annotations

import os
import sys
from _signal import ITIMER_REAL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]  # signal loads enum

from bactrian.sandbox.inside import codec, confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any

MODULE = "solution"
"""The program's `__name__`, so that what it would do as a script of its own is left out."""


class Late(BaseException):
    """Thrown into a call that takes too long; a program that catches it is ended by its tests instead."""


def main(job: Mapping[str, Any]) -> None:
    signal(SIGALRM, _late)
    confine.confine(job)
    confine.silence(0, 1, 2)
    module = type(sys)(MODULE)
    sys.modules[MODULE] = module
    program = Program(vars(module), job["calls"], job["replies"])
    program.load(job["prelude"], job["program"], job["test"])
    program.serve(job["test"])


def _late(number: int, frame: FrameType | None) -> None:
    raise Late


class Program:
    """The program's names, and the objects that its tests hold by number."""

    def __init__(self, names: dict[str, Any], calls: int, replies: int) -> None:
        self.names, self.calls, self.replies = names, calls, replies
        self.held: list[Any] = []

    def load(self, prelude: str, source: str, seconds: float) -> None:
        """Run the program itself; say whether it got to its end."""
        try:
            setitimer(ITIMER_REAL, seconds)
            for text, name in ((prelude, "<given>"), (source, "<program>")):
                exec(compile(text, name, "exec"), self.names)  # noqa: S102 - this is the place for it
            setitimer(ITIMER_REAL, 0)
        except BaseException as error:
            setitimer(ITIMER_REAL, 0)
            codec.send(self.replies, {"failed": describe(error)})
            os._exit(0)
        codec.send(self.replies, {"loaded": True})

    def serve(self, seconds: float) -> None:
        """Answer until the tests hang up."""
        while True:
            try:
                asked = codec.receive(self.calls)
            except EOFError:
                os._exit(0)
            try:
                setitimer(ITIMER_REAL, seconds)
                value = self.do(asked)
                setitimer(ITIMER_REAL, 0)
                reply = {"value": codec.encode(value, self.refer)}
            except BaseException as error:
                setitimer(ITIMER_REAL, 0)
                reply = {"raised": describe(error)}
            self.answer(reply)

    def answer(self, reply: Any) -> None:
        try:
            codec.send(self.replies, reply)
        except (codec.Unsendable, ValueError, RecursionError, MemoryError) as error:
            codec.send(self.replies, {"raised": describe(error)})

    def do(self, asked: Mapping[str, Any]) -> Any:
        """One request: a name of the program's, or an operation on an object that the tests hold."""
        operation, arguments = asked["do"], [codec.decode(each, self.resolve) for each in asked.get("arguments", ())]
        if operation == "name":
            return self.names[asked["name"]]
        target = self.held[asked["on"]]
        if operation == "call":
            words = {name: codec.decode(each, self.resolve) for name, each in asked["words"].items()}
            return target(*arguments, **words)
        return OPERATIONS[operation](target, *arguments)

    def refer(self, value: Any) -> Any:
        self.held.append(value)
        return {"iterator" if codec.is_iterator(value) else "object": len(self.held) - 1}

    def resolve(self, written: Mapping[str, Any]) -> Any:
        """What the tests refer to: an object of the program's, a function of theirs, or an iterator's items."""
        if "object" in written:
            return self.held[written["object"]]
        if "items" in written:
            return iter([codec.decode(item, self.resolve) for item in written["items"]])
        return lambda *arguments: self.call_back(written["function"], arguments)

    def call_back(self, function: int, arguments: tuple[Any, ...]) -> Any:
        encoded = [codec.encode(each, self.refer) for each in arguments]
        codec.send(self.replies, {"function": function, "arguments": encoded})
        reply = codec.receive(self.calls)
        if "raised" in reply:
            raise RuntimeError(": ".join(reply["raised"]))
        return codec.decode(reply["value"], self.resolve)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "length": len,
    "text": str,
    "written": repr,
    "iterate": iter,
    "advance": next,
}


def describe(error: BaseException) -> list[str]:
    """[type, text] of an exception, whatever its own `__str__` does."""
    name = type(error).__name__
    if isinstance(error, Late):
        return ["TimeoutError", "too slow"]
    try:
        return [str(name), str(error)[:300]]
    except BaseException:
        return [str(name), ""]
