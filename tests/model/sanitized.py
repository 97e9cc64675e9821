"""Kernels under the compiler's sanitizers: an access outside a tensor's memory, or what C leaves undefined, is fatal.

Run by test_sanitized.py in a process of its own, into which the address sanitizer is loaded first: it sees every block
that torch and numpy allocate.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKS = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"


def runtime() -> str | None:
    """The library that must be loaded first; None where the compiler has none."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    return found if Path(found).is_absolute() else None


def run(arguments: list[str], cache: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, on kernels compiled with the checks."""
    preload = runtime()
    assert preload is not None
    environment = {
        **os.environ,
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "BACTRIAN_CFLAGS": CHECKS,
        "BACTRIAN_CACHE": str(cache),
        "OMP_NUM_THREADS": "2",
        **more,
    }
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=900)
