"""No kernel leaves its arrays or does what C leaves undefined; and one that does is caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bactrian.generate import decode_kernels
from bactrian.model import fused, native
from bactrian.model.signatures import CSource
from tests.model import sanitized

CHECKS = "-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all"
OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
PLANTED = {  # kernel → what is right, what is wrong in its place, and what is said of that
    "norm_forward": ("scale[r] = s;", "scale[r + 1] = s;", "heap-buffer-overflow"),
    "score_backward": ("targets[r] < size;", "targets[r] <= size;", "heap-buffer-overflow"),
    "square_sum": (
        "(part + 1) / threads;\n        double",
        "(part + 1) / threads + (INT32_MAX + part == 7);\n        double",
        "signed integer overflow",
    ),
    "attend": ("(own->length - 1) * dim", "own->length * dim", "heap-buffer-overflow"),
}


def runtime() -> str | None:
    """The library that must be loaded first; None where the compiler has none."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return None
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    return found if Path(found).is_absolute() else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(runtime() is None, reason="no compiler with an address sanitizer here"),
]


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACTRIAN_CFLAGS", CHECKS)
    monkeypatch.setenv("BACTRIAN_CACHE", str(tmp_path))


def driven(library: Path, source: CSource, *more: str) -> subprocess.CompletedProcess[str]:
    preload = runtime()
    assert preload is not None
    root = Path(native.__file__).parents[2]
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": preload, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, sanitized.__file__, str(library), *map(str, source.files), *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize("source", [decode_kernels.SOURCE, fused.SOURCE], ids=["decode", "layers"])
def test_the_kernels_keep_to_their_arrays(source: CSource) -> None:
    done = driven(native._compiled(source), source)
    assert done.returncode == 0 and done.stdout.endswith("unharmed\n"), done.stdout + done.stderr[-4000:]
    calls = {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines()[:-1])}
    assert calls.keys() == source.kernels.keys() and min(calls.values()) >= 8


@pytest.mark.parametrize("source", [decode_kernels.SOURCE, fused.SOURCE], ids=["decode", "layers"])
def test_planted_mistakes_are_caught(source: CSource, tmp_path: Path) -> None:
    """One copy with all of them, and each kernel called alone."""
    copies = [Path(shutil.copy(file, tmp_path)) for file in source.files]
    typed = copies[1]
    planted = {name: wrong for name, wrong in PLANTED.items() if name in source.kernels}
    for sound, unsound, _ in planted.values():
        text = typed.read_text()
        assert text.count(sound) == 1
        typed.write_text(text.replace(sound, unsound))
    unsound_source = CSource.read(*copies)
    library = native._compiled(unsound_source)
    assert planted
    for name, (_, _, said) in planted.items():
        done = driven(library, unsound_source, "--only", name)
        assert done.returncode != 0 and said in done.stderr, (name, done.stderr[-4000:])
        assert "unharmed" not in done.stdout
    sound_name = next(name for name in source.kernels if name not in planted)
    assert driven(library, unsound_source, "--only", sound_name).stdout.endswith("unharmed\n")
