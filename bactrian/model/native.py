"""C of our own, compiled once for this machine's processor, kept, and loaded as functions that take tensors.

Without a C compiler there is none of it, and what would use it takes torch's own operations. A kernel's signature
stands in its definition in C and nowhere else (`signatures`): a call that does not fit raises before C runs.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from bactrian.model.signatures import CSource
from bactrian.progress import say
from bactrian.store.cache import cache_folder

# sums may be vectorised (their order is then the compiler's, always the same one), but what is not a number stays one
# not -ffast-math, of which these are the parts wanted: linked with it, a library that is merely loaded turns off
# subnormal numbers for the whole thread, and what is computed would depend on whether something was sampled before
REORDERED = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-freciprocal-math", "-fno-math-errno")
FLAGS = ("-O3", "-march=native", *REORDERED, "-fopenmp", "-fPIC", "-shared", "-std=gnu11", "-Werror=return-type")
WIDE = "-mprefer-vector-width=512"  # x86 only; 256 bits otherwise
SUFFIX = {torch.bfloat16: "bf16", torch.float32: "f32"}
NUMBERS = Path(__file__).with_name("numbers.h")
"""What all sources include: loading, storing and exp, scratch memory, and what a kernel returns."""

DTYPES = {"float": torch.float32, "double": torch.float64, "int64_t": torch.int64}
REMEMBERED = 512  # combinations of sizes
PASSED = {"int64_t": ctypes.c_int64, "float": ctypes.c_float}
FAULTS = {
    "NO_MEMORY": (MemoryError, "no memory for its scratch"),
    "OUTSIDE": (IndexError, "an index points outside what it indexes"),
    "UNFIT": (ValueError, "sizes that do not fit together"),
}


@dataclass(frozen=True, eq=False)
class _Version:
    """A kernel for one type. kinds: of its arrays. known: the arrays by sizes, the same in layer after layer."""

    function: Any
    kinds: tuple[torch.dtype, ...]
    known: dict[tuple[int, ...], list[tuple[int, torch.dtype, int]]] = field(default_factory=dict)


class Kernel:
    """A function of a C file, called with its arguments after the number of threads, in C's order.

    T in the C code is the type of the tensors that it is called with.

    Before C runs, every tensor is seen to be on a CPU, of the type and the number of elements that C declares, and
    without gaps; a matrix whose rows lie apart, to reach from its first to its last number as far as C declares.
    """

    def __init__(self, loaded: ctypes.CDLL, source: CSource, name: str):
        self.name = f"{source.file.name}: {name}"
        self.parameters = source.kernels[name]
        self.faults = [FAULTS[fault] for fault in source.faults]
        places = {"threads": 0} | {each.name: place for place, each in enumerate(self.parameters, 1)}
        self.arrays = [(places[each.name], each) for each in self.parameters if each.count is not None]
        used = {size for _, each in self.arrays for _, sizes in each.count or () for size in sizes}
        self.sizes = [name for name in places if name in used]
        self.pick = itemgetter(*(places[size] for size in self.sizes), 0)  # a tuple, even of one size
        self.fields = {record: len(fields) for record, fields in source.records.items()}
        self.typed = next(place for place, each in self.arrays if each.type == "T")
        self.versions = {dtype: self._version(getattr(loaded, f"{name}_{s}"), dtype) for dtype, s in SUFFIX.items()}

    def _version(self, function: Any, dtype: torch.dtype) -> _Version:
        """One version with C's types set; a record is a row of int64."""
        function.restype = ctypes.c_int
        types = (PASSED[each.type] if each.count is None else ctypes.c_void_p for each in self.parameters)
        function.argtypes = (ctypes.c_int, *types)
        known = {**DTYPES, **dict.fromkeys(self.fields, torch.int64)}
        return _Version(function, tuple(known.get(each.type, dtype) for _, each in self.arrays))

    def __call__(self, *given: Any) -> None:
        """
        Raises:
            TypeError, ValueError: arguments that are not what the definition declares; C was not called.
            MemoryError: no room for scratch. IndexError, ValueError: what C itself refuses; nothing was computed.
        """
        if len(given) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(given)} arguments; expected {self._names()}")
        passed: list[Any] = [torch.get_num_threads(), *given]  # from here on a small model's step feels every line
        try:
            version = self.versions[passed[self.typed].dtype]
        except (KeyError, AttributeError):
            raise self._untyped(passed[self.typed]) from None
        sizes = self.pick(passed)
        for place, kind, count in version.known.get(sizes) or self._arrays(version, sizes):
            x = passed[place]
            try:
                if not (x.dtype is kind and x.is_cpu and x.numel() == count and x.is_contiguous()):
                    self._check_apart(place, x, kind, count)
                passed[place] = x.data_ptr()
            except AttributeError:
                self._check_nothing(place, x, kind)
        try:
            code = version.function(*passed)
        except ctypes.ArgumentError as error:
            raise TypeError(f"{self.name}: {error}; expected {self._names()}") from None
        if code:
            wrong, what = self.faults[code - 1]
            raise wrong(f"{self.name}: {what}")

    def _arrays(self, version: _Version, given: tuple[int, ...]) -> list[tuple[int, torch.dtype, int]]:
        """Where each array stands, its type, and how many numbers it holds, given the sizes."""
        sizes = dict(zip(self.sizes, given, strict=False))
        for name, size in sizes.items():
            if type(size) is not int or size < 0:
                raise TypeError(f"{self.name}: {name} is {size!r}; expected a size")
        found = []
        for (place, each), kind in zip(self.arrays, version.kinds, strict=True):
            count = sum(math.prod((factor, *(sizes[name] for name in names))) for factor, names in each.count or ())
            found.append((place, kind, count * self.fields.get(each.type, 1)))
        if len(version.known) >= REMEMBERED:
            version.known.clear()
        version.known[given] = found
        return found

    def _names(self) -> str:
        return ", ".join(each.name for each in self.parameters)

    def _untyped(self, x: Any) -> TypeError:
        found = getattr(x, "dtype", type(x).__name__)
        return TypeError(f"{self.name}: numbers of {found}; expected {' or '.join(map(str, SUFFIX))}")

    def _check_nothing(self, place: int, x: Any, dtype: torch.dtype) -> None:
        """What is no tensor is passed where it is None and C takes NULL."""
        each = self.parameters[place - 1]
        if x is not None or not each.nullable:
            raise TypeError(f"{self.name}: {each.name} is {x!r}; expected a tensor of {dtype}")

    def _check_apart(self, place: int, x: Any, dtype: torch.dtype, count: int) -> None:
        """A matrix whose rows lie apart is passed where it reaches as far as C declares."""
        name = self.parameters[place - 1].name
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{self.name}: {name} is of {type(x).__name__}; expected a tensor of {dtype}")
        right = x.dtype is dtype and x.is_cpu
        if right and x.ndim == 2 and x.stride(1) == 1 and (x.shape[0] - 1) * x.stride(0) + x.shape[1] == count:
            return
        found = f"{x.dtype} {list(x.shape)} with strides {list(x.stride())} on {x.device}"
        wrong = ValueError if right else TypeError
        raise wrong(f"{self.name}: {name} is {found}; expected {count} of {dtype} side by side on a CPU")


@functools.cache
def library(source: CSource) -> dict[str, Kernel] | None:
    """The kernels of a C file by name; None, and a line that says why, where there are none.

    None without a line where BACTRIAN_NATIVE is 0.
    """
    if os.environ.get("BACTRIAN_NATIVE") == "0":
        return None
    try:
        loaded = ctypes.CDLL(str(_compiled(source)))
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
        lines = [line for line in said.splitlines() if "error" in line] or said.splitlines() or [str(error)]
        say(f"{source.file.name} is not compiled, torch's own operations take its place, more slowly: {lines[0]}")
        return None
    return {name: Kernel(loaded, source, name) for name in source.kernels}


def _compiled(source: CSource) -> Path:
    """The shared library for this source, compiler flags and processor; one that is not what was written is made anew.

    Its name ends in a hash of itself: a file cut short would crash whoever loads it.

    Raises:
        OSError: no compiler, or the library cannot be written. CalledProcessError: it does not compile.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("no C compiler (cc, gcc, clang) on this machine")
    more = os.environ.get("BACTRIAN_CFLAGS", "").split()  # what the tests look for mistakes with
    flags = (*FLAGS, *([WIDE] if platform.machine() == "x86_64" else []), *more)
    text = b"".join(file.read_bytes() for file in (*source.files, NUMBERS)) + repr((flags, _processor())).encode()
    folder, name = cache_folder() / "native", f"{source.file.stem}-{hashlib.sha256(text).hexdigest()[:16]}"
    kept = (path for path in sorted(folder.glob(f"{name}-*.so")) if path.stem == f"{name}-{_digest(path)}")
    return next(kept, None) or _compile(source, [compiler, *flags], folder, name)


def _compile(source: CSource, command: Sequence[str], folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as building:
        made = Path(building) / "made.so"
        unit = f'#include "{source.file}"\n{source.prototypes()}'
        given = ["-x", "c", "-", f"-I{NUMBERS.parent}", "-o", str(made), "-lm"]
        subprocess.run([*command, *given], check=True, capture_output=True, input=unit.encode())
        path = folder / f"{name}-{_digest(made)}.so"
        made.rename(path)  # at once: another process may be doing the same
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _processor() -> str:
    """What the code may use: the processor's features, as Linux names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
