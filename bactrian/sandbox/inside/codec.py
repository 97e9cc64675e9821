"""Values as JSON between a program and its tests: plain data by value, rebuilt from nothing that the other side says.

No pickle, no classes by name: what arrives is made of the types below and no others, whatever was sent. So a program
cannot send an object whose `==` is its own.

What runs inside is started twice for each program, so it imports next to nothing: `json`, `typing`, `signal` and `ast`
would be more than half of the time that a sandbox takes to start.
"""

from __future__ import annotations

import os
import sys

from bactrian.sandbox.inside import arrays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Refer = Callable[[Any], Any]

try:  # json's own engine, without json, which loads re and enum
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    class _Plain:
        """How the engine is to read: as `json.loads` does."""

        strict, object_hook, object_pairs_hook, memo = True, None, None, None
        parse_float, parse_int, parse_constant = float, int, float

    def _no_json(value: Any) -> Any:
        raise TypeError(f"{type(value).__name__} is no JSON")

    _write = make_encoder(None, _no_json, encode_basestring_ascii, None, ":", ",", False, False, False)
    _read_one = make_scanner(_Plain())  # type: ignore[arg-type]

    def dumps(value: Any) -> str:
        return "".join(_write(value, 0))

    def loads(text: str) -> Any:
        try:
            value, end = _read_one(text, 0)
        except (StopIteration, SystemError):  # the bare engine raises the latter for some broken texts
            raise ValueError("not JSON") from None
        if end != len(text):
            raise ValueError("more than one value")
        return value

    if loads(dumps({"a": [1, None, "é"]})) != {"a": [1, None, "é"]}:
        raise ImportError("another _json than the one that is known here")
except (ImportError, TypeError, AttributeError):
    from json import dumps, loads  # type: ignore[assignment]

LIMIT = 16 << 20
"""Bytes of one message."""
DEPTH = 200
"""Containers inside containers."""
SMALL = 1 << 62
"""A whole number from here on goes in hexadecimal: Python reads long decimals slowly, and refuses very long ones."""
LIBRARY: dict[tuple[str, str], Callable[[Any], list[Any]]] = {
    ("fractions", "Fraction"): lambda value: [value.numerator, value.denominator],
    ("decimal", "Decimal"): lambda value: [str(value)],
    ("datetime", "datetime"): lambda value: [*value.timetuple()[:6], value.microsecond],
    ("datetime", "date"): lambda value: [*value.timetuple()[:3]],
    ("datetime", "time"): lambda value: [value.hour, value.minute, value.second, value.microsecond],
    ("datetime", "timedelta"): lambda value: [value.days, value.seconds, value.microseconds],
}
"""Types of the library that are sent as the arguments that make an equal one (times without their zone)."""
SENT = frozenset(
    (
        "abs",
        "all",
        "any",
        "ascii",
        "bin",
        "bool",
        "bytearray",
        "bytes",
        "callable",
        "chr",
        "complex",
        "dict",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "format",
        "frozenset",
        "hash",
        "hex",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "map",
        "max",
        "min",
        "next",
        "object",
        "oct",
        "ord",
        "pow",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "slice",
        "sorted",
        "str",
        "sum",
        "tuple",
        "type",
        "zip",
    )
)
"""Python's own types and functions that are sent by name. Not those that look into their caller's frame."""
BROAD = frozenset(("AssertionError", "BaseException", "Exception", "StopIteration", "StopAsyncIteration"))
"""Exceptions that `resolve` reads: a program's `Error = Exception` would have a test's own failure caught."""
MAPPINGS = {"dict", "collections.OrderedDict", "collections.Counter"}
SEQUENCES: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class Unsendable(Exception):
    """A value that is not plain data, or too deep or too large."""


def encode(value: Any, refer: Refer, depth: int = 0) -> Any:
    """The value as JSON: a scalar, a list, or {type: content}.

    `refer` writes what is not data (functions, iterators, objects of the program's own classes), or raises Unsendable.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -SMALL < number < SMALL else {"int": hex(number)}
    if isinstance(value, float):
        real = float.__float__(value)
        return real if real - real == 0.0 else {"float": str(real)}  # infinities and NaN are no JSON
    if depth == DEPTH:
        raise Unsendable(f"more than {DEPTH} containers inside one another")
    return _encode_larger(value, refer, depth + 1)


def _encode_larger(value: Any, refer: Refer, depth: int) -> Any:
    if isinstance(value, list):
        return [encode(item, refer, depth) for item in list.__iter__(value)]
    for name, kind in SEQUENCES.items():
        if isinstance(value, kind):  # type: ignore[arg-type]
            return {name: [encode(item, refer, depth) for item in kind.__iter__(value)]}  # type: ignore[attr-defined]
    if isinstance(value, dict):
        name = next(name for name in map(_name, type(value).__mro__) if name in MAPPINGS)
        return {name: [[encode(k, refer, depth), encode(v, refer, depth)] for k, v in dict.items(value)]}
    if isinstance(value, complex):
        return {"complex": [encode(value.real, refer, depth), encode(value.imag, refer, depth)]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__ if type(value) is bytearray else "bytes": bytes(value).hex()}
    if isinstance(value, range):
        return {"range": [encode(part, refer, depth) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": []}
    for kind in type(value).__mro__:
        name = _name(kind)
        if name == "collections.deque":
            return {name: [encode(item, refer, depth) for item in value]}
        if (make := LIBRARY.get((kind.__module__, kind.__qualname__))) is not None:
            return {name: [encode(part, refer, depth) for part in make(value)]}
    if (builtin := _builtin(value)) is not None:
        return {"builtin": builtin}
    if arrays.of_numpy(value):
        return arrays.encode(value, lambda item: encode(item, refer, depth))
    return refer(value)


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _builtin(value: Any) -> str | None:
    """The name of a type or function of Python's own, such as `int` or `len`."""
    builtins = vars(sys.modules["builtins"])
    name = getattr(value, "__name__", None)
    if not isinstance(name, str) or not callable(value) or builtins.get(name) is not value:
        return None
    return name if name in SENT or (isinstance(value, type) and issubclass(value, Exception)) else None


def decode(value: Any, resolve: Refer) -> Any:
    """The value that `encode` wrote. `resolve` reads what `refer` wrote.

    Raises:
        Unsendable: for anything else.
    """
    try:
        return _decode(value, resolve)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise Unsendable(f"not a value: {error}") from None


def _decode(value: Any, resolve: Refer) -> Any:
    if isinstance(value, list):
        return [_decode(item, resolve) for item in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name in SEQUENCES:
        return SEQUENCES[name](_decode(item, resolve) for item in content)
    if name in MAPPINGS:
        return _import(name)({_decode(k, resolve): _decode(v, resolve) for k, v in content})
    if name in ("int", "float"):
        return int(content, 16) if name == "int" else float(content)
    if name in ("complex", "range"):
        return (complex if name == "complex" else range)(*[_decode(part, resolve) for part in content])
    if name in ("bytes", "bytearray"):
        return (bytes if name == "bytes" else bytearray).fromhex(content)
    if name == "ellipsis":
        return ...
    if name == "collections.deque":
        return _import(name)(_decode(item, resolve) for item in content)
    if name == "builtin" and content not in BROAD:
        found = vars(sys.modules["builtins"])[content]
        return found if _builtin(found) == content else None
    if name == arrays.NAME:
        return arrays.decode(content, lambda item: _decode(item, resolve))
    if tuple(name.split(".")) in LIBRARY:
        return _import(name)(*[_decode(part, resolve) for part in content])
    return resolve(value)


def exception(name: str, text: str) -> BaseException:
    """Python's own exception of this name, else RuntimeError."""
    kind = vars(sys.modules["builtins"]).get(name)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        try:
            return kind(text)
        except TypeError:  # such as UnicodeDecodeError, which wants more
            pass
    return RuntimeError(f"{name}: {text}")


def _import(name: str) -> Any:
    """A class of Python's library, by a name that stands in this module, never by one that was only sent."""
    module, _, attribute = name.rpartition(".")
    return getattr(__import__(module) if module else sys.modules["builtins"], attribute)


def send(descriptor: int, message: Any) -> None:
    """Write one message.

    Raises:
        Unsendable: if it is too large, BrokenPipeError if nobody reads.
    """
    data = dumps(message).encode("ascii")
    if len(data) > LIMIT:
        raise Unsendable(f"a value of {len(data):,} bytes; at most {LIMIT:,} can be sent")
    rest = memoryview(len(data).to_bytes(4, "little") + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """Read one message.

    Raises:
        EOFError: at the end, Unsendable for what is no message.
    """
    size = int.from_bytes(_read(descriptor, 4), "little")
    if size > LIMIT:
        raise Unsendable(f"a message of {size:,} bytes")
    try:
        return loads(_read(descriptor, size).decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise Unsendable(f"not a message: {error!r}") from None


def _read(descriptor: int, size: int) -> bytes:
    parts, wanted = [], size
    while wanted:
        part = os.read(descriptor, min(wanted, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def is_iterator(value: Any) -> bool:
    return hasattr(type(value), "__next__") or type(value).__name__ in ("dict_keys", "dict_values", "dict_items")


def first(items: Iterable[Any], most: int) -> list[Any]:
    """The first items of an iterator, and no more are taken from it."""
    return [item for _, item in zip(range(most), items, strict=False)]
