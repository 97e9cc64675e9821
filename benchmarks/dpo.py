"""DPO: ours beside TRL's DPOTrainer, the reference's log-probabilities included.

    python benchmarks/dpo.py --peer-python /path/to/trl/bin/python [--runs 5]

Pairs of about 120 words of prompt and 60 words an answer (156 and 78 tokens, a fifth more or less), 4 pairs a step.
Ours computes the reference once, before training; that time is shared out over the steps. TRL computes it in each step,
as by default. Otherwise as in sft.py. Tokens are those
of prompt, chosen and rejected, the prompt counted once for both sides.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from duel import Side
from versus import HERE, arguments, assert_same, draw_ids, model_folder, race, report, write_work


def workload(steps: int, batch: int = 4, prompt: int = 156, answer: int = 78) -> dict[str, object]:
    random = np.random.default_rng(1)

    def draw(mean: int) -> list[int]:
        return draw_ids(random, int(mean * random.uniform(0.8, 1.2)))

    rows = [{"prompt": draw(prompt), "chosen": draw(answer), "rejected": draw(answer)} for _ in range(steps * batch)]
    return {"rows": rows, "batch": batch, "packed_batch": batch, "max_length": 1024, "beta": 0.1}


def main() -> None:
    asked = arguments(__doc__).parse_args()
    folder = model_folder(asked.model)
    apart = assert_same("dpo", folder, workload(1, 2, 40, 20), asked.peer_python, asked.threads)
    work = workload(asked.runs + 2)
    files = write_work(work, "dpo")
    rows = json.loads(files["peer"].read_text())["rows"]  # in the order in which both take them
    lengths = [sum(map(len, row.values())) for row in rows]
    tokens = [sum(lengths[at : at + 4]) for at in range(0, len(rows), 4)]
    with (
        Side(
            "ours",
            sys.executable,
            HERE / "training_ours.py",
            "dpo",
            str(folder),
            str(files["ours"]),
            "bfloat16",
            threads=asked.threads,
        ) as ours,
        Side(
            "trl",
            asked.peer_python,
            HERE / "training_trl.py",
            "dpo",
            str(folder),
            str(files["peer"]),
            "bfloat16",
            threads=asked.threads,
        ) as trl,
    ):
        found = race([ours, trl], asked.runs, tokens)
    # 6 + 2 (the reference) operations a weight and token; the head where a token is an answer's
    report("dpo", found, 8 * (106.2e6 + 0.5 * 28.3e6), asked.threads, apart)


if __name__ == "__main__":
    main()
