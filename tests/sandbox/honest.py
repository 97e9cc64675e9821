"""Honest programs with unusual but legitimate features, and tests of what they do: all must be judged right."""

from sandbox.honest_objects import OBJECTS
from sandbox.honest_raised import RAISED

VALUES: dict[str, tuple[str, tuple[str, ...]]] = {
    "assertions of the program": (
        """\
def f(x):
    assert x > 0, 'positive'
    return x
""",
        (
            """\
try:
    f(-1)
except AssertionError as e: assert str(e) == 'positive'
""",
            """\
import unittest
with unittest.TestCase().assertRaises(AssertionError): f(-1)
""",
        ),
    ),
    "equality used inside": (
        """\
class P:
    def __init__(s, x): s.x = x
    def __eq__(s, o): return s.x == o.x
    def same(s, o): return s == o
def f(a, b): return P(a) == P(b)
""",
        (
            "assert f(1, 1) is True",
            "assert not f(1, 2)",
            "assert P(1).same(P(1))",
        ),
    ),
    "identity": (
        """\
class One:
    it = None
    def __new__(cls):
        cls.it = cls.it or object.__new__(cls)
        return cls.it
""",
        (
            "assert One() is One()",
            """\
a = One()
assert a == One()
""",
        ),
    ),
    "linked nodes": (
        """\
class N:
    def __init__(s, v, n=None): s.v, s.next = v, n
""",
        (
            """\
b = N(2)
a = N(1, b)
assert a.next is b
assert a.next.v == 2
assert b.next is None
""",
            """\
a = N(1)
a.next = N(5)
assert a.next.v == 5
""",
        ),
    ),
    "named tuple": (
        """\
from collections import namedtuple
P = namedtuple('P', 'x y')
def f(): return P(1, 2)
""",
        (
            "assert f() == (1, 2)",
            """\
x, y = f()
assert x == 1
""",
            "assert P(3, 4) == (3, 4)",
        ),
    ),
    "dataclass": (
        """\
from dataclasses import dataclass
@dataclass
class P:
    x: int
    y: int = 2
    def sum(self): return self.x + self.y
""",
        (
            """\
p = P(1)
assert p.x == 1 and p.y == 2
""",
            "assert P(1, 5).sum() == 6",
            "assert repr(P(1)) == 'P(x=1, y=2)'",
            """\
p = P(1)
p.x = 7
assert p.sum() == 9
""",
            "assert isinstance(P(1), P)",
        ),
    ),
    "frozen dataclass": (
        """\
from dataclasses import dataclass
@dataclass(frozen=True)
class P:
    x: int
""",
        (
            """\
try:
    P(1).x = 2
    assert False
except AttributeError: pass
""",
        ),
    ),
    "enumeration": (
        """\
from enum import Enum, IntEnum
class C(Enum):
    RED = 1
class I(IntEnum):
    ONE = 1
def f(): return C.RED
""",
        (
            "assert f().name == 'RED' and f().value == 1",
            "assert f() is C.RED",
            "assert f() == C.RED",
            "assert I.ONE == 1",
        ),
    ),
    "sets": ("def f(x): return set(x), frozenset(x)", ("assert f([1, 1, 2]) == ({1, 2}, frozenset({1, 2}))",)),
    "decimals": (
        """\
from decimal import Decimal
def f(x): return Decimal(x) / 4
""",
        (
            """\
from decimal import Decimal
assert f(1) == Decimal('0.25')
""",
        ),
    ),
    "fractions": (
        """\
from fractions import Fraction
def f(a, b): return Fraction(a, b)
""",
        (
            """\
from fractions import Fraction
assert f(2, 4) == Fraction(1, 2)
""",
        ),
    ),
    "dates": (
        """\
from datetime import date, timedelta
def f(d): return d + timedelta(days=1)
""",
        (
            """\
from datetime import date
assert f(date(2024, 2, 28)) == date(2024, 2, 29)
""",
            """\
import datetime
assert f(datetime.date(2023, 12, 31)).year == 2024
""",
        ),
    ),
    "complex and infinite": (
        "def f(): return 1 + 2j, float('inf'), -float('inf')",
        ("assert f() == (1 + 2j, float('inf'), float('-inf'))",),
    ),
    "not a number": (
        "def f(): return float('nan')",
        (
            """\
import math
assert math.isnan(f())
""",
            """\
x = f()
assert x != x
""",
        ),
    ),
    "counter and ordered": (
        """\
from collections import Counter, OrderedDict
def f(s): return Counter(s)
def g(): return OrderedDict(a=1)
""",
        (
            "assert f('aab') == {'a': 2, 'b': 1}",
            "assert f('aab').most_common(1) == [('a', 2)]",
            "assert list(g().items()) == [('a', 1)]",
        ),
    ),
    "defaultdict": (
        """\
from collections import defaultdict
def f():
    d = defaultdict(list)
    d[1].append(2)
    return d
""",
        ("assert f() == {1: [2]}",),
    ),
    "callback": (
        "def f(g, x): return [g(i) for i in x]",
        (
            "assert f(lambda i: i + 1, [1, 2]) == [2, 3]",
            "assert f(str, [1]) == ['1']",
        ),
    ),
}
HONEST = {**RAISED, **VALUES, **OBJECTS}

NOT_YET: dict[str, tuple[str, tuple[str, ...]]] = {
    "equality of own classes": (
        """\
from dataclasses import dataclass
@dataclass
class P:
    x: int
""",
        ("assert P(1) == P(1)",),
    ),
    "operators of own classes": (
        """\
class V:
    def __init__(s, x): s.x = x
    def __add__(s, o): return V(s.x + o.x)
""",
        ("assert (V(1) + V(2)).x == 3",),
    ),
    "order of own classes": (
        """\
import functools
@functools.total_ordering
class V:
    def __init__(s, x): s.x = x
    def __eq__(s, o): return s.x == o.x
    def __lt__(s, o): return s.x < o.x
""",
        ("assert V(1) < V(2)",),
    ),
    "membership without iteration": (
        """\
class B:
    def __contains__(self, x): return x > 3
""",
        ("assert 4 in B()",),
    ),
    "fields of a named tuple": (
        """\
from collections import namedtuple
P = namedtuple('P', 'x y')
def f(): return P(1, 2)
""",
        ("assert f().x == 1",),
    ),
    "an error swallowed": (
        """\
import contextlib
def quiet(): return contextlib.suppress(ValueError)
""",
        (
            """\
with quiet(): raise ValueError
assert True
""",
        ),
    ),
    "what is printed": (
        "def f(): print('x')",
        (
            """\
import io, contextlib
b = io.StringIO()
with contextlib.redirect_stdout(b): f()
assert b.getvalue() == 'x\\n'
""",
        ),
    ),
    "a coroutine": (
        "async def f(): return 1",
        (
            """\
import asyncio
assert asyncio.run(f()) == 1
""",
        ),
    ),
    "the kind of a generator": (
        "def f(): yield 1",
        (
            """\
import types
assert isinstance(f(), types.GeneratorType)
""",
        ),
    ),
    "changed in place and given back": (
        """\
def f(x):
    x.sort()
    return len(x)
""",
        (
            """\
x = [2, 1]
n = f(x)
assert n == 2 and x == [1, 2]
""",
        ),
    ),
}
"""What no test of these can be put to a program here: docs/sandbox.md says why."""
