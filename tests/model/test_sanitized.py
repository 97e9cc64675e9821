"""No kernel leaves its arrays or does what C leaves undefined; and a kernel that does is caught."""

import shutil
from pathlib import Path

import pytest

from bactrian.model.native import NUMBERS
from tests.model.sanitized import run, runtime

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(runtime() is None, reason="no compiler with an address sanitizer here"),
]
KERNEL_TESTS = ["tests/generate/test_native.py", "tests/model/test_fused.py", "tests/model/test_kernel_sizes.py"]
PROGRAM = """
import sys, torch
from pathlib import Path
from bactrian.model.native import NUMBERS, library
from bactrian.model.signatures import Source
folder = Path(sys.argv[1])
kernels = library(Source.read(folder / "layers.c", folder / "layers_typed.h", NUMBERS))
x, weight = torch.ones(3, 40), torch.ones(40)
kernels["norm_forward"](3, 40, x, weight, 0.0, 1e-5, torch.empty_like(x), torch.empty(3))
print("unharmed")
"""


def test_the_kernels_keep_to_their_arrays(tmp_path: Path) -> None:
    done = run(["-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not slow", *KERNEL_TESTS], tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout


@pytest.mark.parametrize(
    ("sound", "unsound", "said"),
    [
        ("float sum = 0;", "float sum = o[rows * dim];", "heap-buffer-overflow"),
        ("scale[r] = s;", "scale[r] = s; scale[r + 1] = s;", "heap-buffer-overflow"),
        ("scale[r] = s;", "scale[r] = s; if ((int32_t)dim << 30 == 7) scale[r] = 0;", "runtime error: left shift"),
        ("", "", ""),
    ],
    ids=["read", "written", "undefined", "nothing"],
)
def test_a_planted_mistake_is_caught(tmp_path: Path, sound: str, unsound: str, said: str) -> None:
    for name in ("layers.c", "layers_typed.h"):
        shutil.copy(NUMBERS.with_name(name), tmp_path)
    typed = tmp_path / "layers_typed.h"
    text = typed.read_text()
    assert sound in text
    typed.write_text(text.replace(sound, unsound, 1))
    done = run(["-c", PROGRAM, str(tmp_path)], tmp_path)
    assert (done.stdout == "unharmed\n") == (not said), done.stderr
    assert said in done.stderr and (done.returncode != 0) == bool(said)
