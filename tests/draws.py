"""Tests that try a few of many cases draw others in each run; the full grid is under `-m heavy`."""

import os
import secrets


def drawn_seed() -> int:
    """Another one in each test of each run, printed where a test fails; BACTRIAN_TEST_SEED=N draws the same again."""
    seed = int(os.environ.get("BACTRIAN_TEST_SEED") or secrets.randbelow(10**6))
    print(f"to draw the same again: BACTRIAN_TEST_SEED={seed}")
    return seed
