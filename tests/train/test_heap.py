"""Freed memory is given back once much of it lies unused; what is in use stays."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from bactrian.train.heap import Heap, resident
heap = Heap()
assert not heap.settle()
kept, holes = [], []
for i in range(100):
    holes.append(torch.ones(1 << 20))
    kept.append(torch.full((1 << 10,), float(i)))
full = resident()
del holes
held = resident()
assert heap.settle() and not heap.settle()
assert all(float(x.min()) == float(x.max()) == i for i, x in enumerate(kept))
print((full - held) >> 20, (held - resident()) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc's heap")
def test_a_heap_full_of_holes_is_given_back() -> None:
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456"}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"OMP_NUM_THREADS": "1", **keep}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    freed, given_back = map(int, output.split())  # MiB, of 400
    assert freed < 40 and given_back > 360
