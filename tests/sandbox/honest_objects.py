"""Of the honest programs those with callbacks, changes in place, contexts and classes of their own."""

OBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "callback that remembers": (
        """\
def f(g):
    for i in range(3): g(i)
""",
        (
            """\
seen = []
f(seen.append)
assert seen == [0, 1, 2]
""",
        ),
    ),
    "callback with names": ("def f(g): return g(1, key=2)", ("assert f(lambda a, key: a + key) == 3",)),
    "callback that fails": (
        """\
def f(g, n):
    for _ in range(n):
        try: return g()
        except ValueError: pass
    raise RuntimeError('gave up')
""",
        (
            """\
tries = []
def flaky():
    tries.append(1)
    if len(tries) < 3: raise ValueError
    return 'ok'
assert f(flaky, 5) == 'ok'
assert len(tries) == 3
""",
            """\
def bad(): raise ValueError
try:
    f(bad, 2)
    assert False
except RuntimeError as e: assert str(e) == 'gave up'
""",
        ),
    ),
    "callback that asks back": (
        """\
def memo(g):
    known = {}
    def call(n):
        if n not in known: known[n] = g(n)
        return known[n]
    return call
""",
        (
            """\
@memo
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
assert fib(30) == 832040
""",
        ),
    ),
    "decorator": (
        """\
import functools
def twice(g):
    @functools.wraps(g)
    def call(*a, **k): return 2 * g(*a, **k)
    return call
""",
        (
            """\
@twice
def add(a, b=1): return a + b
assert add(2) == 6
assert add(1, b=2) == 6
assert add.__name__ == 'add'
""",
        ),
    ),
    "events": (
        """\
class Bus:
    def __init__(self): self.on = []
    def subscribe(self, g): self.on.append(g)
    def emit(self, x):
        for g in self.on: g(x)
""",
        (
            """\
got = []
b = Bus()
b.subscribe(got.append)
b.emit(3)
b.emit(4)
assert got == [3, 4]
""",
        ),
    ),
    "curried": ("def f(a): return lambda b: lambda c: a + b + c", ("assert f(1)(2)(3) == 6",)),
    "partial and compose": (
        """\
from functools import reduce
def compose(*fs): return lambda x: reduce(lambda v, f: f(v), fs, x)
""",
        ("assert compose(lambda x: x + 1, lambda x: x * 2)(3) == 8",),
    ),
    "sorting in place": (
        "def f(x): x.sort()",
        (
            """\
x = [3, 1, 2]
f(x)
assert x == [1, 2, 3]
""",
        ),
    ),
    "matrix turned in place": (
        "def f(m): m[:] = [list(r) for r in zip(*m[::-1])]",
        (
            """\
m = [[1, 2], [3, 4]]
f(m)
assert m == [[3, 1], [4, 2]]
""",
        ),
    ),
    "mapping changed in place": (
        "def f(d, k): d[k] = d.pop('old')",
        (
            """\
d = {'old': 1}
f(d, 'new')
assert d == {'new': 1}
""",
        ),
    ),
    "set changed in place": (
        "def f(s): s.discard(1); s.add(9)",
        (
            """\
s = {1, 2}
f(s)
assert s == {2, 9}
""",
        ),
    ),
    "argument left alone": (
        "def f(x): return sorted(x)",
        (
            """\
x = [3, 1]
f(x)
assert x == [3, 1]
""",
            """\
x = [3, 1]
y = f(x)
assert y == [1, 3] and x == [3, 1]
""",
        ),
    ),
    "context manager": (
        """\
class C:
    def __enter__(self): self.open = True; return self
    def __exit__(self, *a): self.open = False
""",
        (
            """\
with C() as c:
    assert c.open
assert not c.open
""",
        ),
    ),
    "context manager by a generator": (
        """\
from contextlib import contextmanager
log = []
@contextmanager
def f(x):
    log.append('in')
    try: yield x * 2
    finally: log.append('out')
def seen(): return log
""",
        (
            """\
with f(2) as v: assert v == 4
assert seen() == ['in', 'out']
""",
        ),
    ),
    "context manager that sees an error": (
        """\
class T:
    def __init__(self): self.done = None
    def __enter__(self): return self
    def __exit__(self, kind, e, tb): self.done = kind is None
""",
        (
            """\
t = T()
try:
    with t: raise ValueError
except ValueError: pass
assert t.done is False
""",
            """\
t = T()
with t: pass
assert t.done is True
""",
        ),
    ),
    "properties": (
        """\
class T:
    def __init__(self, c): self._c = c
    @property
    def f(self): return self._c * 9 / 5 + 32
    @f.setter
    def f(self, v): self._c = (v - 32) * 5 / 9
    @property
    def c(self): return self._c
""",
        (
            """\
t = T(100)
assert t.f == 212
t.f = 32
assert t.c == 0
""",
            """\
try:
    T(1).c = 2
    assert False
except AttributeError: pass
""",
        ),
    ),
    "class and static methods": (
        """\
class D:
    n = 0
    @classmethod
    def make(cls): cls.n += 1; return cls()
    @staticmethod
    def add(a, b): return a + b
""",
        (
            """\
D.make()
assert D.n == 1
assert D.add(1, 2) == 3
""",
        ),
    ),
    "inheritance": (
        """\
class A:
    def say(self): return 'a'
class B(A):
    def say(self): return super().say() + 'b'
""",
        (
            """\
assert B().say() == 'ab'
assert isinstance(B(), A)
assert issubclass(B, A) and not issubclass(A, B)
assert not isinstance(A(), B)
""",
        ),
    ),
    "own container": (
        """\
class M:
    def __init__(self): self.d = {}
    def __getitem__(self, k): return self.d[k]
    def __setitem__(self, k, v): self.d[k] = v
    def __delitem__(self, k): del self.d[k]
    def __len__(self): return len(self.d)
    def __iter__(self): return iter(self.d)
    def __contains__(self, k): return k in self.d
""",
        (
            """\
m = M()
assert not m
m['a'] = 1
assert m['a'] == 1 and len(m) == 1 and 'a' in m and list(m) == ['a']
del m['a']
assert len(m) == 0
try:
    m['x']
    assert False
except KeyError: pass
""",
        ),
    ),
    "own texts": (
        """\
class P:
    def __str__(self): return 'p'
    def __repr__(self): return 'P()'
""",
        ("assert str(P()) == 'p' and repr(P()) == 'P()' and f'{P()}' == 'p'",),
    ),
    "truth of its own": (
        """\
class Q:
    def __init__(self): self.x = []
    def put(self, v): self.x.append(v)
    def get(self): return self.x.pop(0)
    def __bool__(self): return bool(self.x)
""",
        (
            """\
q = Q()
assert not q
q.put(1)
q.put(2)
out = []
while q: out.append(q.get())
assert out == [1, 2]
""",
        ),
    ),
    "callable object": (
        """\
class Add:
    def __init__(self, n): self.n = n
    def __call__(self, x): return x + self.n
""",
        (
            """\
assert Add(2)(3) == 5
assert callable(Add(1))
""",
        ),
    ),
    "endless argument": (
        """\
from itertools import islice
def f(it, n): return list(islice(it, n))
""",
        (
            """\
import itertools
assert f(itertools.count(), 3) == [0, 1, 2]
""",
            """\
import itertools
assert f(itertools.cycle('ab'), 2001)[-1] == 'a'
""",
        ),
    ),
    "function named like a module": ("def copy(x): return list(x)", ("assert copy([1]) == [1]",)),
    "math names not imported": (
        """\
import math
def f(r): return math.pi * r
""",
        ("assert isclose(f(1), 3.14159, abs_tol=1e-4)",),
    ),
    "gcd of its own": ("def gcd(a, b): return a if not b else gcd(b, a % b)", ("assert gcd(12, 18) == 6",)),
    "unittest cases": (
        "def f(n): return n * 2",
        (
            """\
import io, unittest
class T(unittest.TestCase):
    def test(self): self.assertEqual(f(2), 4)
r = unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(T))
assert r.wasSuccessful()
""",
        ),
    ),
    "zip and all": (
        "def f(x): return [i * 2 for i in x]",
        (
            """\
for a, b in zip(f([1, 2]), [2, 4]):
    assert a == b
""",
            "assert all(map(f, [[1]]))",
        ),
    ),
}
