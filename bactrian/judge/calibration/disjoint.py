"""Demonstrations come from prompts that are neither calibrated on nor judged: else a judge is shown its own exam.

The code released with Trust or Escalate draws its demonstrations from the items that it then calibrates and tests on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from bactrian.errors import BactrianError
from bactrian.judge.opinions import AnswerPair

SHOWN = 3


def check_disjoint(pool: Sequence[AnswerPair], items: Sequence[AnswerPair], where: str = "calibration items") -> None:
    """No demonstration's prompt is an item's, in whatever letter case and with whatever spaces; answers do not matter.

    Args:
        pool: pairs to demonstrate with. items: pairs to calibrate on, to test or to judge. where: the name of these.

    Raises:
        BactrianError: prompts in both; names the first pairs.
    """
    owners = {prompt_digest(item): item.id for item in items}
    both = [(pair.id, owners[digest]) for pair in pool if (digest := prompt_digest(pair)) in owners]
    if both:
        named = "; ".join(f"{demonstration} is the prompt of {item}" for demonstration, item in both[:SHOWN])
        more = f"; and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
        raise BactrianError(
            f"demonstrations: found {len(both)} of {len(pool)} whose prompts are among the {where} ({named}{more}), "
            f"expected none: take the demonstrations from other prompts"
        )


def prompt_digest(pair: AnswerPair) -> str:
    """SHA-256 of a pair's prompt, letters in lower case and runs of white space as one space."""
    turns = [[turn["role"], " ".join(str(turn["content"]).lower().split())] for turn in pair.prompt]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()
