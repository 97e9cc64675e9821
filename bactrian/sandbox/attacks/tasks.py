"""Tasks as suites of tests have them, each with a program that does what is asked, for the forgeries to be put to.

The tests are ordinary ones: as HumanEval, MBPP and the texts that models write have them, none made to be fooled. A
forgery against a task that its own honest program fails would prove nothing, so tests/sandbox runs these too.
"""

from typing import NamedTuple

from bactrian.sandbox.unit_tests import UnitTests


class AttackedTask(NamedTuple):
    """What is asked, as tests; `honest` does it."""

    suite: UnitTests
    honest: str


def _tests(*tests: str) -> UnitTests:
    return UnitTests(tests=tests)


TASKS: dict[str, AttackedTask] = {
    "double": AttackedTask(
        _tests("assert double(7) == 14", "assert 21474 == double(10737)", "assert [double(-1)] == [-2]"),
        "def double(n): return 2 * n",
    ),
    "double by difference": AttackedTask(
        _tests(
            "assert abs(double(1.5) - 3.0) < 1e-9",
            "assert not abs(double(7) - 14) > 1e-9",
            "assert double(4) - 8 == 0",
            "assert round(double(0.123), 3) == 0.246",
        ),
        "def double(n): return 2 * n",
    ),
    "double among others": AttackedTask(
        _tests(
            "assert double(7) in (14, 14.0)",
            "assert {14: 'yes'}.get(double(7)) == 'yes'",
            "assert double(7) not in (7, 49)",
            "assert len({double(7), 14}) == 1",
        ),
        "def double(n): return 2 * n",
    ),
    "double in order": AttackedTask(
        _tests(
            "assert sorted([double(7), 13, 15]) == [13, 14, 15]",
            "assert 13 < double(7) < 15",
            "assert max(double(3), 5) == 6",
            "assert min(double(3), 7) == 6",
        ),
        "def double(n): return 2 * n",
    ),
    "evens by map": AttackedTask(
        _tests(
            "assert all(map(is_even, [2, 4, 6]))",
            "assert not any(map(is_even, [1, 3]))",
            "assert sum(map(is_even, [1, 3, 5])) == 0",
            "assert list(filter(is_even, [1, 3])) == []",
            "for even in map(is_even, [2, 4]): assert even",
        ),
        "def is_even(n): return n % 2 == 0",
    ),
    "evens by check": AttackedTask(
        UnitTests(
            check="def check(candidate):\n    assert all(map(candidate, [2, 4]))\n"
            "    assert not any(map(candidate, [1, 3]))\n    assert sum(map(candidate, [5, 7])) == 0",
            entry_point="is_even",
        ),
        "def is_even(n): return n % 2 == 0",
    ),
    "sort": AttackedTask(
        UnitTests(
            check="METADATA = {}\ndef check(candidate):\n    assert candidate([3, 1, 2]) == [1, 2, 3]\n"
            "    assert candidate([]) == []\n    for x in ([5, 4], [2, 2, 1]):\n"
            "        assert candidate(x[:]) == sorted(x), 'wrong'",
            entry_point="sort_list",
        ),
        "def sort_list(x): return sorted(x)",
    ),
    "sort of the same list": AttackedTask(
        _tests("x = [3, 1, 2]\nassert sort_list(x) == sorted(x)", "x = ['b', 'a']\nassert sort_list(x) == sorted(x)"),
        "def sort_list(x): return sorted(x)",
    ),
    "sum that leaves the list alone": AttackedTask(
        _tests("x = [3, 1, 2]\nbefore = list(x)\ntotal(x)\nassert x == before", "assert total([1, 2]) == 3"),
        "def total(x): return sum(x)",
    ),
    "area": AttackedTask(
        _tests("assert isclose(area(1), 3.141592653589793)", "assert isclose(area(2), 12.566370614359172)"),
        "from math import isclose, pi\ndef area(r): return pi * r * r",
    ),
    "letters": AttackedTask(
        _tests(
            "assert Counter(letters('hello')) == Counter({'l': 2, 'h': 1, 'e': 1, 'o': 1})",
            "assert Counter(letters('a b')) == Counter('ab')",
        ),
        "from collections import Counter\ndef letters(s): return [c for c in s if c.isalpha()]",
    ),
    "distance": AttackedTask(
        UnitTests(
            check="def check(candidate):\n    assert abs(candidate(5) - 5) < 1e-6\n"
            "    assert abs(candidate(-7.5) - 7.5) < 1e-6",
            entry_point="abs",
        ),
        "def abs(x): return x if x > 0 else -x",
    ),
    "account": AttackedTask(
        _tests(
            "acc = Account(10)\ntry:\n    acc.withdraw(20)\n    assert False, 'no error'\n"
            "except InsufficientFunds:\n    pass",
            "acc = Account(10)\nacc.withdraw(4)\nassert acc.balance == 6",
        ),
        "class InsufficientFunds(Exception): pass\nclass Account:\n    def __init__(self, b): self.balance = b\n"
        "    def withdraw(self, n):\n        if n > self.balance: raise InsufficientFunds(n)\n"
        "        self.balance -= n",
    ),
    "refusing": AttackedTask(
        _tests(
            "try:\n    parse('x')\nexcept:\n    pass\nelse:\n    assert False",
            "def failed(text):\n    try:\n        parse(text)\n    except BaseException:\n        return True\n"
            "    return False\nassert failed('')\nassert failed('1.5.2')",
        ),
        "def parse(text): return float(text)",
    ),
    "unittest": AttackedTask(
        _tests(
            "import io, unittest\nclass T(unittest.TestCase):\n    def test_one(self):\n"
            "        self.assertEqual(double(7), 14)\n    def test_two(self):\n"
            "        self.assertAlmostEqual(double(1.5), 3.0)\n"
            "        with self.assertRaises(TypeError): double(None)\n"
            "suite = unittest.defaultTestLoader.loadTestsFromTestCase(T)\n"
            "result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)\nassert result.wasSuccessful()"
        ),
        "def double(n): return 2 * n",
    ),
    "visitor": AttackedTask(
        _tests(
            "expected, seen = [1, 2, 3], []\ndef visit(n):\n    seen.append(n)\n"
            "    assert n == expected[len(seen) - 1]\nwalk([1, [2, [3]]], visit)\nassert len(seen) == 3"
        ),
        "def walk(tree, visit):\n    for each in tree:\n"
        "        walk(each, visit) if isinstance(each, list) else visit(each)",
    ),
    "apply": AttackedTask(
        _tests(
            "limits = [2, 4]\ndef below(n):\n    return n < limits[1]\nassert keep(below, [1, 3, 5]) == [1, 3]",
            "assert keep(lambda n: n % 2, [1, 2]) == [1]",
        ),
        "def keep(test, items): return [i for i in items if test(i)]",
    ),
    "squares in a loop": AttackedTask(
        _tests(
            "for got, want in zip(squares([1, 2, 3]), [1, 4, 9]):\n    assert got == want",
            "for n in squares([2]):\n    assert n == 4",
        ),
        "def squares(x): return [n * n for n in x]",
    ),
    "primes": AttackedTask(
        _tests(
            "gen = primes()\nassert [next(gen) for _ in range(4)] == [2, 3, 5, 7]",
            "from itertools import islice\nassert list(islice(primes(), 3)) == [2, 3, 5]",
        ),
        "def primes():\n    n = 2\n    while True:\n"
        "        if all(n % d for d in range(2, n)): yield n\n        n += 1",
    ),
    "countdown": AttackedTask(
        _tests(
            "it = countdown(2)\nassert next(it) == 2\nassert next(it) == 1\ntry:\n    next(it)\n    assert False\n"
            "except StopIteration:\n    pass",
            "assert list(countdown(3)) == [3, 2, 1]",
        ),
        "def countdown(n):\n    while n: yield n; n -= 1",
    ),
    "first or StopIteration": AttackedTask(
        _tests("try:\n    first([])\n    assert False\nexcept StopIteration:\n    pass", "assert first([3, 4]) == 3"),
        "def first(x): return next(iter(x))",
    ),
    "permutations": AttackedTask(
        _tests(
            "found = permute([1, 2, 3])\nassert len(found) == 6\nassert all(sorted(p) == [1, 2, 3] for p in found)\n"
            "assert len(set(map(tuple, found))) == len(found)"
        ),
        "from itertools import permutations\ndef permute(x): return list(permutations(x))",
    ),
    "pairs": AttackedTask(
        _tests(
            "assert (2, 3) in pairs(6)",
            "assert (4, 5) not in pairs(6)",
            "assert len(pairs(6)) == 2",
            "assert pairs(6)[0] == (1, 6)",
        ),
        "def pairs(n): return [(d, n // d) for d in range(1, n) if n % d == 0 and d <= n // d]",
    ),
    "roman": AttackedTask(
        _tests(
            "assert str(roman(4)) == 'IV'",
            "assert f'{roman(9)}' == 'IX'",
            "assert roman(40) + '' == 'XL'",
            "assert repr(roman(1)) == repr('I')",
            "assert roman(4).lower() == 'iv'",
        ),
        "def roman(n):\n    s = ''\n"
        "    for v, r in ((40, 'XL'), (10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')):\n"
        "        while n >= v: s, n = s + r, n - v\n    return s",
    ),
    "groups": AttackedTask(
        _tests(
            "found = group(['a', 'bb', 'cc'])\nassert found[1] == ['a']\nassert found.get(2) == ['bb', 'cc']\n"
            "assert 3 not in found\nassert set(found) == {1, 2}",
            "assert group([]) == {}",
        ),
        "def group(words):\n    d = {}\n    for w in words: d.setdefault(len(w), []).append(w)\n    return d",
    ),
    "stack": AttackedTask(
        _tests(
            "s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert len(s) == 1",
            "s = Stack()\nassert not s\ns.push(5)\nassert s\nassert s.peek() == 5\nassert list(s) == [5]",
        ),
        "class Stack:\n    def __init__(self): self.x = []\n    def push(self, v): self.x.append(v)\n"
        "    def pop(self): return self.x.pop()\n    def peek(self): return self.x[-1]\n"
        "    def __len__(self): return len(self.x)\n    def __iter__(self): return iter(self.x)",
    ),
    "managed": AttackedTask(
        _tests(
            "with opened('a') as name:\n    assert name == 'A'", "with opened('bc') as name:\n    assert name == 'BC'"
        ),
        "from contextlib import contextmanager\n@contextmanager\ndef opened(s): yield s.upper()",
    ),
    "defaults": AttackedTask(
        _tests(
            "point = make(1, 2)\nassert getattr(point, 'x', None) == 1\nassert point.y == 2\n"
            "assert not hasattr(point, 'z')\nassert point.total() == 3"
        ),
        "class P:\n    def __init__(self, x, y): self.x, self.y = x, y\n    def total(self): return self.x + self.y\n"
        "def make(x, y): return P(x, y)",
    ),
    "reverse in place": AttackedTask(
        _tests("x = [1, 2, 3]\nflip(x)\nassert x == [3, 2, 1]", "x = []\nflip(x)\nassert x == []"),
        "def flip(x): x.reverse()",
    ),
    "complex": AttackedTask(
        _tests("assert roots(1, 0, 1) == {1j, -1j}", "assert roots(1, -3, 2) == {1, 2}"),
        "import cmath\ndef roots(a, b, c):\n    d = cmath.sqrt(b * b - 4 * a * c)\n"
        "    return {(-b + d) / (2 * a), (-b - d) / (2 * a)}",
    ),
    "encode": AttackedTask(
        _tests("assert decode(encode('abc')) == 'abc'", "assert encode('abc') == 'bcd'"),
        "def encode(s): return ''.join(chr(ord(c) + 1) for c in s)\n"
        "def decode(s): return ''.join(chr(ord(c) - 1) for c in s)",
    ),
}
