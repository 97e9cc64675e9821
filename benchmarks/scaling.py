"""Cost a token as the work grows: tokens in a step, and rows in the data.

    python benchmarks/scaling.py [--most-tokens 65536] [--most-rows 100000]

A small decoder (4 layers of 256, vocabulary 8,192, random weights, float32 masters, bfloat16) on rows of 20 to 512
tokens. Steps of 1k to 64k tokens, cut into micro-batches of 4,096: seconds a token. Data of 100 to 100k rows: seconds
until the first step, and seconds a token of a step of 8 rows. Each line in a process of its own, for its peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from tempfile import mkdtemp
from typing import Any

import numpy as np
from duel import machine, peak_gigabytes


def measure(rows: int, batch: int, folder: Path, threads: int) -> dict[str, float]:
    """Three steps of `batch` rows out of `rows`: seconds to the first, microseconds a token of the quickest other."""
    import torch

    from bactrian.chat import Rendered
    from bactrian.model.language_model import LanguageModel
    from bactrian.train.optimiser import MasterAdamW
    from bactrian.train.supervised import Supervised

    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(150), 0.8, rows), 20, 512).astype(int)
    data = [Rendered(random.integers(3, 8000, n).tolist(), [0.0] * (n // 2) + [1.0] * (n - n // 2)) for n in lengths]
    model = LanguageModel.load(folder, "bfloat16", masters=True)
    began = time.process_time()
    task = Supervised(model, data, batch_rows=batch, epochs=3 * batch / rows, seed=0, micro_tokens=4096)
    optimiser = MasterAdamW(model.network, masters=model.masters)
    per_token: list[float] = []
    first = 0.0
    for step in range(3):
        start = time.process_time()
        for update in task.updates(step):
            for share in update.micro_batches:
                share()[0].backward()  # type: ignore[no-untyped-call]
            optimiser.step(1e-5, 1.0)
            per_token.append((time.process_time() - start) / update.tokens)
            tokens = update.tokens
        first = first or start - began
    return {"tokens": tokens, "microseconds": 1e6 * min(per_token[1:]), "setup": first, "peak": peak_gigabytes()}


def small_model(folder: Path) -> None:
    from bactrian.model.blank import new_model, word_tokenizer

    words = ("".join(letters) for letters in islice(product(ascii_lowercase, repeat=3), 8192))
    tokenizer = word_tokenizer([" ".join(words)], 512)
    new_model(
        tokenizer,
        architecture="llama",
        hidden_size=256,
        layers=4,
        heads=4,
        intermediate_size=704,
        context=512,
        folder=folder,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--most-tokens", type=int, default=65_536)
    options.add_argument("--most-rows", type=int, default=100_000)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.one:
        rows, batch, folder = int(asked.one[0]), int(asked.one[1]), Path(asked.one[2])
        print(json.dumps(measure(rows, batch, folder, asked.threads)))
        return
    folder = Path(mkdtemp(prefix="bactrian-scaling-"))
    small_model(folder)
    result: dict[str, Any] = {"benchmark": "scaling"}
    print(f"{machine()}; {asked.threads} threads; processor time")
    print(f"{'rows':>8} {'rows a step':>11} {'tokens a step':>13} {'us/token':>9} {'setup s':>8} {'peak GiB':>9}")
    steps = [(1000, batch) for batch in (5, 20, 80, 320) if 200 * batch <= asked.most_tokens]
    data = [(rows, 8) for rows in (100, 1000, 10_000, 100_000) if rows <= asked.most_rows]
    for rows, batch in steps + data:
        one = ["--one", str(rows), str(batch), str(folder)]
        command = [sys.executable, __file__, "--threads", str(asked.threads), *one]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        print(
            f"{rows:>8} {batch:>11} {found['tokens']:>13.0f} {found['microseconds']:>9.1f} {found['setup']:>8.2f} "
            f"{found['peak']:>9.2f}",
            flush=True,
        )
        result[f"{rows} rows, {batch} a step"] = found
    print(json.dumps(result))


if __name__ == "__main__":
    main()
