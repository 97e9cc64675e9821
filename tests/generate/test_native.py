"""The compiled kernels leave the arithmetic of the process as it was."""

import subprocess
import sys

import pytest

from bactrian.generate.native import kernels

PROGRAM = """
from bactrian.generate.native import kernels
import numpy as np, torch
assert kernels() is not None
tiny = 5e-324
assert tiny / 1 > 0 and float(np.float32(1e-45)) > 0 and float(torch.tensor(1e-40) * 0.5) > 0
print("kept")
"""


@pytest.mark.skipif(kernels() is None, reason="no C compiler here")
def test_loading_them_keeps_subnormal_numbers() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "kept\n", done.stderr
