"""The kernels of a library compiled with sanitizers, each on arrays of exactly the size that its definition declares.

    python tests/model/sanitized.py LIBRARY SOURCE INCLUDED… [--only KERNEL]

Run by test_sanitized.py in a process of its own, into which the address sanitizer is loaded first: it sees every block
that numpy allocates. There is no torch here, which would make a minute of it.
"""

from __future__ import annotations

import argparse
import ctypes
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.model.signatures import VERSIONS, CSource, Parameter

THREADS = 2
NUMBERS: dict[str, tuple[float, ...]] = {
    "rows": (0, 1, 3, 37),
    "dim": (1, 7, 130),
    "size": (1, 255, 300, 1100),
    "kind": (0, 1),
    "offset": (1.0,),
    "epsilon": (1e-6,),
    "inverse": (1.5,),
    "cap": (0.0, 5.0),
    "scale": (0.5,),
    "kept": (0.9,),
    "rate": (0.01,),
    "first": (0.1,),
    "second": (0.05,),
    "root": (0.5,),
}
HEADS = ((9, 3, 64), (5, 5, 2), (7, 1, 66), (2, 1, 128), (2, 2, 256), (12, 2, 130))  # queries, keys, dim of each
NAN = {"T", "float", "double"}  # types in which something is no number, sometimes
ELEMENT = {"T": np.float32, "float": np.float32, "double": np.float64, "int64_t": np.int64}


class Caller:
    """Calls kernels by their declarations; whatever is not given is made up."""

    def __init__(self, source: CSource, library: Path):
        self.source, self.loaded = source, ctypes.CDLL(str(library.resolve()))
        self.random = np.random.default_rng(3)
        self.calls = 0

    def call(self, name: str, suffix: str, expected: str = "DONE", **given: Any) -> None:
        values: dict[str, Any] = {"threads": THREADS}
        passed: list[Any] = [THREADS]
        for each in self.source.kernels[name]:
            made = given.get(each.name)
            if each.count is not None and each.name not in given:
                made = self._array(each, values, suffix)
            values[each.name] = made
            passed.append(_passed(each, made))
        code = getattr(self.loaded, f"{name}_{suffix}")(*passed)
        codes = ("DONE", *self.source.faults)
        assert codes[code] == expected, f"{name}_{suffix} {values}: {codes[code]}"
        self.calls += 1

    def _array(self, each: Parameter, values: dict[str, Any], suffix: str) -> np.ndarray:
        """Of exactly so many elements; indices into what has `size` entries, where it is whole numbers."""
        count = sum(math.prod((factor, *(values[name] for name in names))) for factor, names in each.count or ())
        if each.type == "int64_t":
            return self.random.integers(0, values["size"], count)
        numbers = (4 * self.random.standard_normal(count)).astype(ELEMENT[each.type])
        if each.const and count > 5:
            numbers[self.random.integers(count, size=2)] = self.random.choice([np.nan, np.inf, -np.inf, 3e38], 2)
        return coded(numbers, suffix) if each.type == "T" else numbers


def _passed(each: Parameter, made: Any) -> Any:
    if each.count is not None:
        return ctypes.c_void_p(None if made is None else made.ctypes.data)
    return ctypes.c_int64(made) if each.type == "int64_t" else ctypes.c_float(made)


def coded(numbers: np.ndarray, suffix: str) -> np.ndarray:
    """Float32 as it is, or the upper half of each."""
    return (numbers.view(np.uint32) >> 16).astype(np.uint16) if suffix == "bf16" else numbers


def settings(parameters: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """All combinations of the numbers that a kernel takes."""
    names = [each.name for each in parameters if each.count is None and each.name != "stride"]
    for values in product(*(NUMBERS[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def drive(caller: Caller, name: str, suffix: str) -> None:
    parameters = caller.source.kernels[name]
    if name == "attend":
        return attend(caller, suffix)
    for given in settings(parameters):
        if any(each.name == "stride" for each in parameters):
            if not given["rows"]:
                continue  # less than no rows: not called
            given["stride"] = given["dim"] + 3
        caller.call(name, suffix, **given)
        if name == "score":
            caller.call(name, suffix, **given, entropies=None)
            for wrong in {-1, given["size"], 2**62} if given["rows"] else ():
                caller.call(name, suffix, "OUTSIDE", **given, targets=np.full(int(given["rows"]), wrong))
        if name == "score_backward":  # those of another slice of the vocabulary
            caller.call(name, suffix, **given, targets=caller.random.integers(-9, given["size"] + 9, given["rows"]))
        if name == "choose":
            caller.call(name, suffix, **given, inverse=np.zeros(given["rows"], np.float32))


def attend(caller: Caller, suffix: str) -> None:
    """Tokens that share a run and have one of their own, each of which fills its memory to the last number."""
    for (heads, kv_heads, dim), window in product(HEADS, (0, 4, 50)):
        lengths = (37, 1, 3, 20, 60)  # of the shared one first
        caches = [coded(np.ones((2, 2, kv_heads, length, dim), np.float32), suffix) for length in lengths]
        shared, *own = (_run(caller.source, cache) for cache in caches)
        runs = np.array([run for each in own for run in (shared, each)])
        tokens = np.array(
            [_token(caller.source, first=2 * at, runs=2, seen=37 + n) for at, n in enumerate(lengths[1:])]
        )
        given = {"tokens": 4, "held": 8, "heads": heads, "kv_heads": kv_heads, "dim": dim, "window": window}
        given |= {"layer": 1, "scale": 0.3, "token": tokens, "runs": runs}
        caller.call("attend", suffix, **given)
        refused = {"kv_heads": 2**40, "layer": -1, "window": -1}
        for field, value in refused.items():
            caller.call("attend", suffix, "UNFIT", **given | {field: value} | _nothing(caller.source))
        for field, value, fault in (("length", 2**50, "UNFIT"), ("length", -1, "UNFIT"), ("room", 2, "UNFIT")):
            wrong = runs.copy()
            wrong[:, caller.source.records["Run"].index(field)] = value
            caller.call("attend", suffix, fault, **given | {"runs": wrong})
        for field, value in (("first", -1), ("first", 7), ("first", 2**62), ("runs", 0), ("runs", 2**62), ("seen", 1)):
            wrong = tokens.copy()
            wrong[:, caller.source.records["Token"].index(field)] = value
            caller.call("attend", suffix, "UNFIT", **given | {"token": wrong})
        for much in (2**50, 2**62):  # no memory has as much
            wide = np.array([_run(caller.source, caches[1], length=much, room=much)])
            one = np.array([_token(caller.source, first=0, runs=1, seen=much)])
            caller.call("attend", suffix, "NO_MEMORY", **given | {"tokens": 1, "held": 1, "token": one, "runs": wide})


def _nothing(source: CSource) -> dict[str, Any]:
    return {each.name: np.empty(0) for each in source.kernels["attend"] if each.type in NAN and each.count is not None}


def _run(source: CSource, cache: np.ndarray, **more: int) -> list[int]:
    """A `Run` over all of a cache [layers, 2, heads, T, dim]."""
    layer, half, head, _, _ = cache.strides
    keys = cache.ctypes.data
    run = {"keys": keys, "values": keys + half, "layer": layer, "head": head // cache.itemsize}
    run |= {"length": cache.shape[3], "room": cache.shape[3], **more}
    return [run[field] for field in source.records["Run"]]


def _token(source: CSource, **values: int) -> list[int]:
    return [values[field] for field in source.records["Token"]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--only")
    given = parser.parse_args()
    caller = Caller(CSource.read(*given.sources), given.library)
    for name in [given.only] if given.only else caller.source.kernels:
        before = caller.calls
        for suffix in VERSIONS:
            drive(caller, name, suffix)
        print(name, caller.calls - before)
    print("unharmed")


if __name__ == "__main__":
    main()
