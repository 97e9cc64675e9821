"""Runs a program that tests of another process put questions to; knows of the tests no more than each call's arguments.

Everything here is in the program's own hands once it runs. That is why nothing here decides anything.
"""

from __future__ import annotations

import _operator as operator
import os
import sys
from _signal import ITIMER_PROF, SIGPROF, setitimer, signal  # type: ignore[import-not-found]  # signal loads enum

from bactrian.sandbox.inside import codec, confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType
    from typing import Any

GRACE = 1.0
"""Seconds of processor time in which a call must have heeded that it is too slow."""
MODULE = "solution"
"""The program's `__name__`, so that what it would do as a script of its own is left out."""


class Late(BaseException):
    """Thrown into a call that takes too long; a program that catches it is ended by its tests instead."""


def main(job: Mapping[str, Any]) -> None:
    signal(SIGPROF, _late)
    confine.confine(job)
    confine.silence(0, 1, 2)
    module = type(sys)(MODULE)
    sys.modules[MODULE] = module
    program = CandidateProgram(vars(module), job["calls"], job["replies"])
    program.load(job["prelude"], job["program"], job["test"])
    program.serve(job["test"])


_clock = {"running": False, "late": False}


def _late(number: int, frame: FrameType | None) -> None:
    """By this process's own clock of processor time, or from outside, where it is seen to sleep."""
    if _clock["running"]:
        if _clock["late"]:
            os._exit(1)
        _clock["late"] = True
        raise Late


def _start(seconds: float) -> None:
    """A call begins: Late after so many seconds of processor time, and the end of the process if it goes on."""
    _clock.update(running=True, late=False)
    setitimer(ITIMER_PROF, max(seconds, 0.001), GRACE)


def _stop() -> float:
    """Seconds of processor time that it had left."""
    _clock["running"] = False
    return float(setitimer(ITIMER_PROF, 0)[0])


class CandidateProgram:
    """The program's names, and the objects that its tests hold by number."""

    def __init__(self, names: dict[str, Any], calls: int, replies: int) -> None:
        self.names, self.calls, self.replies = names, calls, replies
        self.held: list[Any] = []
        self.numbers: dict[int, int] = {}

    def load(self, prelude: str, source: str, seconds: float) -> None:
        """Run the program itself; say whether it got to its end."""
        try:
            _start(seconds)
            for text, name in ((prelude, "<given>"), (source, "<program>")):
                exec(compile(text, name, "exec"), self.names)  # noqa: S102 - this is the place for it
            _stop()
        except BaseException as error:
            _stop()
            codec.send(self.replies, {"failed": describe(error)})
            os._exit(0)
        codec.send(self.replies, {"loaded": True})

    def serve(self, seconds: float) -> None:
        """Answer until the tests hang up."""
        self.seconds = seconds
        while True:
            try:
                asked = codec.receive(self.calls)
            except EOFError:
                os._exit(0)
            self.reply(asked, seconds)

    def reply(self, asked: Mapping[str, Any], seconds: float) -> None:
        try:
            _start(seconds)
            value, changed = self.do(asked)
            _stop()
            reply = {"value": codec.encode(value, self.refer), **changed}
        except BaseException as error:
            _stop()
            reply = {"raised": [*describe(error), *self.kind(error)]}
        self.answer(reply)

    def answer(self, reply: Any) -> None:
        try:
            codec.send(self.replies, reply)
        except (codec.Unsendable, ValueError, RecursionError, MemoryError) as error:
            codec.send(self.replies, {"raised": describe(error)})

    def do(self, asked: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One request: a name of the program's, or an operation on an object that the tests hold.

        With what comes of it goes what has become of the arguments, where that is asked: a call that stands alone.
        """
        operation, arguments = asked["do"], [codec.decode(each, self.resolve) for each in asked.get("arguments", ())]
        if operation == "name":
            return self.names[asked["name"]], {}
        target = self.held[asked["on"]]
        if operation == "call":
            words = {name: codec.decode(each, self.resolve) for name, each in asked["words"].items()}
            value = target(*arguments, **words)
            if not asked.get("alone"):
                return value, {}
            return value, {"arguments": [codec.encode(each, self.refer) for each in arguments]}
        return OPERATIONS[operation](target, *arguments), {}

    def number(self, value: Any) -> int:
        """The one under which the tests know an object; always the same."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.held)
            self.held.append(value)
        return self.numbers[id(value)]

    def refer(self, value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"error": self.ancestry(value)}
        kind = "iterator" if codec.is_iterator(value) else "callable" if callable(value) else "object"
        return {kind: self.number(value)}

    def ancestry(self, kind: type) -> Any:
        """Of a class of exceptions: [number, name, the same of its base]; of one of Python's own: its name."""
        if kind.__module__ == "builtins":
            return kind.__name__
        return [self.number(kind), kind.__name__, self.ancestry(kind.__base__ or Exception)]

    def kind(self, error: BaseException) -> list[Any]:
        """What is sent of an exception of the program's own class: which class, and under which number it is held."""
        ancestry = self.ancestry(type(error))
        return [] if isinstance(ancestry, str) or isinstance(error, Late) else [ancestry, self.number(error)]

    def resolve(self, written: Mapping[str, Any]) -> Any:
        """What the tests refer to: an object or class of the program's, a function of theirs, or an iterator's items.

        And Python's exceptions that codec.py leaves to this, which here are themselves.
        """
        if "object" in written:
            return self.held[written["object"]]
        if "builtin" in written:
            return vars(sys.modules["builtins"])[written["builtin"]]
        if "items" in written:
            items, more = written["items"]
            found = iter([codec.decode(item, self.resolve) for item in items])
            return found if more is None else self.with_more(found, more)
        number, name = written["function"]

        def function(*arguments: Any, **words: Any) -> Any:
            return self.call_back(number, arguments, words)

        function.__name__ = function.__qualname__ = name
        return function

    def with_more(self, items: Iterator[Any], more: int) -> Iterator[Any]:
        """An iterator of the tests that is too long, or endless: the rest is fetched part by part."""
        while True:
            yield from items
            if not (part := self.call_back(more, (), {})):
                return
            items = iter(part)

    def call_back(self, function: int, arguments: tuple[Any, ...], words: dict[str, Any]) -> Any:
        """Call a function of the tests. It may itself put questions to the program, which are answered meanwhile."""
        encoded = [codec.encode(each, self.refer) for each in arguments]
        named = {name: codec.encode(each, self.refer) for name, each in words.items()}
        codec.send(self.replies, {"function": function, "arguments": encoded, "words": named})
        left = _stop()
        while "do" in (reply := codec.receive(self.calls)):
            self.reply(reply, self.seconds)
        _start(left)
        if "raised" in reply:
            raise codec.exception(*reply["raised"])
        return codec.decode(reply["value"], self.resolve)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "put": operator.setitem,
    "remove": operator.delitem,
    "length": len,
    "truth": bool,
    "text": str,
    "written": repr,
    "iterate": lambda target: list(target) if hasattr(type(target), "__len__") else iter(target),
    "advance": next,
    "instance": lambda target, other: isinstance(other, target),
    "subclass": lambda target, other: issubclass(other, target),
    "enter": lambda target: type(target).__enter__(target),
    "leave": lambda target, error: leave(target, codec.exception(*error) if error else None),
}


def leave(target: Any, error: BaseException | None) -> None:
    """End a `with` of the tests. What `__exit__` returns is nobody's business: it would swallow an assertion."""
    type(target).__exit__(target, type(error) if error else None, error, None)


def describe(error: BaseException) -> list[str]:
    """[type, text] of an exception, whatever its own `__str__` does."""
    name = type(error).__name__
    if isinstance(error, Late):
        return ["Late", "too slow"]
    try:
        bare = isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str)
        return [str(name), str(error.args[0] if bare else error)[:300]]
    except BaseException:
        return [str(name), ""]
