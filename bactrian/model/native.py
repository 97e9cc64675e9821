"""C of our own, compiled once for this machine's processor, kept, and loaded.

Without a C compiler there is none of it, and what would use it takes torch's own operations.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from bactrian.model.embedded import cache_folder

# sums may be vectorised (their order is then the compiler's, always the same one), but what is not a number stays one
# not -ffast-math, of which these are the parts wanted: linked with it, a library that is merely loaded turns off
# subnormal numbers for the whole thread, and what is computed would depend on whether something was sampled before
REORDERED = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-freciprocal-math", "-fno-math-errno")
FLAGS = ("-O3", "-march=native", *REORDERED, "-fopenmp", "-fPIC", "-shared", "-std=gnu11")
WIDE = "-mprefer-vector-width=512"  # gcc's for x86 only; 256 bits otherwise
SUFFIX = {torch.bfloat16: "bf16", torch.float32: "f32"}
NUMBERS = Path(__file__).with_name("numbers.h")
"""What all sources include: loading, storing and exp."""


@functools.cache
def library(source: Path, *included: Path) -> ctypes.CDLL | None:
    """The functions of a C file; None where no compiler can make them or BACTRIAN_NATIVE is 0.

    Args:
        included: files of ours that it includes; a change in one makes a new library.
    """
    if os.environ.get("BACTRIAN_NATIVE") == "0":
        return None
    try:
        return ctypes.CDLL(str(_compiled(source, (NUMBERS, *included))))
    except (OSError, subprocess.CalledProcessError):
        return None


def address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _compiled(source: Path, included: tuple[Path, ...]) -> Path:
    """The shared library for this source, compiler flags and processor.

    Raises:
        OSError: no compiler, or the library cannot be written. CalledProcessError: it does not compile.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("no C compiler")
    flags = (*FLAGS, WIDE) if platform.machine() == "x86_64" else FLAGS
    text = b"".join(file.read_bytes() for file in (source, *included)) + repr((flags, _processor())).encode()
    path = cache_folder() / "native" / f"{source.stem}-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler, *flags, f"-I{NUMBERS.parent}", "-o", str(made), str(source), "-lm"]
            subprocess.run(command, check=True, capture_output=True)
            made.rename(path)  # at once: another process may be doing the same
    return path


def _processor() -> str:
    """What the code may use: the processor's features, as Linux names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
