"""Which rows of a pool to take, when only few can be had: at random, the longest, the most diverse, or as s1 does.

A row is known by its number, its domain and its length (of reasoning). Source: Muennighoff et al. 2025.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Pick = Callable[[np.random.Generator, int], int]
"""Of n rows of a domain, the longest first, the position of the one to take."""


@dataclass(frozen=True)
class CandidatePool:
    """domains [N] and lengths [N] of the rows, and the numbers of those to take in any case."""

    domains: Sequence[str]
    lengths: Sequence[int]
    first: Sequence[int] = field(default=())

    def __len__(self) -> int:
        return len(self.domains)


def at_random(pool: CandidatePool, count: int, seed: int) -> list[int]:
    """`count` rows, each as likely as any other."""
    rest = _rest(pool)
    return [*pool.first, *(rest[i] for i in _random(seed).permutation(len(rest)))][:count]


def longest(pool: CandidatePool, count: int, seed: int) -> list[int]:
    """The rows with the longest reasoning; of equally long ones the earlier."""
    return [*pool.first, *sorted(_rest(pool), key=lambda row: (-pool.lengths[row], row))][:count]


def by_domain(
    pool: CandidatePool, count: int, seed: int, pick: Pick, uniform: int = 0, weights: Mapping[str, float] | None = None
) -> list[int]:
    """Row by row: a domain at random, then one of its rows by `pick`, never one twice; spent domains are left out.

    The first `uniform` rows (those taken in any case among them) draw domains uniformly, later ones by `weights` [s1's
    code: 700, then by how many questions the benchmarks have of a domain]; a domain without a weight has 0.
    """
    random = _random(seed)
    left: dict[str, list[int]] = {}
    for row in sorted(_rest(pool), key=lambda row: (-pool.lengths[row], row)):
        left.setdefault(pool.domains[row], []).append(row)
    names = sorted(left)
    taken = list(pool.first)[:count]
    while len(taken) < count and names:
        known = weights if weights and len(taken) >= uniform else dict.fromkeys(names, 1.0)
        chances = np.array([known.get(name, 0.0) for name in names])
        if not chances.sum():
            break
        name = names[int(random.choice(len(names), p=chances / chances.sum()))]
        taken.append(left[name].pop(pick(random, len(left[name]))))
        if not left[name]:
            names.remove(name)
    return taken


def any_of(random: np.random.Generator, n: int) -> int:
    """Each of n as likely."""
    return int(random.integers(n))


def halving(random: np.random.Generator, n: int) -> int:
    """Position k < n with probability ∝ 2^−k [s1]; ranks are those among the rows that are left [ours]."""
    while (k := int(random.geometric(0.5)) - 1) >= n:
        pass
    return k


def clusters(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """A domain "cluster 07" for each text: k-means over TF-IDF of its words, `count` clusters at
    most.

    By scikit-learn, on one thread, so that the seed decides.

    Raises:
        BactrianError: if it is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits
    except ImportError:
        from bactrian.store.extras import lacks

        raise lacks("clusters", "data") from None
    vectors = TfidfVectorizer(max_features=20_000, sublinear_tf=True, stop_words="english").fit_transform(texts)
    means = MiniBatchKMeans(min(count, len(texts)), random_state=seed % 2**32, n_init=3, batch_size=4096)
    with threadpool_limits(1):
        return [f"cluster {number:02}" for number in means.fit_predict(vectors)]


def _rest(pool: CandidatePool) -> list[int]:
    first = set(pool.first)
    return [row for row in range(len(pool)) if row not in first]


def _random(seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"select/{seed}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
