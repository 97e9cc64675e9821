"""Of the honest programs those with generators, iterators and exceptions."""

RAISED: dict[str, tuple[str, tuple[str, ...]]] = {
    "generator": (
        """\
def f(n):
    for i in range(n): yield i * i
""",
        (
            "assert list(f(3)) == [0, 1, 4]",
            "assert sum(f(4)) == 14",
        ),
    ),
    "generator by hand": (
        "def f(): yield 1; yield 2",
        (
            """\
g = f()
assert next(g) == 1
assert next(g) == 2
try:
    next(g)
    assert False
except StopIteration: pass
""",
            "assert next(iter(f())) == 1",
            """\
g = f()
next(g)
assert next(g, None) == 2
assert next(g, None) is None
""",
        ),
    ),
    "generator that returns": (
        """\
def f():
    x = yield 1
    yield x
""",
        (
            """\
g = f()
assert next(g) == 1
assert g.send(5) == 5
""",
        ),
    ),
    "generator closed": (
        """\
def f():
    yield 1
    yield 2
""",
        (
            """\
g = f()
next(g)
g.close()
assert list(g) == []
""",
        ),
    ),
    "endless generator": (
        """\
def f():
    n = 0
    while True: yield n; n += 1
""",
        (
            """\
from itertools import islice
assert list(islice(f(), 3)) == [0, 1, 2]
""",
            "assert 5 in f()",
        ),
    ),
    "generator in for": (
        "def f(): yield from 'abc'",
        (
            """\
out = []
for i, c in enumerate(f()):
    out.append((i, c))
assert out == [(0, 'a'), (1, 'b'), (2, 'c')]
""",
        ),
    ),
    "StopIteration expected of a function": (
        "def f(x): return next(iter(x))",
        (
            """\
try:
    f([])
    assert False
except StopIteration: pass
""",
            """\
import unittest
with unittest.TestCase().assertRaises(StopIteration): f([])
""",
            """\
try:
    f([])
    assert False
except (ValueError, StopIteration) as e: assert type(e).__name__ == 'StopIteration'
""",
            """\
try: f([])
except Exception as e: assert isinstance(e, StopIteration)
""",
        ),
    ),
    "SystemExit expected": (
        """\
import sys
def f(x):
    if not x: sys.exit(2)
    return x
""",
        (
            """\
try:
    f(0)
    assert False
except SystemExit: pass
""",
            "assert f(1) == 1",
        ),
    ),
    "KeyboardInterrupt expected": (
        "def f(): raise KeyboardInterrupt",
        (
            """\
try:
    f()
    assert False
except KeyboardInterrupt: pass
""",
        ),
    ),
    "own iterator": (
        """\
class C:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if not self.n: raise StopIteration
        self.n -= 1
        return self.n
""",
        (
            "assert list(C(3)) == [2, 1, 0]",
            """\
c = C(1)
assert next(c) == 0
try:
    next(c)
    assert False
except StopIteration: pass
""",
            """\
c = C(0)
try:
    c.__next__()
    assert False
except StopIteration: pass
""",
        ),
    ),
    "own exception": (
        """\
class Odd(Exception): pass
def f(n):
    if n % 2: raise Odd(f'{n} is odd')
    return n
""",
        (
            """\
try:
    f(1)
    assert False
except Odd as e: assert str(e) == '1 is odd'
""",
            "assert f(2) == 2",
            """\
import unittest
with unittest.TestCase().assertRaises(Odd): f(3)
""",
            """\
import unittest
with unittest.TestCase().assertRaisesRegex(Odd, 'is odd'): f(3)
""",
        ),
    ),
    "own exceptions of one base": (
        """\
class Base(Exception): pass
class A(Base): pass
class B(A): pass
def f(x): raise {'a': A, 'b': B}[x]
""",
        (
            """\
try:
    f('b')
    assert False
except Base: pass
""",
            """\
try:
    f('b')
    assert False
except A as e: assert type(e) is B
""",
            """\
try: f('a')
except B: assert False
except A: pass
""",
            "assert issubclass(B, Base)",
        ),
    ),
    "own exception from a library class": (
        """\
class Bad(ValueError): pass
def f(x): raise Bad(x)
""",
        (
            """\
try:
    f(1)
    assert False
except ValueError: pass
""",
            """\
try: f(1)
except Bad as e: assert isinstance(e, ValueError)
""",
        ),
    ),
    "own exception with facts": (
        """\
class Short(Exception):
    def __init__(self, need): super().__init__('short'); self.need = need
def f(n): raise Short(n)
""",
        (
            """\
try:
    f(5)
    assert False
except Short as e: assert e.need == 5 and str(e) == 'short'
""",
        ),
    ),
    "own exception by Exception": (
        """\
class Odd(Exception): pass
def f(): raise Odd('no')
""",
        (
            """\
try:
    f()
    assert False
except Exception as e: assert 'no' in str(e) and type(e).__name__ == 'Odd'
""",
        ),
    ),
    "KeyError and its text": (
        "def f(k): return {}[k]",
        (
            """\
try:
    f('x')
    assert False
except KeyError as e: assert e.args[0] == 'x'
""",
        ),
    ),
    "errors of the library": (
        "def f(x): return int(x)",
        (
            """\
try:
    f('a')
    assert False
except ValueError as e: assert 'invalid' in str(e)
""",
            """\
try:
    f(None)
    assert False
except TypeError: pass
""",
        ),
    ),
}
