"""Compiling: where it cannot be done there are no kernels and a line that says why; what is kept is whole."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bactrian.generate.decode_kernels import kernels
from bactrian.model.native import NUMBERS, library
from bactrian.model.signatures import CSource

pytestmark = pytest.mark.skipif(kernels() is None, reason="no C compiler here")
TYPED = """
int NAME(doubled)(int threads, int64_t rows, const T x[rows], T out[rows])
{
    float *room = scratch(threads, rows, rows, &(int64_t){0});
    if (!room) return NO_MEMORY;
    for (int64_t r = 0; r < rows; r++) out[r] = STORE(2 * LOAD(x[r]));
    free(room);
    return DONE;
}
"""
VERSION = """
#define T {type}
#define LOAD load_{suffix}
#define STORE store_{suffix}
#define NAME(x) x##_{suffix}
#include "tiny_typed.h"
#undef T
#undef LOAD
#undef STORE
#undef NAME
"""
PROGRAM = """
import os, sys, torch
from pathlib import Path
from bactrian.model.native import NUMBERS, library
from bactrian.model.signatures import CSource

def call(file):
    kernels = library(CSource.read(file, file.with_name("tiny_typed.h"), NUMBERS))
    out = torch.empty(3)
    kernels["doubled"](3, torch.ones(3), out)
    os.write(1, f"{out.tolist()}\\n".encode())  # whole, whoever else writes

for line in sys.stdin:
    processes, cache, file = line.rstrip("\\n").split("\\t")
    os.environ.update(BACTRIAN_CACHE=cache, BACTRIAN_CFLAGS="-O0")
    for _ in range(int(processes)):
        if os.fork() == 0:
            call(Path(file))
            os._exit(0)
    ended = [os.wait()[1] for _ in range(int(processes))]
    print("ended", *ended, flush=True)
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[[Path, int], list[str]]]:
    """What so many processes at once say, none of them ours, where what is loaded once stays loaded.

    They are forks of one that has imported everything, and loaded nothing.
    """
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def asked(file: Path, processes: int) -> list[str]:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{processes}\t{file.parent / 'cache'}\t{file}\n")
            process.stdin.flush()
            said = [process.stdout.readline()]
            while said[-1] and not said[-1].startswith("ended"):
                said.append(process.stdout.readline())
            return said

        yield asked


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A C file with one kernel, and an empty cache."""
    file = tmp_path / "tiny.c"
    versions = (VERSION.format(type=kind, suffix=suffix) for kind, suffix in (("uint16_t", "bf16"), ("float", "f32")))
    file.write_text('#include "numbers.h"\n' + "".join(versions))
    (tmp_path / "tiny_typed.h").write_text(TYPED)
    monkeypatch.setenv("BACTRIAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACTRIAN_CFLAGS", "-O0")
    return file


def read(file: Path) -> CSource:
    return CSource.read(file, file.with_name("tiny_typed.h"), NUMBERS)


def kept(file: Path) -> list[Path]:
    return sorted((file.parent / "cache" / "native").iterdir())


def assert_works(file: Path) -> None:
    found = library(read(file))
    assert found is not None
    for dtype in (torch.float32, torch.bfloat16):
        out = torch.empty(3, dtype=dtype)
        found["doubled"](3, torch.tensor([1, 2, 3], dtype=dtype), out)
        assert out.tolist() == [2, 4, 6]


def test_what_was_compiled_is_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_works(tiny)
    (path,) = kept(tiny)
    written = path.stat().st_mtime_ns
    assert_works(tiny)
    assert kept(tiny) == [path] and path.stat().st_mtime_ns == written
    monkeypatch.setenv("BACTRIAN_CFLAGS", "-O1")
    assert_works(tiny)
    assert len(kept(tiny)) == 2


def test_without_a_compiler(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tiny.parent))
    assert library(read(tiny)) is None
    assert "tiny.c is not compiled" in (said := capsys.readouterr().err) and "no C compiler" in said


def test_turned_off_without_a_word(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACTRIAN_NATIVE", "0")
    assert library(read(tiny)) is None and not capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["does not parse", "other flags", "another prototype"])
def test_what_does_not_compile(
    tiny: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = read(tiny)
    typed = tiny.with_name("tiny_typed.h")
    if wrong == "does not parse":
        typed.write_text(TYPED.replace("return DONE;", "return DONE"))
    elif wrong == "other flags":
        monkeypatch.setenv("BACTRIAN_CFLAGS", "-fno-such-flag")
    else:  # the compiler does not read what was read
        typed.write_text(TYPED.replace("int64_t rows", "int32_t rows"))
    assert library(source) is None
    assert "tiny.c is not compiled" in (said := capsys.readouterr().err) and "error" in said
    assert kept(tiny) == []


def test_a_cache_that_cannot_be_written(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.with_name("cache").write_text("a file where the folder should be")
    assert library(read(tiny)) is None
    assert "tiny.c is not compiled" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 1000])
def test_a_library_cut_short_is_made_anew(tiny: Path, size: int, elsewhere: Callable[[Path, int], list[str]]) -> None:
    assert elsewhere(tiny, 1) == said_by(1)
    (path,) = kept(tiny)
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    assert_works(tiny)
    assert kept(tiny) == [path] and len(path.read_bytes()) == len(whole)


def said_by(processes: int) -> list[str]:
    return ["[2.0, 2.0, 2.0]\n"] * processes + ["ended" + " 0" * processes + "\n"]


def test_several_processes_at_once(tiny: Path, elsewhere: Callable[[Path, int], list[str]]) -> None:
    assert elsewhere(tiny, 3) == said_by(3)
    (path,) = kept(tiny)
    assert path.suffix == ".so"


@pytest.mark.parametrize("rows", [2**25, 2**40])
def test_memory_that_cannot_be_had(tiny: Path, rows: int) -> None:
    """Scratch of rows x rows floats: four petabytes, and more than can be counted. No array is read before."""
    found = library(read(tiny))
    assert found is not None
    version = found["doubled"].versions[torch.float32]
    assert version.function(2, rows, None, None) == read(tiny).faults.index("NO_MEMORY") + 1
