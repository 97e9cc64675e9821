"""The program in its own sandbox as its tests see it: what it is asked, and objects that stand for its own.

Nothing that it says decides anything by itself: its values are plain data here, its objects equal nothing but
themselves, and its exceptions are of classes that are made here.
"""

from __future__ import annotations

import sys

from bactrian.sandbox.inside import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

ITEMS = 1000
"""Of an iterator that tests hand to a program so many items are sent at once."""
SEEN = frozenset(("__name__", "__qualname__", "__doc__", "__dict__", "__module__", "__annotations__", "__defaults__"))
"""Attributes in double underscores that a program is asked for. Libraries ask objects for others, to work with them."""


class Over(BaseException):
    """The program has died or hangs: no test after this one can be put to it, even if the tests catch this."""

    said: list[str] = []  # noqa: RUF012

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.said.append(why)


class Stopped(BaseException):
    """Of what a call may raise: those that would end a loop, a generator or a process of the tests instead.

    Tests that name such an exception catch its stand-in with it (suite.py); nothing else takes it for the real one.
    """


STAND_INS: dict[str, type[BaseException]] = {
    name: type(name, (base,), {})
    for name, base in (
        ("StopIteration", Exception),
        ("StopAsyncIteration", Exception),
        ("GeneratorExit", Stopped),
        ("KeyboardInterrupt", Stopped),
        ("SystemExit", Stopped),
    )
}


class Program:
    """The program in its own sandbox, as the tests see it."""

    def __init__(self, calls: int, replies: int) -> None:
        self.calls, self.replies = calls, replies
        self.functions: list[Callable[..., Any]] = []
        self.objects: dict[tuple[str, int], Remote] = {}
        self.errors: dict[int, type[BaseException]] = {}
        self.refuted: BaseException | None = None
        self.raised: BaseException | None = None
        self.asked = self.late = False

    def wait(self) -> None:
        """Until the program has run to its end, ready to be called.

        Raises:
            Over: if it does not get there.
        """
        try:
            reply = codec.receive(self.replies)
        except (EOFError, codec.Unsendable):
            raise Over("the program ended its own process while it was loaded") from None
        if type(reply) is not dict or reply.get("loaded") is not True:
            said = reply.get("failed") if type(reply) is dict else None
            why = ": ".join(map(str, said)) if type(said) is list else "it does not say why"
            raise Over(f"the program failed while it was loaded: {why}"[:300])

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The program's reply to one request; its exceptions are raised as Python's own of the same name.

        Its own exceptions are raised as classes made here. StopIteration is itself only if an iterator was asked.
        """
        asked, self.asked = self.asked, True
        value = self.value(self.reply(request), request["do"] == "advance")
        if request["do"] == "name" and isinstance(value, RemoteCallable):
            self.asked = asked  # only its name is known yet: nothing of the program's has had any effect
        return value

    def value(self, reply: Mapping[str, Any], iterating: bool = False) -> Any:
        """What a reply gives, or raises: first the failed assertion of a function that the program has called."""
        refuted, self.refuted = self.refuted, None
        if refuted is not None:
            raise refuted
        if "raised" not in reply:
            return codec.decode(reply["value"], self.resolve)
        name, text, *own = reply["raised"]
        if iterating and name == "StopIteration":
            raise StopIteration
        if name == "Late":
            self.late, name = True, "TimeoutError"
        self.raised = self.exception(str(name), str(text)[:300], own)
        raise self.raised

    def exception(self, name: str, text: str, own: list[Any]) -> BaseException:
        """One of Python's own, but for those that have stand-ins; one of the program's own classes if it says which."""
        if own:
            ancestry, number = own
            error = self.kind(ancestry)(text)
            vars(error)["_bactrian_object"] = self.resolve({"object": number})
            return error
        if (kind := kind_of(name)) is not None:
            try:
                return kind(text)
            except TypeError:  # such as UnicodeDecodeError, which wants more
                pass
        return RuntimeError(f"{name}: {text}")

    def kind(self, ancestry: Any) -> type[BaseException]:
        """The class that stands here for one of the program's exceptions."""
        if isinstance(ancestry, str):
            return kind_of(ancestry) or RuntimeError
        number, name, base = ancestry
        if number not in self.errors:
            attributes = {"__getattr__": _attribute}
            self.errors[number] = type(str(name), (self.kind(base),), attributes)
        return self.errors[number]

    def was_late(self) -> bool:
        """Whether a call was too slow since this was last asked: tests that catch all exceptions do not notice."""
        late, self.late = self.late, False
        return late

    def reply(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            codec.send(self.calls, request)
            while "function" in (reply := codec.receive(self.replies)):
                codec.send(self.calls, self.called_back(reply))
            if type(reply) is not dict:
                raise codec.Unsendable("a reply that is none")
            return reply
        except (EOFError, BrokenPipeError):
            raise Over("the program ended its own process, or was ended at a limit") from None

    def called_back(self, request: Mapping[str, Any]) -> Any:
        """What a function of the tests gives for what the program calls it with."""
        try:
            arguments = [codec.decode(each, self.resolve) for each in request["arguments"]]
            words = {name: codec.decode(each, self.resolve) for name, each in request["words"].items()}
            return {"value": codec.encode(self.functions[request["function"]](*arguments, **words), self.refer)}
        except Over:
            raise
        except BaseException as error:
            if isinstance(error, AssertionError):  # the program may catch it: it still counts
                self.refuted = error
            return {"raised": [type(error).__name__, str(error)[:300]]}

    def alone(self, target: Any, *arguments: Any, **words: Any) -> Any:
        """A call whose value the tests do not look at: what it changes in its arguments is changed here too."""
        if not isinstance(target, Remote):
            return target(*arguments, **words)
        self.asked = True
        request = target._bactrian_request("call", *arguments, **words)
        value = self.value(reply := self.reply({**request, "alone": True}))
        after = [codec.decode(each, self.resolve) for each in reply.get("arguments", ())]
        for argument, changed in zip(arguments, after, strict=False):
            change(argument, changed)
        return value

    def refer(self, value: Any) -> Any:
        """Write what is no data: the program's own object, an iterator's items, or a function to be called here."""
        if isinstance(value, Remote):
            return {"object": object.__getattribute__(value, "_bactrian_number")}
        if codec.is_iterator(value):
            items = iter(value)
            part = codec.first(items, ITEMS)
            more = self.function(lambda: codec.first(items, ITEMS)) if len(part) == ITEMS else None
            return {"items": [[codec.encode(item, self.refer) for item in part], more]}
        if callable(value):
            return {"function": [self.function(value), str(getattr(value, "__name__", "function"))]}
        raise codec.Unsendable(f"an object of {type(value).__name__} cannot be handed to the program")

    def function(self, function: Callable[..., Any]) -> int:
        self.functions.append(function)
        return len(self.functions) - 1

    def resolve(self, written: Mapping[str, Any]) -> Any:
        ((kind, number),) = written.items()
        if kind == "error" and type(number) is list:
            return self.kind(number)
        if kind not in REMOTES or type(number) is not int:
            raise codec.Unsendable(f"not a value: {kind!r:.40}")
        if (kind, number) not in self.objects:
            self.objects[kind, number] = REMOTES[kind](self, number)
        return self.objects[kind, number]


def kind_of(name: str) -> type[BaseException] | None:
    """Python's own exception of this name, or its stand-in; None if there is none that is an Exception."""
    kind = STAND_INS.get(name) or vars(sys.modules["builtins"]).get(name)
    return kind if isinstance(kind, type) and issubclass(kind, Exception | Stopped) else None


def change(argument: Any, changed: Any) -> None:
    """Make a list, set, mapping or the like what it has become in the program."""
    if type(argument) is not type(changed) or argument is changed:
        return
    if isinstance(argument, list | bytearray):
        argument[:] = changed
    elif isinstance(argument, dict | set):
        argument.clear()
        argument.update(changed)
    elif hasattr(argument, "extendleft"):
        argument.clear()
        argument.extend(changed)


def _attribute(error: BaseException, name: str) -> Any:
    """What the program's own exception has under a name."""
    if "_bactrian_object" not in vars(error):  # one that the tests have made themselves
        raise AttributeError(name)
    return getattr(vars(error)["_bactrian_object"], name)


class Remote:
    """An object of the program's. It equals nothing but itself: the program is never asked whether it is right."""

    __slots__ = ("_bactrian_number", "_bactrian_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_bactrian_program", program)
        object.__setattr__(self, "_bactrian_number", number)

    def _bactrian_request(self, operation: str, *arguments: Any, **words: Any) -> dict[str, Any]:
        refer = self._bactrian_program.refer
        request = {"do": operation, "on": self._bactrian_number}
        request["arguments"] = [codec.encode(each, refer) for each in arguments]
        return request | {"words": {name: codec.encode(each, refer) for name, each in words.items()}}

    def _bactrian(self, operation: str, *arguments: Any, **words: Any) -> Any:
        return self._bactrian_program.ask(self._bactrian_request(operation, *arguments, **words))

    def __getattr__(self, name: str) -> Any:
        if name[:2] == name[-2:] == "__" and name not in SEEN:
            raise AttributeError(f"{name} of the program's own objects is not read")
        return self._bactrian("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._bactrian("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._bactrian("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._bactrian("put", key, value)

    def __delitem__(self, key: Any) -> None:
        self._bactrian("remove", key)

    def __len__(self) -> int:
        return int(self._bactrian("length"))

    def __bool__(self) -> bool:
        if type(answer := self._bactrian("truth")) is not bool:
            raise TypeError("whether it is true is neither True nor False")
        return answer

    def __str__(self) -> str:
        return str(self._bactrian("text"))

    def __repr__(self) -> str:
        return str(self._bactrian("written"))

    def __iter__(self) -> Iterator[Any]:
        items = self._bactrian("iterate")
        if type(items) is list and len(items) != len(self):
            raise RuntimeError(f"an object of length {len(self)} that has {len(items)} items")
        return iter(items)

    def __enter__(self) -> Any:
        return self._bactrian("enter")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        """An exception of the tests goes on, whatever the program makes of it: it may be a failed assertion."""
        try:
            self._bactrian("leave", error and [type(error).__name__, str(error)[:300]])
        except Exception:
            if error is None:
                raise

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and self._bactrian("instance", value) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and self._bactrian("subclass", value) is True


class RemoteCallable(Remote):
    """A function, a class or another object of the program's that can be called."""

    __slots__ = ()

    def __call__(self, *arguments: Any, **words: Any) -> Any:
        return self._bactrian("call", *arguments, **words)


class RemoteIterator(Remote):
    """An iterator of the program's."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._bactrian("advance")


REMOTES: dict[str, type[Remote]] = {"object": Remote, "callable": RemoteCallable, "iterator": RemoteIterator}
