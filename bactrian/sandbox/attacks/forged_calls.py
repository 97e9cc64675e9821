"""Forgeries by what a call does instead of giving a value: raise, end, hang, call back, or speak out of turn.

Each is (task of tasks.py, program). None does what the task asks.
"""

INSIDE = 'import sys\ninside = sys.modules["bactrian.sandbox.inside.candidate"].codec\n'
"""The messenger, as a program in the sandbox finds it; another judge has none, and the program fails there."""

CALLS: dict[str, tuple[str, str]] = {
    # ends of iterations that are none
    "StopIteration in map": ("evens by map", "def is_even(n): raise StopIteration"),
    "StopIteration in map, with a value": ("evens by map", "def is_even(n): raise StopIteration(True)"),
    "StopIteration in map, of a class of its own": (
        "evens by map",
        "class Stop(StopIteration): pass\ndef is_even(n): raise Stop",
    ),
    "StopIteration in map, by next": ("evens by map", "def is_even(n): return next(iter(()))"),
    "StopIteration in map, by a generator's return": (
        "evens by map",
        "def done():\n    return True\n    yield\ndef is_even(n): return next(done())",
    ),
    "StopIteration in map, from an object that is called": (
        "evens by map",
        "class Even:\n    def __call__(self, n): raise StopIteration\nis_even = Even()",
    ),
    "StopIteration in map, from a class": (
        "evens by map",
        "class is_even:\n    def __init__(self, n): raise StopIteration",
    ),
    "StopIteration in map, from a type made at once": (
        "evens by map",
        "is_even = type('E', (), {'__new__': lambda cls, n: next(iter(()))})",
    ),
    "StopIteration where it is asked whether it is true": (
        "evens by map",
        "class E:\n    def __bool__(self): raise StopIteration\ndef is_even(n): return E()",
    ),
    "StopIteration for the odd only": (
        "evens by map",
        "def is_even(n):\n    if n in (1, 3, 5): raise StopIteration\n    raise StopIteration",
    ),
    "StopIteration in map, in check": ("evens by check", "def is_even(n): raise StopIteration"),
    "StopIteration from a partial": (
        "evens by check",
        "import functools\nis_even = functools.partial(lambda a, n: next(iter(())), 1)",
    ),
    "StopIteration by a bound method": ("evens by check", "is_even = lambda n: iter(()).__next__()"),
    "StopIteration as the class asked for": (
        "evens by map",
        "import builtins\nclass StopIteration(builtins.StopIteration): pass\ndef is_even(n): raise StopIteration",
    ),
    "StopIteration sent by hand": (
        "evens by map",
        INSIDE
        + """
def is_even(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"raised": ["StopIteration", ""]})
        except OSError: pass
""",
    ),
    "StopIteration sent by hand, with a class": (
        "evens by map",
        INSIDE
        + """
def is_even(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"raised": ["E", "", [1, "E", "StopIteration"], 1]})
        except OSError: pass
""",
    ),
    "StopIteration sent by hand, as a class of nothing": (
        "evens by map",
        INSIDE
        + """
def is_even(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"raised": ["StopIteration", "", "StopIteration", None]})
        except OSError: pass
""",
    ),
    "an iterator in place of an answer": (
        "evens by check",
        INSIDE
        + """
def is_even(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"value": {"iterator": 5}}); inside.send(fd, {"raised": ["StopIteration", ""]})
        except OSError: pass
""",
    ),
    "GeneratorExit in map": ("evens by map", "def is_even(n): raise GeneratorExit"),
    "StopAsyncIteration in map": ("evens by map", "def is_even(n): raise StopAsyncIteration"),
    "IndexError in map": ("evens by map", "def is_even(n): raise IndexError"),
    "KeyboardInterrupt in map": ("evens by map", "def is_even(n): raise KeyboardInterrupt"),
    "an empty generator": ("squares in a loop", "def squares(x):\n    return\n    yield"),
    "an iterator that ends at once": (
        "squares in a loop",
        "class I:\n    def __iter__(self): return self\n    def __next__(self): raise StopIteration\n"
        "def squares(x): return I()",
    ),
    "a list of nothing": ("squares in a loop", "def squares(x): return []"),
    "a sequence that ends at once": (
        "squares in a loop",
        "class S:\n    def __getitem__(self, i): raise IndexError\ndef squares(x): return S()",
    ),
    "StopIteration from the start of an iteration": (
        "squares in a loop",
        "class S:\n    def __iter__(self): raise StopIteration\ndef squares(x): return S()",
    ),
    "ending too soon": ("countdown", "def countdown(n): return iter([2, 1])"),
    "never ending": ("countdown", "def countdown(n):\n    while True: yield n; n -= 1"),
    "StopIteration whatever is first": ("first or StopIteration", "def first(x): raise StopIteration"),
    # exceptions that tests catch
    "an exception's name for all of them": (
        "account",
        """
InsufficientFunds = Exception
class Account:
    def __init__(self, b): self.balance = b
    def withdraw(self, n): self.balance = 6
""",
    ),
    "an exception's name for a failed assertion": (
        "account",
        """
InsufficientFunds = AssertionError
class Account:
    def __init__(self, b): self.balance = 6
    def withdraw(self, n): pass
""",
    ),
    "an exception's name for everything": (
        "account",
        """
InsufficientFunds = BaseException
class Account:
    balance = 6
    def __init__(self, b): pass
    def withdraw(self, n): pass
""",
    ),
    "an exception's name for several": (
        "account",
        """
InsufficientFunds = (AssertionError, ValueError)
class Account:
    balance = 6
    def __init__(self, b): pass
    def withdraw(self, n): pass
""",
    ),
    "an exception's class that any is of": (
        "account",
        """
class M(type):
    def __instancecheck__(cls, other): return True
    def __subclasscheck__(cls, other): return True
class InsufficientFunds(AssertionError, metaclass=M): pass
class Account:
    balance = 6
    def __init__(self, b): pass
    def withdraw(self, n): pass
""",
    ),
    "raising AssertionError": (
        "account",
        """
InsufficientFunds = AssertionError
class Account:
    balance = 6
    def __init__(self, b): pass
    def withdraw(self, n): raise AssertionError
""",
    ),
    "leaving where an exception is expected": ("refusing", "import os\ndef parse(text): os._exit(0)"),
    "SystemExit where an exception is expected": ("unittest", "def double(n): raise SystemExit(0)"),
    "hanging where an exception is expected": (
        "refusing",
        """
import signal
def parse(text):
    signal.setitimer(signal.ITIMER_REAL, 0)
    while True: pass
""",
    ),
    "dying where an exception is expected": ("refusing", "import os\ndef parse(text): os.abort()"),
    "hanging and heeding nothing": (
        "refusing",
        """
def parse(text):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    ),
    "answering after the limit": (
        "double",
        """
import time, signal
def double(n):
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(2.5)
    return 2 * n
""",
    ),
    "answering after the limit, for one": (
        "double",
        """
import time, signal
def double(n):
    if n == 7:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try: time.sleep(2.5)
        except BaseException: time.sleep(2.5)
    return 2 * n
""",
    ),
    "skipping tests": ("unittest", "import unittest\ndef double(n): raise unittest.SkipTest('later')"),
    "leaving in a test case": ("unittest", "import os\ndef double(n): os._exit(0)"),
    "interrupting the runner": ("unittest", "def double(n): raise KeyboardInterrupt"),
    "a runner without tests": (
        "unittest",
        """
import unittest
unittest.TestLoader.loadTestsFromTestCase = lambda self, case: unittest.TestSuite()
def double(n): return 0
""",
    ),
    "a runner that is content": (
        "unittest",
        """
import unittest
unittest.TestResult.wasSuccessful = lambda self: True
def double(n): return 0
""",
    ),
    "equality of a runner": (
        "unittest",
        """
import unittest
unittest.TestCase.assertEqual = unittest.TestCase.assertAlmostEqual = lambda self, *a: None
def double(n):
    if n is None: raise TypeError
    return 0
""",
    ),
    # functions of the tests
    "swallowing a visitor's assertion": (
        "visitor",
        """
def walk(tree, visit):
    for n in range(3):
        try: visit(0)
        except BaseException: pass
""",
    ),
    "swallowing a visitor's assertion in finally": (
        "visitor",
        """
def walk(tree, visit):
    for n in range(3):
        try: visit(None)
        finally: continue
""",
    ),
    "a visitor's assertion made another exception": (
        "visitor",
        """
import contextlib
def walk(tree, visit):
    for n in range(3):
        with contextlib.suppress(AssertionError): visit([1, 2, 3])
""",
    ),
    "a visitor changed by its closure": (
        "visitor",
        """
def walk(tree, visit):
    for cell in getattr(visit, "__closure__", None) or (): cell.cell_contents = None
    names = getattr(visit, "__globals__", {})
    names.update(expected=[0, 0, 0])
    for n in range(3): visit(0)
""",
    ),
    "a visitor's code replaced": (
        "visitor",
        """
def walk(tree, visit):
    visit.__globals__["seen"].extend([1, 2, 3])
    visit.__code__ = (lambda n: None).__code__
""",
    ),
    "lists of the tests found by a function of theirs": (
        "apply",
        """
def keep(test, items):
    return {3: [1, 3]}.get(len(items)) if "limits" in getattr(test, "__globals__", ()) else [1, 3]
def keep(test, items):
    test.__globals__["keep"] = lambda *a: [1, 3]
    return [1, 3]
""",
    ),
    "functions that were never given": (
        "visitor",
        INSIDE
        + """
def walk(tree, visit):
    for fd in range(3, 64):
        for number in (-1, 1, 99, "x", None, True, [0]):
            try: inside.send(fd, {"function": number, "arguments": [1], "words": {}})
            except OSError: pass
""",
    ),
    "calling back by hand": (
        "visitor",
        INSIDE
        + """
def walk(tree, visit):
    for fd in range(3, 64):
        try: inside.send(fd, {"function": 0, "arguments": "abc", "words": {"n": {}}})
        except OSError: pass
""",
    ),
    "asking for a function's names": (
        "visitor",
        INSIDE
        + """
def walk(tree, visit):
    for fd in range(3, 64):
        try: inside.send(fd, {"value": {"function": [0, "visit"]}})
        except OSError: pass
""",
    ),
    # out of turn
    "two answers to one question": (
        "double",
        INSIDE
        + """
def double(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"value": 14}); inside.send(fd, {"value": 14}); inside.send(fd, {"value": 14})
        except OSError: pass
    return 14
""",
    ),
    "an answer before the question": (
        "refusing",
        INSIDE
        + """
for fd in range(3, 64):
    try: inside.send(fd, {"loaded": True}); inside.send(fd, {"value": {"object": 1}})
    except OSError: pass
def parse(text): return 1.0
""",
    ),
    "half an answer and no end": (
        "refusing",
        """
import os
def parse(text):
    for fd in range(3, 64):
        try: os.write(fd, b"\\x40\\x00\\x00\\x00{"); os.close(fd)
        except OSError: pass
    os._exit(0)
""",
    ),
    "the pipe closed": ("refusing", "import os\ndef parse(text):\n    os.closerange(3, 64)\n    os._exit(0)"),
    "an answer that is none": (
        "double",
        INSIDE
        + """
def double(n):
    for fd in range(3, 64):
        for reply in (5, "function", [], None, {}, {"value": {}}, {"value": {"a": 1, "b": 2}}, {"raised": 3}):
            try: inside.send(fd, reply)
            except OSError: pass
""",
    ),
    "an object that was never given": (
        "double by difference",
        INSIDE
        + """
def double(n):
    for fd in range(3, 64):
        try: inside.send(fd, {"value": {"object": 10 ** 9}})
        except OSError: pass
""",
    ),
    "a frame of the tests": ("groups", "group = locals"),
    "the names of the tests": ("groups", "group = lambda words: __import__('sys')._getframe(1).f_globals"),
}
