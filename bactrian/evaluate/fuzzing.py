"""What verifiers of mathematics make of hostile answers: crashes and hangs are counted, and must not be there."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bactrian.verify import Item, Pool, Verdict
from bactrian.verify.maths.equivalent_pairs import PAIRS
from bactrian.verify.maths.hostile import fuzzed

AT_ONCE = 500


@dataclass(frozen=True)
class Fuzzing:
    """`counts`: outcomes; `failures`: what crashed or timed out, each with its verdict."""

    counts: dict[str, int]
    failures: list[tuple[Item, Verdict]]


def fuzz(name: str, count: int, pool: Pool, seed: int = 0, on_done: Callable[[int], None] = lambda n: None) -> Fuzzing:
    """Put `count` fuzzed answers, in boxes, to the verifier `name`, each against some gold answer of the pairs."""
    draw = random.Random(f"fuzz/{seed}")
    counts: Counter[str] = Counter()
    failures: list[tuple[Item, Verdict]] = []
    for start in range(0, count, AT_ONCE):
        items = [
            Item(name, f"\\boxed{{{fuzzed(draw)}}}", draw.choice(PAIRS).gold)
            for _ in range(min(AT_ONCE, count - start))
        ]
        said = pool.verify_all(items)
        counts.update(verdict.outcome for verdict in said)
        failures += [(item, v) for item, v in zip(items, said, strict=True) if v.outcome in ("crashed", "timed_out")]
        on_done(len(items))
    return Fuzzing(dict(counts), failures)
