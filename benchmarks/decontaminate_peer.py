"""Rows per second of datatrove's n-gram decontamination filter on texts that are in memory already, with no file read.

    python benchmarks/decontaminate_peer.py peer.json PROCESSES        (run by decontaminate.py)

datatrove 0.10's own indexer calls an interface that lighteval no longer has, so the index is made with its normaliser,
tokeniser and hash and handed to the filter as the file that the indexer would have written. n = 8, as ours. Where
datatrove is not installed, the same algorithm in plain Python: normalise, split, hash each window, look it up in a set.
"""

import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

N = 8


def datatrove_filter(items: list[str]) -> Callable[[str], Any]:
    """The filter itself, with an index file made by its own parts."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    folder = tempfile.mkdtemp()
    config = NGramsDecontConfig(n_grams=N)
    found = NGramsDecontFilter(folder, config)
    hashes = set()
    for text in items:
        words = found.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
        hashes.update(map(found.hash_func, map(" ".join, ngrams(words, N))))
    np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(Path(folder) / "all.index.hashes")
    found.load_index_hashes()
    return lambda text: found.filter(Document(text=text, id="0"))


def plain_filter(items: list[str]) -> Callable[[str], Any]:
    """The algorithm without the library."""
    split = re.compile(r"[^\W_]+")

    def hashes(text: str) -> list[bytes]:
        words = split.findall(text.lower())
        grams = (" ".join(words[i : i + N]).encode("utf-8", "replace") for i in range(len(words) - N + 1))
        return [hashlib.blake2b(gram, digest_size=8).digest() for gram in grams]

    index = {each for text in items for each in hashes(text)}
    return lambda text: next((False for each in hashes(text) if each in index), True)


def work(texts: list[str]) -> int:
    """How many texts the filter drops."""
    return sum(CHECK(text) is not True for text in texts)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    processes = int(sys.argv[2])
    try:
        CHECK, what = datatrove_filter(given["items"]), "datatrove's filter"
    except ImportError:
        CHECK, what = plain_filter(given["items"]), "a plain Python version of datatrove's filter"
    CHECK(given["texts"][0])  # loads what it loads when first called
    parts = [given["texts"][i::processes] for i in range(processes)]
    with get_context("fork").Pool(processes) as pool:
        pool.map(work, [part[:50] for part in parts])
        before = time.monotonic()
        dropped = sum(pool.map(work, parts))
        seconds = time.monotonic() - before
    rows = len(given["texts"])
    print(
        json.dumps(
            {
                "what": what,
                "processes": processes,
                "rows": rows,
                "dropped": dropped,
                "seconds": round(seconds, 2),
                "rows_per_second": round(rows / seconds),
            }
        )
    )
