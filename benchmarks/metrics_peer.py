"""The side of metrics.py that is lm-evaluation-harness: cases on standard input, values on the last line."""

from __future__ import annotations

import json
import sys

import numpy as np
from lm_eval.tasks.drop.utils import get_metrics
from lm_eval.tasks.qasper.metrics import f1_abstractive
from lm_eval.tasks.truthfulqa.utils import process_results_mc2


def mc2(lls: list[float], right: list[int]) -> float:
    labels = [int(number in right) for number in range(len(lls))]
    return float(process_results_mc2({"mc2_targets": {"labels": labels}}, [(ll, False) for ll in lls])["acc"])


def estimator(n: int, c: int, k: int) -> float:
    """As printed in the paper (Chen et al. 2021)."""
    return 1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def main() -> None:
    cases = json.load(sys.stdin)
    found = {
        "squad": [float(f1_abstractive([case[0]], [case[1]])) for case in cases["squad"]],
        "drop": [float(get_metrics(tuple(given), tuple(gold))[1]) for given, gold, _ in cases["drop"]],
        "mc2": [mc2(*case) for case in cases["mc2"]],
        "pass_at_k": [estimator(*case) for case in cases["pass_at_k"]],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
