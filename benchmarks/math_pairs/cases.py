"""A case is a gold answer with other ways to write it and near misses; a template draws cases; a class is templates."""

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mpmath

mpmath.mp.dps = 40
Form = str | tuple[str, Any]
"""A text, or a text and what it is worth: a number, a function of one number, or a tuple or frozenset of these."""
POINTS = (0.37, 1.9, -7.13, 12.4, 3.01, 1003.7)
"""Where functions are compared: also far out, since some differ only there."""


class Pair(NamedTuple):
    """An answer, the gold answer, and whether they are the same."""

    kind: str
    template: str
    answer: str
    gold: str
    right: bool


@dataclass(frozen=True)
class MathCase:
    """`right` and `wrong` are worth the same as the gold answer or not; `check` holds them against `value`."""

    gold: str
    right: Sequence[Form]
    wrong: Sequence[Form]
    value: Any = None

    def check(self) -> None:
        """Every form that says what it is worth; none is on both sides.

        Raises: ValueError if a label is wrong.
        """
        good = {text(form).strip() for form in self.right} | {self.gold.strip()}
        if both := good & {text(form).strip() for form in self.wrong}:
            raise ValueError(f"{both} is called right and wrong for {self.gold}")
        for label, forms in ((True, self.right), (False, self.wrong)):
            for form in forms:
                if isinstance(form, tuple) and equal(form[1], self.value) is not label:
                    raise ValueError(f"{form} is not {'right' if label else 'wrong'} for {self.gold} ({self.value})")


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | frozenset) or isinstance(b, tuple | frozenset):
        if type(a) is not type(b) or len(a) != len(b):
            return False
        if isinstance(a, tuple):
            return all(map(equal, a, b))
        return all(any(equal(x, y) for y in b) for x in a) and all(any(equal(x, y) for x in a) for y in b)
    if callable(a) and callable(b):
        return all(equal(a(mpmath.mpf(x)), b(mpmath.mpf(x))) for x in POINTS)
    if isinstance(a, int | Fraction | str | bool) and isinstance(b, int | Fraction | str | bool):
        return bool(a == b)
    x, y = (
        mpmath.mpmathify(n.numerator) / n.denominator if isinstance(n, Fraction) else mpmath.mpmathify(n)
        for n in (a, b)
    )
    return bool(abs(x - y) <= mpmath.mpf(10) ** -25 * (1 + abs(x)))


class Draw(random.Random):
    """Random choices for one class in one half."""

    def __init__(self, kind: str, half: str, data: Path, seed: int = 20261129) -> None:
        super().__init__(f"{seed} {kind} {half}")
        self.dev, self.data = half == "dev", data

    def of(self, dev: Sequence[Any], hidden: Sequence[Any]) -> Any:
        """One of this half's."""
        return self.choice(dev if self.dev else hidden)

    def half(self, dev: Any, hidden: Any) -> Any:
        return dev if self.dev else hidden

    def nonzero(self, low: int, high: int) -> int:
        return self.choice([n for n in range(low, high + 1) if n])

    def fraction(self, top: int = 40, bottom: int = 30) -> Fraction:
        """Positive and no whole number."""
        while True:
            q = Fraction(self.randint(1, top), self.randint(2, bottom))
            if q.denominator > 1:
                return q

    def golds(self) -> list[str]:
        """This half's public gold answers."""
        return public(self.data)[self.dev]


Template = Callable[[Draw], MathCase]
CLASSES: dict[str, list[tuple[Template, str]]] = {}


def template(kind: str, only: str = "") -> Callable[[Template], Template]:
    """Registers a template for class `kind`, in half `only` or both."""

    def note(function: Template) -> Template:
        CLASSES.setdefault(kind, []).append((function, only))
        return function

    return note


@cache
def public(data: Path) -> dict[bool, list[str]]:
    """{is it the dev half: answers of MATH, AIME and AMC}, split by hash; empty where the files are missing."""
    found: set[str] = set()
    for name in ("math_train_answers.jsonl.gz", "math500.dev.jsonl", "aime_1983_2023.jsonl", "amc23.jsonl"):
        if (data / name).exists():
            raw = (data / name).read_bytes()
            lines = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode().split("\n")
            answers = [json.loads(line)["answer"] for line in lines if line.strip()]
            found |= {f"{a:g}" if isinstance(a, float) else str(a).strip() for a in answers if a is not None}
    split = {gold: hashlib.sha256(gold.encode()).digest()[0] % 2 == 0 for gold in sorted(found)}
    return {dev: [gold for gold, is_dev in split.items() if is_dev is dev] for dev in (True, False)}


def text(form: Form) -> str:
    return form if isinstance(form, str) else form[0]


def draw_pairs(kind: str, half: str, data: Path, count: int = 300) -> Iterator[Pair]:
    """`count` different pairs of a class, half of them right; none whose answer is the gold answer's very text."""
    draw = Draw(kind, half, data)
    templates = [function for function, only in CLASSES[kind] if only in ("", half)]
    wanted, seen = {True: count // 2, False: count - count // 2}, set[tuple[str, str]]()
    for n in range(count * 30):
        function = templates[n % len(templates)]
        case = function(draw)
        case.check()
        for label, forms in ((True, case.right), (False, case.wrong)):
            new = [a for a in map(text, forms) if (a, case.gold) not in seen and a.strip() != case.gold.strip()]
            if new and wanted[label]:
                answer = draw.choice(new)
                seen.add((answer, case.gold))
                wanted[label] -= 1
                yield Pair(kind, function.__name__, answer, case.gold, label)
        if not any(wanted.values()):
            return
    raise ValueError(f"class {kind}, half {half}: {wanted} pairs short")


def frac(q: Fraction | int, command: str = r"\frac") -> str:
    q = Fraction(q)
    if q.denominator == 1:
        return str(q.numerator)
    return f"{'-' if q < 0 else ''}{command}{{{abs(q.numerator)}}}{{{q.denominator}}}"


def plus(n: Fraction | int, after: str = "") -> str:
    """A signed term to go after another: "+ 3x", "- x"."""
    size = abs(Fraction(n))
    shown = "" if after and size == 1 else frac(size)
    return f"{'-' if n < 0 else '+'} {shown}{after}"


def times(n: Fraction | int, what: str) -> str:
    """A leading term: "3x", "-x"."""
    shown = {1: "", -1: "-"}.get(n) if n in (1, -1) else frac(n)
    return f"{shown}{what}"


def others(draw: Draw, n: int, spread: int = 9) -> int:
    """A whole number near n, not n nor -n nor 0."""
    while True:
        m = n + draw.nonzero(-spread, spread)
        if m not in (n, -n, 0) and (m > 0) == (n > 0):
            return m
