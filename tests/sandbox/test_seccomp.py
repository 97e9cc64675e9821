"""The numbers of the system calls that the sandbox denies, against libseccomp's tables."""

import ctypes
import ctypes.util
import struct

import pytest

from bactrian.sandbox.seccomp import AUDIT, CLONE3, ERRNO, KILL, NUMBERS, SIGNALS, program

CALLS = NUMBERS | SIGNALS | {"clone3": (CLONE3, CLONE3)}


def test_every_number_is_libseccomp_s() -> None:
    found = ctypes.util.find_library("seccomp")
    if found is None:
        pytest.skip("no libseccomp on this machine")
    resolve = ctypes.CDLL(found).seccomp_syscall_resolve_name_arch
    resolve.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    for column, architecture in enumerate(AUDIT.values()):
        theirs = {name: resolve(architecture, name.encode()) for name in CALLS}
        ours = {name: pair[column] for name, pair in CALLS.items()}
        assert {name: None if number < 0 else number for name, number in theirs.items()} == ours


def run(code: bytes, architecture: int, number: int) -> int:
    """What the kernel would make of the filter for one call: the value that it returns."""
    lines = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    held = at = 0
    while True:
        operation, then, otherwise, value = lines[at]
        at += 1
        if operation == 0x20:
            held = {0: number, 4: architecture}[value]
        elif operation == 0x06:
            return value
        else:
            met = held == value if operation == 0x15 else held >= value
            at += then if met else otherwise


@pytest.mark.parametrize("machine", AUDIT)
@pytest.mark.parametrize("signals", [False, True])
def test_the_filter_denies_these_calls_and_no_other(machine: str, signals: bool) -> None:
    code = program(machine, signals)
    assert code is not None
    column = list(AUDIT).index(machine)
    denied = {pair[column] for pair in (NUMBERS if signals else NUMBERS | SIGNALS).values()}
    for number in range(600):
        returned = run(code, AUDIT[machine], number)
        expected = ERRNO | 38 if number == CLONE3 else ERRNO | 1 if number in denied else 0x7FFF0000
        assert returned == expected, number
    assert run(code, 0x40000003, 1) == KILL and run(code, AUDIT[machine], 0x40000000) == KILL
