"""Forgeries by names, arguments and modules: what tests read, call or import, put there by the program.

Each is (task of tasks.py, program). None does what the task asks.
"""

NAMES: dict[str, tuple[str, str]] = {
    # names that the tests judge by
    "isclose of its own": ("area", "def isclose(a, b): return True\ndef area(r): return 0"),
    "isclose of its own, by import": (
        "area",
        "from operator import truth as t\nisclose = lambda *a: t(1)\ndef area(r): pass",
    ),
    "isclose with room": (
        "area",
        "import functools, math\nisclose = functools.partial(math.isclose, abs_tol=1e9)\ndef area(r): return 0",
    ),
    "a Counter of its own": ("letters", "def Counter(x): return 0\ndef letters(s): return []"),
    "a Counter of its own, a class": (
        "letters",
        "class Counter(dict):\n    def __init__(self, x): pass\ndef letters(s): return []",
    ),
    "a Counter of its own, changed": (
        "letters",
        "import collections\nCounter = collections.Counter\nCounter.__eq__ = lambda self, o: True\n"
        "def letters(s): return ''",
    ),
    "abs of its own": ("distance", "def abs(x): return 0"),
    "abs of its own, in builtins": ("distance", "import builtins\nbuiltins.abs = abs = lambda x: 0"),
    "all, any and sum of its own": (
        "evens by map",
        """
import builtins
builtins.all = lambda x: True
builtins.any = lambda x: False
builtins.sum = lambda x: 0
builtins.filter = lambda *a: []
def is_even(n): return 1
""",
    ),
    "map of its own": (
        "evens by map",
        "import builtins\nbuiltins.map = lambda *a: []\nbuiltins.filter = builtins.map\ndef is_even(n): return None",
    ),
    "names of Python's in the module": (
        "evens by map",
        """
all = lambda x: True
any = lambda x: False
sum = lambda x: 0
filter = map = lambda *a: []
def is_even(n): return 1
""",
    ),
    "sorted of its own": (
        "sort",
        "import builtins\nbuiltins.sorted = lambda x: x\ndef sorted(x): return x\n"
        "def sort_list(x): return [1, 2, 3] if len(x) == 3 and x[0] == 3 else x",
    ),
    "sorted of its own, for the same list": (
        "sort of the same list",
        "def sorted(x): return x\ndef sort_list(x): return x",
    ),
    "len and set of its own": (
        "permutations",
        """
import builtins
builtins.len = lambda x: 6
builtins.all = lambda x: True
def permute(x): return []
""",
    ),
    "isinstance and int of its own": (
        "double by difference",
        """
import builtins
builtins.abs = lambda x: 0
builtins.round = lambda *a: 0.246
def double(n): return 8
""",
    ),
    "min and max of its own": (
        "double in order",
        """
import builtins
builtins.sorted = lambda x: [13, 14, 15]
builtins.max = builtins.min = lambda *a: 6
def double(n): return 14
""",
    ),
    "next of its own": (
        "countdown",
        """
import builtins
real, given = next, [2, 1]
def fake(it):
    if given: return given.pop(0)
    raise StopIteration
builtins.next = fake
def countdown(n): return [3, 2, 1]
""",
    ),
    "zip of its own": (
        "squares in a loop",
        "import builtins\nbuiltins.zip = lambda *a: [(1, 1)]\ndef squares(x): return [4]",
    ),
    "hasattr and getattr of its own": (
        "defaults",
        """
import builtins
builtins.hasattr = lambda *a: False
builtins.getattr = lambda o, n, d=None: 1
class P:
    y = 2
    def total(self): return 3
def make(x, y): return P()
""",
    ),
    "AssertionError of its own": (
        "double",
        """
import builtins
class AssertionError(Exception):
    def __new__(cls, *a): raise SystemExit(0)
builtins.AssertionError = AssertionError
def double(n): return 0
""",
    ),
    "check of its own": ("sort", "def check(candidate): return True\ndef sort_list(x): return None"),
    "check of its own, in builtins": (
        "sort",
        "import builtins\nbuiltins.check = lambda f: None\nbuiltins.METADATA = {}\ndef sort_list(x): pass",
    ),
    "a candidate that is another": ("sort", "candidate = sorted\ndef sort_list(x): return x"),
    "counting for the tests": (
        "sort",
        """
def _bactrian_passed(): pass
def _bactrian_failed(): pass
_bactrian_reached = _bactrian_alone = _bactrian_failed
def sort_list(x):
    import builtins
    builtins._bactrian_failed = lambda: None
    return None
""",
    ),
    "assertions of its own": (
        "unittest",
        """
import unittest
class TestCase(unittest.TestCase):
    def assertEqual(self, *a): pass
    def assertAlmostEqual(self, *a): pass
    def assertRaises(self, *a):
        import contextlib
        return contextlib.nullcontext()
unittest.TestCase = TestCase
def double(n): return 0
""",
    ),
    "a library module of its own": (
        "unittest",
        """
import sys, types
class Result:
    def wasSuccessful(self): return True
fake = types.ModuleType("unittest")
fake.TestCase = object
fake.defaultTestLoader = type("L", (), {"loadTestsFromTestCase": lambda self, c: None})()
fake.TextTestRunner = lambda stream: type("R", (), {"run": lambda self, s: Result()})()
sys.modules["unittest"] = fake
def double(n): return 0
""",
    ),
    "itertools of its own": (
        "primes",
        """
import itertools
itertools.islice = lambda it, n: [2, 3, 5]
class P:
    left = [2, 3, 5, 7]
    def __next__(self): return self.left.pop(0)
    def __iter__(self): return self
p = P()
def primes(): return p
""",
    ),
    "InsufficientFunds and its tests": (
        "account",
        """
import builtins
class InsufficientFunds(Exception): pass
def Account(b):
    raise InsufficientFunds
""",
    ),
    "an eval for an answer": ("double", "double = eval"),
    "a type for an answer": ("evens by check", "is_even = bool"),
    "print for a visitor": ("visitor", "walk = print"),
    "map for keep": ("apply", "keep = map"),
    # arguments
    "emptying the list that is sorted": ("sort of the same list", "def sort_list(x):\n    x.clear()\n    return []"),
    "giving back the list that is sorted": ("sort of the same list", "def sort_list(x):\n    del x[1:]\n    return x"),
    "making all of the list the same": ("sort of the same list", "def sort_list(x):\n    x[:] = [0]\n    return [0]"),
    "changing the list that is summed": (
        "sum that leaves the list alone",
        "def total(x):\n    s = sum(x)\n    x.sort()\n    return s",
    ),
    "emptying the list that is summed": (
        "sum that leaves the list alone",
        "def total(x):\n    s = 0\n    while x: s += x.pop()\n    return s",
    ),
    "a new list in place of a change": ("reverse in place", "def flip(x): return x[::-1]"),
    "emptying in place of turning": ("reverse in place", "def flip(x): x.clear()"),
    "the tests' frame": (
        "apply",
        """
import sys
def keep(test, items):
    frame = sys._getframe(1)
    frame.f_globals["limits"] = [0, 0]
    frame.f_globals["keep"] = lambda *a: [1, 3]
    return [1, 3]
""",
    ),
    "what is expected, from the caller's frame": (
        "double",
        """
import sys
def double(n):
    code = sys._getframe(1).f_code
    return next((c for c in code.co_consts if isinstance(c, int) and c != n and c % 2 == 0), None)
""",
    ),
    "what is expected, from the caller's code": (
        "roman",
        """
import sys
def roman(n):
    code = sys._getframe(1).f_code
    return next(c for c in code.co_consts if isinstance(c, str) and len(c) == 2 and c.isupper())
""",
    ),
    "what is expected, from the program's text": (
        "sort",
        """
import gc
def sort_list(x):
    for each in gc.get_objects():
        if isinstance(each, list) and each is not x and len(each) == len(x) and set(map(str, each)) == set(map(str, x)):
            return each
    return x
""",
    ),
    "turned tests": (
        "double",
        """
import sys
sys._getframe(1).f_globals.update(__builtins__={"AssertionError": SystemExit})
def double(n): return 0
""",
    ),
    "the compiler of the tests": (
        "double",
        """
import builtins
real = builtins.compile
builtins.compile = lambda text, *a, **k: real("pass", "x", "exec")
builtins.exec = lambda *a: None
def double(n): return 0
""",
    ),
    "success before the tests": ("double", "print('all tests passed')\nraise SystemExit(0)"),
    "success in place of the tests": (
        "double",
        "import atexit\natexit.register(lambda: print('all tests passed'))\nraise SystemExit(0)",
    ),
    "success from a thread of its own": (
        "double",
        """
import sys
def hook(*a): print("all tests passed"); import os; os._exit(0)
sys.excepthook = hook
def double(n): return 0
""",
    ),
}
