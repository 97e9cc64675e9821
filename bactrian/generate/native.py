"""The kernels of decode.c: compiled once for this machine's processor, kept, and loaded.

Without a C compiler, or on another device than a CPU, there are none, and decoding takes torch's own operations.
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

SOURCES = ("decode.c", "decode_typed.h")
# sums may be vectorised (their order is then the compiler's, always the same one), but what is not a number stays one
# not -ffast-math, of which these are the parts wanted: linked with it, a library that is merely loaded turns off
# subnormal numbers for the whole thread, and what is computed would depend on whether something was sampled before
REORDERED = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-freciprocal-math", "-fno-math-errno")
FLAGS = ("-O3", "-march=native", *REORDERED, "-fopenmp", "-fPIC", "-shared", "-std=gnu11")
WIDE = "-mprefer-vector-width=512"  # gcc's for x86 only; 256 bits otherwise
SUFFIX = {torch.bfloat16: "bf16", torch.float32: "f32"}


class Kernels:
    """The compiled functions, taking tensors."""

    def __init__(self, library: ctypes.CDLL):
        self.library = library

    def attend(
        self,
        qkv: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        tokens: torch.Tensor,
        runs: torch.Tensor,
        out: torch.Tensor,
        *,
        heads: tuple[int, int, int],
        layer: int,
        scale: float,
        window: int,
        longest: int,
    ) -> None:
        """One layer's attention: writes each token's key and value into the last of its runs, then attends.

        Args:
            qkv: [N, (Hq + 2 Hkv) D], not rotated, of the cache's dtype.
            rotation: cos and sin, float32 [N, D].
            tokens: int64 [N, 3], `Token` of decode.c. runs: int64 [R, 5], `Run` of decode.c.
            out: [N, Hq D].
            heads: Hq, Hkv, D.
            window: keys that far back are not seen; 0: all are.
            longest: the largest number of tokens that a token sees.
        """
        cos, sin = rotation
        assert all(x.is_contiguous() for x in (qkv, cos, sin, tokens, runs, out))
        getattr(self.library, f"attend_{SUFFIX[qkv.dtype]}")(
            torch.get_num_threads(), qkv.shape[0], *heads, _address(qkv), _address(cos), _address(sin),
            _address(tokens), _address(runs), ctypes.c_int64(layer), ctypes.c_float(scale), ctypes.c_int64(window),
            ctypes.c_int64(longest), _address(out),
        )  # fmt: skip

    def norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """x / rms(x) times a weight (float32 [D]) by row: x [N, D], whose rows may lie apart."""
        rows, dim = x.shape
        assert x.stride(1) == 1 and weight.shape == (dim,)
        out = x.new_empty(rows, dim)
        getattr(self.library, f"norm_{SUFFIX[x.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(dim), ctypes.c_int64(x.stride(0)),
            _address(x), _address(weight), ctypes.c_float(epsilon), _address(out),
        )  # fmt: skip
        return out

    def gate(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        """act(gate) times up: x [N, 2 F], gate before up → [N, F]. kind: 0 for silu, 1 for gelu by its tanh formula."""
        rows, dim = len(x), x.shape[1] // 2
        assert x.is_contiguous()
        out = x.new_empty(rows, dim)
        getattr(self.library, f"gate_{SUFFIX[x.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(dim), kind, _address(x), _address(out)
        )
        return out

    def choose(
        self, logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`sampling.choose` without top-p and top-k; not finite log-probabilities where logits are not finite."""
        rows, size = logits.shape
        tokens, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        inverse = torch.where(temperature == 0, 0.0, 1 / temperature)
        logits, uniforms = logits.contiguous(), uniforms.contiguous()
        getattr(self.library, f"choose_{SUFFIX[logits.dtype]}")(
            torch.get_num_threads(), ctypes.c_int64(rows), ctypes.c_int64(size), _address(logits), _address(inverse),
            _address(uniforms), _address(tokens), _address(logprobs),
        )  # fmt: skip
        return tokens, logprobs


@functools.cache
def kernels() -> Kernels | None:
    """The kernels, compiled now if need be; None where no compiler can make them or BACTRIAN_NATIVE is 0."""
    if os.environ.get("BACTRIAN_NATIVE") == "0":
        return None
    try:
        return Kernels(ctypes.CDLL(str(_library())))
    except (OSError, subprocess.CalledProcessError):
        return None


def _library() -> Path:
    """The shared library for this source, compiler flags and processor.

    Raises:
        OSError: no compiler, or the library cannot be written. CalledProcessError: it does not compile.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("no C compiler")
    here = Path(__file__).parent
    flags = (*FLAGS, WIDE) if platform.machine() == "x86_64" else FLAGS
    text = b"".join((here / name).read_bytes() for name in SOURCES) + repr((flags, _processor())).encode()
    path = cache_folder() / "native" / f"decode-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler, *flags, "-o", str(made), str(here / SOURCES[0]), "-lm"]
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


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
