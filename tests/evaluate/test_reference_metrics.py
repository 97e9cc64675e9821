"""Metrics against implementations of their own, from the published definitions, on thousands of cases."""

import itertools
import random
import re
import string
from math import comb

import pytest

from bactrian.evaluate.statistics import pass_at_k
from bactrian.verify.text.spans import drop_f1, token_f1

WORDS = ["the", "a", "an", "red", "Red", "camel's", "42", "42.0", "7", "1,000", "half", "time", "U.S.", "of", "No."]


def test_pass_at_k_is_the_binomial_ratio() -> None:
    cases = 0
    for n in range(1, 25):
        for right in range(n + 1):
            for k in range(1, n + 1):
                assert pass_at_k(n, right, k) == pytest.approx(1 - comb(n - right, k) / comb(n, k), abs=1e-12)
                cases += 1
    assert cases > 1_000
    for n, right, k, value in ((20, 1, 10, 0.5), (20, 5, 10, 0.983746), (10, 3, 1, 0.3), (5, 2, 5, 1.0)):
        assert pass_at_k(n, right, k) == pytest.approx(value, abs=1e-6)


def squad_words(text: str) -> list[str]:
    lowered = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", lowered).split()


def squad_f1_by_hand(one: str, other: str) -> float:
    mine, its = squad_words(one), squad_words(other)
    if not mine or not its:
        return float(mine == its)
    left, shared = list(its), 0
    for word in mine:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(mine), shared / len(its)
    return 2 * precision * recall / (precision + recall)


def text(draw: random.Random, least: int = 0) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, 5)))


def test_squad_f1_by_hand() -> None:
    draw = random.Random(0)
    for _ in range(2_000):
        one, other = text(draw), text(draw)
        assert token_f1(one, other) == pytest.approx(squad_f1_by_hand(one, other), abs=1e-12)


def drop_bag(span: str) -> set[str]:
    """Tokens of a span by the published rules: split at spaces and hyphens, numbers as floats, else as SQuAD's."""
    found = set()
    for token in re.split(r" |-", span.lower()):
        bare = token.replace(",", "")
        try:
            found.add(str(float(bare)))
        except ValueError:
            plain = " ".join(squad_words(token))
            if plain:
                found.add(str(float(plain)) if is_number(plain) else plain)
    return found


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def drop_f1_by_hand(given: list[str], gold: list[str]) -> float:
    def pair(one: str, other: str) -> float:
        mine, its = drop_bag(one), drop_bag(other)
        numbers = {word for word in its if is_number(word)}
        if numbers and not numbers & mine:
            return 0.0
        shared = len(mine & its)
        precision = shared / len(mine) if mine else 1.0
        recall = shared / len(its) if its else 1.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    longer, shorter = (given, gold) if len(given) >= len(gold) else (gold, given)
    best = 0.0
    for chosen in itertools.permutations(range(len(longer)), len(shorter)):
        total = sum(
            pair(longer[place], other) if longer is given else pair(other, longer[place])
            for place, other in zip(chosen, shorter, strict=True)
        )
        best = max(best, total)
    return round(best / len(longer), 2)


def test_drop_f1_by_hand() -> None:
    draw = random.Random(1)
    plain = [word for word in WORDS if "," not in word]
    cases = 0
    while cases < 1_500:
        given, gold = (
            [" ".join(draw.choice(plain) for _ in range(draw.randint(1, 3))) for _ in range(draw.randint(1, 3))]
            for _ in range(2)
        )
        if len(gold) == 1:
            given = given[:1]  # one span of gold is compared with the whole answer
        if not all(map(drop_bag, [*given, *gold])):
            continue  # spans of articles alone
        assert drop_f1(", ".join(given), gold) == pytest.approx(drop_f1_by_hand(given, gold), abs=0.0101), (given, gold)
        cases += 1
