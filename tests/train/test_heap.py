"""Freed memory is given back once much of it lies unused; what is in use stays."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc's heap")

# imports once, then a fork for each program: its heap is then as imports left it
FORKS = """
import os
import sys
import torch
import bactrian.train.heap
for program in sys.argv[1:]:
    if os.fork() == 0:
        exec(program)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0
"""

HOLES = """
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

ENDED = """
import torch
from bactrian.train.heap import give_back, resident
class Model: pass
model, pins = Model(), []
model.itself = model  # only a collection finds it
model.weights = []
for i in range(100):
    model.weights.append(torch.ones(1 << 20))
    pins.append(torch.ones(1 << 10))
full = resident()
del model
give_back()
print((full - resident()) >> 20)
"""

SWING = """
import torch
from bactrian.train.heap import Heap
heap = Heap()
trimmed = []
for i in range(12):  # steps that need now less, now more, and give all of it back
    for part in range(4):
        x = [torch.ones(1 << 20) for _ in range(20 + 60 * (i % 2))]
        del x
    trimmed.append(heap.settle())
print(sum(trimmed))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What each program printed, with the allocator's settings of the command line."""
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456"}
    programs = (HOLES, ENDED, SWING)
    done = subprocess.run(
        [sys.executable, "-c", FORKS, *programs],
        env={"OMP_NUM_THREADS": "1", **keep},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(programs, done.stdout.splitlines(), strict=True))


def test_a_heap_full_of_holes_is_given_back(said: dict[str, str]) -> None:
    freed, given_back = map(int, said[HOLES].split())  # MiB, of 400
    assert freed < 40 and given_back > 360


def test_what_an_ended_step_needed_is_given_back(said: dict[str, str]) -> None:
    assert int(said[ENDED]) > 360  # MiB, of 400


def test_steps_of_different_sizes_do_not_lose_their_pages_each_time(said: dict[str, str]) -> None:
    assert int(said[SWING]) <= 2  # in each second step before: what was left after the last time was the measure
