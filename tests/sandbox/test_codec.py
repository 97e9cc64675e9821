"""Values between program and tests: what is sent arrives equal and of the same type, and nothing else arrives."""

import datetime
import json
import math
import os
from collections import Counter, OrderedDict, deque
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.sandbox.inside import codec


def refuse(value: Any) -> Any:
    raise codec.Unsendable(str(type(value)))


def there_and_back(value: Any) -> Any:
    reading, writing = os.pipe()
    try:
        codec.send(writing, codec.encode(value, refuse))
        return codec.decode(codec.receive(reading), refuse)
    finally:
        os.close(reading)
        os.close(writing)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
    | st.decimals(allow_nan=False)
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types throughout: 1, 1.0 and True are three things."""
    return type(one) is type(other) and one == other and repr(one) == repr(other)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_sent_arrives(value: Any) -> None:
    arrived = there_and_back(value)
    assert type(arrived) is type(value) and arrived == value
    if not isinstance(value, set | frozenset | dict):
        assert same(arrived, value) or "frozenset" in repr(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1 << 70_000, id="huge"),
        -(1 << 62),
        float("inf"),
        "\ud800",
        {1, 2},
        bytearray(b"x"),
        range(3, 9, 2),
        ...,
        Counter("aab"),
        OrderedDict(a=1),
        deque([1, 2]),
        datetime.date(2024, 2, 29),
        int,
        len,
        Fraction(1, 3),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
        datetime.timedelta(days=-1, microseconds=5),
        [[[[]]]],
    ],
)
def test_particular_values(value: Any) -> None:
    arrived = there_and_back(value)
    assert type(arrived) is type(value) and arrived == value


def test_nan_arrives_as_nan() -> None:
    assert math.isnan(there_and_back(float("nan")))


class Yes(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__

    def __index__(self) -> int:
        return 7


class Liar(list[int]):
    def __iter__(self) -> Any:
        return iter([1, 2, 3])


def test_subclasses_arrive_as_the_plain_value_that_they_hold() -> None:
    assert same(there_and_back(Yes(3)), 3)
    assert same(there_and_back(Liar([9])), [9])
    assert same(there_and_back([Yes(3)]), [3])


@pytest.mark.parametrize(
    "message",
    [
        {"object": 0},
        {"class": "os.system"},
        {"os.system": ["ls"]},
        {"int": 5},
        {"tuple": 3},
        {"dict": [[1]]},
        {},
        {"set": [[1]]},
        {"builtin": "__import__x"},
        {"fractions.Fraction": [1, 0]},
        {"int": "x", "float": "y"},
        {"collections.abc.Mapping": []},
        {"decimal.Decimal": ["x"]},
        {"range": [1, 2, 3, 4]},
        {"bytes": "zz"},
    ],
)
def test_what_is_no_value_is_refused(message: Any) -> None:
    with pytest.raises(codec.Unsendable):
        codec.decode(message, refuse)


def test_a_builtin_is_only_one_of_pythons_own() -> None:
    assert codec.decode({"builtin": "len"}, refuse) is len
    with pytest.raises(codec.Unsendable):
        codec.decode({"builtin": "nothing"}, refuse)


def test_depth_and_size_are_limited() -> None:
    deep: list[Any] = []
    for _ in range(codec.DEPTH + 1):
        deep = [deep]
    with pytest.raises(codec.Unsendable, match="inside one another"):
        codec.encode(deep, refuse)
    with pytest.raises(codec.Unsendable, match="bytes"):
        codec.send(-1, "x" * (codec.LIMIT + 1))
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(codec.Unsendable):
        codec.encode(cyclic, refuse)


def framed(body: bytes, claimed: int) -> bytes:
    return claimed.to_bytes(4, "little") + body


BODIES = [b"[1, 2]", b'{"a": 1e9}', b'"x"', b"1 2", b"[" * 999, b"\xe9"]
bodies = st.one_of(st.binary(max_size=60), st.sampled_from(BODIES))
frames = st.builds(lambda body, more: framed(body, len(body) + more), bodies, st.sampled_from([0, 0, 0, 1, 1 << 31]))


@given(st.one_of(st.binary(max_size=200), frames))
def test_noise_is_no_message_and_what_is_one_arrives(noise: bytes) -> None:
    size, body = int.from_bytes(noise[:4], "little"), noise[4:]
    try:
        expected = [json.loads(body[:size].decode("ascii"))] if len(noise) >= 4 and size <= len(body) else []
    except (ValueError, RecursionError):
        expected = []
    reading, writing = os.pipe()
    try:
        os.write(writing, noise)
        os.close(writing)
        if expected:
            assert repr(codec.receive(reading)) == repr(expected[0])
        else:
            with pytest.raises((EOFError, codec.Unsendable)):
                codec.receive(reading)
    finally:
        os.close(reading)
