"""SFT: ours beside TRL's SFTTrainer, padded and packed.

    python benchmarks/sft.py --peer-python /path/to/trl/bin/python [--runs 5]

Rows of at most 512 tokens with skewed lengths (log-normal, median 150), of which the last 60 % are trained; 8 rows a
step (TRL packed: 4 rows of 512, its "bfd" packing). bfloat16 with float32 masters (TRL: autocast), AdamW, the same
malloc settings, each side in its own process, steps taken in turns, real tokens a second. TRL's gradient checkpointing
is off; its entropy and accuracy come with its loss and cannot be turned off.
"""

from __future__ import annotations

import sys

import numpy as np
from duel import Side
from versus import HERE, arguments, assert_same, draw_ids, model_folder, race, report, write_work

LONGEST = 512


def workload(steps: int, batch: int = 8, longest: int = LONGEST, seed: int = 0) -> dict[str, object]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(steps * batch):
        length = int(np.clip(random.lognormal(np.log(150), 0.8), 20, longest))
        prompt = int(0.4 * length)
        rows.append({"ids": draw_ids(random, length), "trained": [0] * prompt + [1] * (length - prompt)})
    return {"rows": rows, "batch": batch, "packed_batch": 4, "max_length": longest}


def main() -> None:
    asked = arguments(__doc__).parse_args()
    folder = model_folder(asked.model)
    apart = assert_same("sft", folder, workload(1, batch=3, longest=100), asked.peer_python, asked.threads)
    files = write_work(workload(2 * (asked.runs + 2)), "sft")
    trl = [asked.peer_python, HERE / "training_trl.py", "sft", str(folder), str(files["peer"]), "bfloat16"]
    mine = [sys.executable, HERE / "training_ours.py", "sft", str(folder), str(files["ours"]), "bfloat16"]
    found: dict[str, dict[str, float]] = {}
    for name, more in (("trl padded", []), ("trl packed", ["--packed"])):  # two at a time, for memory's sake
        with Side("ours", *mine, threads=asked.threads) as ours, Side(name, *trl, *more, threads=asked.threads) as peer:
            found |= {**race([ours, peer], asked.runs), **found}
    # 6 operations a weight and token: all layers, and the head (28.3 M) where a token is trained
    report("sft", found, 6 * (106.2e6 + 0.6 * 28.3e6), asked.threads, apart)


if __name__ == "__main__":
    main()
