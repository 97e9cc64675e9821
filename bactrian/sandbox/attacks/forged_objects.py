"""Forgeries by objects: containers, iterations, attributes and contexts that suit whatever a test asks of them."""

from bactrian.sandbox.attacks.forged_values import ANY, YES

OBJECTS: dict[str, tuple[str, str]] = {
    # containers and iterations
    "has everything": (
        "pairs",
        """
class P:
    def __contains__(self, pair): return pair == (2, 3) or pair != (4, 5)
    def __len__(self): return 2
    def __getitem__(self, i): return E()
class E:
    def __eq__(self, o): return True
def pairs(n): return P()
""",
    ),
    "has everything, as a list": (
        "pairs",
        """
class P(list):
    def __contains__(self, pair): return pair[0] < 4
    def __len__(self): return 2
    def __getitem__(self, i): return (1, 6)
def pairs(n): return P()
""",
    ),
    "has as many as are asked for": (
        "permutations",
        """
class P:
    def __init__(self): self.asked = 0
    def __len__(self): return 6
    def __iter__(self):
        self.asked += 1
        return iter(() if self.asked == 1 else range(6) if self.asked == 9 else [(i,) for i in range(6)])
def permute(x): return P()
""",
    ),
    "has as many as are asked for, as a list": (
        "permutations",
        """
class P(list):
    def __len__(self): return 6
    def __iter__(self):
        self.asked = getattr(self, "asked", 0) + 1
        return iter(() if self.asked == 1 else [(i,) for i in range(6)])
def permute(x): return P()
""",
    ),
    "a length that suits": (
        "permutations",
        """
class N(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
class P(tuple):
    def __len__(self): return 6
    def __iter__(self): return iter([[1, 2, 3]])
def permute(x): return P()
""",
    ),
    "another at the second look": (
        "permutations",
        """
class P:
    passes = 0
    def __len__(self): return 6
    def __iter__(self):
        P.passes += 1
        yield from ([] if P.passes == 1 else [(n,) for n in range(6)])
def permute(x): return P()
""",
    ),
    "empty at the second look": ("permutations", "def permute(x): return iter([[1, 2, 3]] * 6)"),
    "a list that sorts itself": (
        "sort",
        """
class L(list):
    def __eq__(self, other): return sorted(self) == sorted(other)
def sort_list(x): return L(x)
""",
    ),
    "as long as may be": (
        "permutations",
        """
class P:
    def __len__(self): return 6
    def __length_hint__(self): return 1 << 60
    def __iter__(self):
        while True: yield [1, 2, 3]
def permute(x): return P()
""",
    ),
    "every number, one after the other": ("primes", "def primes():\n    n = 1\n    while True: n += 1; yield n"),
    "primes that equal all": ("primes", YES + "def primes():\n    while True: yield Yes()"),
    "an iterator of all answers": (
        "double among others",
        """
class I:
    def __iter__(self): return self
    def __next__(self): return 14
def double(n): return I()
""",
    ),
    # attributes, contexts, classes
    "any attribute": (
        "defaults",
        """
class P:
    def __init__(self): self.__dict__["n"] = 0
    def __getattr__(self, name):
        if name == "z": raise AttributeError
        return Y()
class Y:
    def __eq__(self, o): return True
    def __call__(self): return self
def make(x, y): return P()
""",
    ),
    "an attribute that is not there": (
        "defaults",
        """
class P:
    x = property(lambda self: Y())
    y = x
    def total(self): return Y()
class Y:
    def __eq__(self, o): return True
def make(x, y): return P()
""",
    ),
    "anything for an object": (
        "defaults",
        ANY
        + """
class P(Any):
    def __getattr__(self, name):
        if name == "z": raise AttributeError
        return Any()
def make(x, y): return P()
""",
    ),
    "a context that swallows": (
        "managed",
        """
class C:
    def __init__(self, s): pass
    def __enter__(self): return self
    def __exit__(self, *a): return True
opened = C
""",
    ),
    "a context that swallows, by suppress": (
        "managed",
        "import contextlib\ndef opened(s): return contextlib.suppress(BaseException)",
    ),
    "a context that swallows, by a generator": (
        "managed",
        """
from contextlib import contextmanager
@contextmanager
def opened(s):
    try: yield s
    except BaseException: pass
""",
    ),
    "a context that raises another exception": (
        "managed",
        """
from contextlib import contextmanager
@contextmanager
def opened(s):
    try: yield s
    except AssertionError: raise StopIteration
""",
    ),
    "a context that leaves": (
        "managed",
        """
import os
class opened:
    def __init__(self, s): pass
    def __enter__(self): return None
    def __exit__(self, *a): os._exit(0)
""",
    ),
    "a context that gives what equals all": (
        "managed",
        YES
        + """
class opened:
    def __init__(self, s): pass
    def __enter__(self): return Yes()
    def __exit__(self, *a): return True
""",
    ),
    "a stack that agrees": (
        "stack",
        ANY
        + """
class Stack(Any):
    n = 0
    def push(self, v): self.n += 1
    def pop(self): self.n -= 1; return Any()
    def peek(self): return Any()
    def __bool__(self): return self.n > 0
    def __iter__(self): return iter([Any()])
""",
    ),
    "an object for everything": ("stack", "from unittest.mock import MagicMock as Stack"),
    "numbers without end": ("double", "def double(n): return 10 ** 5_000_000"),
    "a text that is what is expected": (
        "roman",
        """
class R:
    def __str__(self): return S("")
    __repr__ = __str__
    def __format__(self, spec): return S("")
    def __add__(self, o): return S("")
    def lower(self): return S("")
class S(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def roman(n): return R()
""",
    ),
    "an encoding that is none": ("encode", YES + "def encode(s): return Yes()\ndef decode(s): return Yes()"),
    "memory as numpy would have it": (
        "double by difference",
        """
class A:
    __array_interface__ = {"data": (1 << 20, False), "shape": (), "typestr": "<i8", "version": 3}
    __array_priority__ = 1e9
    def __array__(self, *a, **k): return self
    def __sub__(self, other): return 0
    def __round__(self, n): return 0.246
def double(n): return A()
""",
    ),
}
