"""Runs tests against a program in another process, and reports over a descriptor that the program does not have.

What the tests call runs there; what they compare is compared here, as plain data of this process (codec.py).
"""

from __future__ import annotations

import sys
from _signal import ITIMER_REAL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]  # signal loads enum

from bactrian.sandbox.inside import codec, confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FrameType
    from typing import Any

GRACE = 1.0
"""Seconds that a call has beyond its limit before the program is taken to hang."""
ITEMS = 100_000
"""An iterator that tests hand to a program may have so many items: they are sent all at once."""


class Over(BaseException):
    """The program has died or hangs: no test after this one can be put to it."""


class Late(BaseException):
    """A test takes too long."""


def main(job: Mapping[str, Any]) -> None:
    signal(SIGALRM, _late)
    confine.confine(job)
    confine.silence(0, 1, 2)
    report = Report(job["report"], job["secret"])
    program = Program(job["calls"], job["replies"])
    try:
        examine(job, program, report)
    except Over as error:
        report.write(over=str(error))
    except Exception as error:  # such as tests that are not Python
        report.write(broken=f"the tests: {type(error).__name__}: {error}"[:300])
    report.write(end=True)


def _late(number: int, frame: FrameType | None) -> None:
    raise Late


def examine(job: Mapping[str, Any], program: Program, report: Report) -> None:
    """Run all tests: each of the list is one; of a `check` function each assertion is one (suite.py has made it so)."""
    names: dict[str, Any] = {"__name__": "tests"}
    seconds, tests, asserts = job["test"] + GRACE, job["tests"], job["asserts"]
    execute(job["prelude"], names)
    report.write(total=len(tests) + asserts)
    program.wait(seconds)
    bind(job, names, program, report, seconds)
    timed(lambda: execute(job["setup"], names), seconds, report, None)
    for number, test in enumerate(tests):
        if timed(lambda test=test: execute(test, names), seconds, report, f"test {number + 1}"):  # type: ignore[misc]
            report.write(passed=1)
    if job["entry_point"]:
        counts = Counts(report)
        names |= {"_bactrian_passed": counts.passed, "_bactrian_failed": counts.failed}
        timed(lambda: execute(job["check"], names), seconds, report, None)
        names[job["entry_point"]] = entry = entry_point(job["entry_point"], program, seconds)
        timed(lambda: names["check"](entry), seconds * max(1, asserts), report, "check")
        if not counts.tried:
            report.write(failed="check: it asserts nothing")


def execute(code: CodeType, names: dict[str, Any]) -> None:
    exec(code, names)  # noqa: S102 - a sandbox of its own


def timed(run: Callable[[], None], seconds: float, report: Report, what: str | None) -> bool:
    """Whether it ran to its end. A failure is reported; one without a name is the end of all tests."""
    try:
        setitimer(ITIMER_REAL, seconds)
        run()
        setitimer(ITIMER_REAL, 0)
        return True
    except Late:
        raise Over(f"{what or 'setting up'}: the program hangs") from None
    except Over as error:
        raise Over(f"{what or 'setting up'}: {error}") from None
    except BaseException as error:
        setitimer(ITIMER_REAL, 0)
        reason = f"{what or 'setting up'}: {type(error).__name__}: {error}"[:300]
        if what is None:
            raise Over(reason) from None
        report.write(failed=reason)
        return False


class Counts:
    """What the assertions of `check` call: one that fails is counted, and the next is tried."""

    def __init__(self, report: Report) -> None:
        self.report, self.tried = report, 0

    def passed(self) -> None:
        self.tried += 1
        self.report.write(passed=1)

    def failed(self) -> None:
        self.tried += 1
        error = sys.exc_info()[1]
        self.report.write(failed=f"check: {type(error).__name__}: {error}"[:300])


def bind(job: Mapping[str, Any], names: dict[str, Any], program: Program, report: Report, seconds: float) -> None:
    """Give the tests what they miss: modules of Python's library from here, all else from the program.

    What the program cannot give, for whatever reason of its own, is reported; a test that reads it fails by itself.
    """
    for name in job["modules_wanted"]:
        names[name] = __import__(name)
    for name in job["names_wanted"]:
        try:
            names[name] = lookup(name, program, seconds)
        except Exception as error:
            report.write(lacks=f"{name} ({type(error).__name__})")


def lookup(name: str, program: Program, seconds: float) -> Any:
    setitimer(ITIMER_REAL, seconds)
    try:
        return program.ask({"do": "name", "name": name})
    except Late:
        raise Over("the program hangs") from None
    finally:
        setitimer(ITIMER_REAL, 0)


def entry_point(name: str, program: Program, seconds: float) -> Any:
    try:
        return lookup(name, program, seconds)
    except Exception as error:
        raise Over(f"the program has nothing called {name} ({type(error).__name__})") from None


class Report:
    """Lines to the machine outside, each with the secret of this run."""

    def __init__(self, descriptor: int, secret: str) -> None:
        self.descriptor, self.secret = descriptor, secret

    def write(self, **facts: Any) -> None:
        codec.send(self.descriptor, {"secret": self.secret, **facts})


class Program:
    """The program in its own sandbox, as the tests see it."""

    def __init__(self, calls: int, replies: int) -> None:
        self.calls, self.replies = calls, replies
        self.functions: list[Callable[..., Any]] = []

    def wait(self, seconds: float) -> None:
        """Until the program has run to its end, ready to be called. Raises Over if it does not get there."""
        setitimer(ITIMER_REAL, seconds)
        try:
            reply = codec.receive(self.replies)
        except (EOFError, codec.Unsendable):
            raise Over("the program ended its own process while it was loaded") from None
        except Late:
            raise Over("the program did not get to its end while it was loaded") from None
        finally:
            setitimer(ITIMER_REAL, 0)
        if "failed" in reply:
            raise Over(f"the program failed while it was loaded: {': '.join(map(str, reply['failed']))}"[:300])

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The program's reply to one request; its exceptions are raised as Python's own of the same name."""
        try:
            codec.send(self.calls, request)
            while "function" in (reply := codec.receive(self.replies)):
                codec.send(self.calls, self.called_back(reply))
            if "raised" in reply:
                name, text = reply["raised"]
                raise exception(str(name), str(text)[:300])
            return codec.decode(reply["value"], self.resolve)
        except (EOFError, BrokenPipeError):
            raise Over("the program ended its own process") from None

    def called_back(self, request: Mapping[str, Any]) -> Any:
        """What a function of the tests gives for what the program calls it with."""
        try:
            arguments = [codec.decode(each, self.resolve) for each in request["arguments"]]
            return {"value": codec.encode(self.functions[request["function"]](*arguments), self.refer)}
        except Exception as error:
            return {"raised": [type(error).__name__, str(error)[:300]]}

    def operate(self, operation: str, number: int, *arguments: Any, **words: Any) -> Any:
        request: dict[str, Any] = {"do": operation, "on": number}
        request["arguments"] = [codec.encode(each, self.refer) for each in arguments]
        if operation == "call":
            request["words"] = {name: codec.encode(each, self.refer) for name, each in words.items()}
        return self.ask(request)

    def refer(self, value: Any) -> Any:
        """Write what is no data: the program's own object, an iterator's items, or a function to be called here."""
        if isinstance(value, Remote):
            return {"object": object.__getattribute__(value, "_number")}
        if codec.is_iterator(value):
            return {"items": [codec.encode(item, self.refer) for item in codec.first(value, ITEMS)]}
        if callable(value):
            self.functions.append(value)
            return {"function": len(self.functions) - 1}
        raise codec.Unsendable(f"an object of {type(value).__name__} cannot be handed to the program")

    def resolve(self, written: Mapping[str, Any]) -> Any:
        ((kind, number),) = written.items()
        if kind not in ("object", "iterator") or type(number) is not int:
            raise codec.Unsendable(f"not a value: {kind!r:.40}")
        return Remote(self, number) if kind == "object" else RemoteIterator(self, number)


def exception(name: str, text: str) -> Exception:
    """Python's own exception of this name, else RuntimeError; never one that is not an Exception."""
    kind = vars(sys.modules["builtins"]).get(name)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # such as UnicodeDecodeError, which wants more
            return RuntimeError(f"{name}: {text}")
    return RuntimeError(f"{name}: {text}")


class Remote:
    """An object of the program's. It equals nothing but itself: the program is never asked whether it is right."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def _operate(self, operation: str, *arguments: Any, **words: Any) -> Any:
        program, number = object.__getattribute__(self, "_program"), object.__getattribute__(self, "_number")
        return program.operate(operation, number, *arguments, **words)

    def __call__(self, *arguments: Any, **words: Any) -> Any:
        return self._operate("call", *arguments, **words)

    def __getattr__(self, name: str) -> Any:
        return self._operate("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._operate("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._operate("item", key)

    def __len__(self) -> int:
        return int(self._operate("length"))

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return str(self._operate("text"))

    def __repr__(self) -> str:
        return str(self._operate("written"))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._operate("iterate"))


class RemoteIterator(Remote):
    """An iterator of the program's."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._operate("advance")
