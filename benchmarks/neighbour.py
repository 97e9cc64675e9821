"""What a busy neighbour costs: two OpenMP threads on two cores, one of which another program wants too.

    python benchmarks/neighbour.py [--seconds 4]

Ten pairs of layers (576 and 1,536 wide), forward only on 32 rows ("decode") and with gradients on 512 ("train"), with
the runtime's own waiting (spinning for about a millisecond), with ours (GOMP_SPINCOUNT=1000, as `bactrian` sets it) and
with one thread; each alone and beside a process that never rests on the last core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from duel import machine

WAYS = {"2 threads, spinning": ("2", None), "2 threads, ours": ("2", "1000"), "1 thread": ("1", None)}


def speed(rows: int, seconds: float, gradients: bool) -> float:
    """Passes a second."""
    import torch
    from torch import nn

    def pair() -> nn.Module:
        return nn.Sequential(nn.Linear(576, 1536), nn.GELU(), nn.Linear(1536, 576), nn.LayerNorm(576))

    network, x = nn.Sequential(*(pair() for _ in range(10))), torch.randn(rows, 576)
    began, passes = time.perf_counter(), 0
    with torch.set_grad_enabled(gradients):
        while time.perf_counter() - began < seconds:
            y = network(x)
            if gradients:
                y.sum().backward()
            passes += 1
    return passes / (time.perf_counter() - began)


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that never rests on the last core."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(busy.pid, {max(os.sched_getaffinity(0))})
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def measure(threads: str, spins: str | None, seconds: float) -> tuple[float, float]:
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_NUM_THREADS": threads} | ({"GOMP_SPINCOUNT": spins} if spins else {})
    command = [sys.executable, __file__, "--seconds", str(seconds), "--one"]
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return found["decode"], found["train"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.one:
        speed(32, 1, False)  # the first warms up
        print(json.dumps({"decode": speed(32, asked.seconds, False), "train": speed(512, asked.seconds, True)}))
        return
    print(machine())
    print(f"{'passes a second':>20} {'decode, alone':>14} {'beside busy':>12} {'train, alone':>13} {'beside busy':>12}")
    result = {}
    for name, (threads, spins) in WAYS.items():
        alone = measure(threads, spins, asked.seconds)
        with neighbour():
            beside = measure(threads, spins, asked.seconds)
        print(f"{name:>20} {alone[0]:>14.1f} {beside[0]:>12.1f} {alone[1]:>13.2f} {beside[1]:>12.2f}", flush=True)
        kinds = zip(("decode", "train"), alone, beside, strict=True)
        result[name] = {kind: {"alone": a, "beside": b} for kind, a, b in kinds}
    print(json.dumps({"benchmark": "neighbour", **result}))


if __name__ == "__main__":
    main()
