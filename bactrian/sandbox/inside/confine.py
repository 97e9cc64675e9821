"""The first thing that runs inside a sandbox: takes away from its own process what the program shall not have."""

from __future__ import annotations

import ctypes
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SET_NO_NEW_PRIVILEGES, SET_SECCOMP, DROP_FROM_BOUND, SET_DUMPABLE = 38, 22, 24, 4  # prctl(2)
FILTER = 2
CAPABILITIES, CAPABILITY_VERSION = 64, 0x20080522
DETACH = 2
NOBODY = 65534
OLD_ROOT = b"/old"
"""Where unshare's script leaves the machine's own files, to be let go of here; bubblewrap leaves nothing."""
SCRATCH, DEVICES = b"/tmp", (b"/dev/null", b"/dev/urandom")
READ_ONLY, NO_SETUID, NO_DEVICES, REMOUNT, BIND = 1, 2, 4, 32, 4096  # mount(2)
DESCRIPTORS, FILES = 64, 4096
"""Open at a time, and in the scratch folder: an empty file takes kernel memory too."""


class FilterProgram(ctypes.Structure):
    """struct sock_fprog of the kernel."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(job: Mapping[str, Any]) -> None:
    """Limits, then no way back to other files, no capabilities, and the filter of system calls. OSError if one fails.

    `job["filter"]` is None where the machine has no such filter (and then the isolation is a weak one).
    """
    if job["walls"]:
        refuse_the_machine_itself(job)
    else:
        become_nobody()
    for name, value in limits(job).items():
        resource.setrlimit(getattr(resource, name), value)
    if job["filter"] is None:
        return
    library = ctypes.CDLL(None, use_errno=True)
    if job["new_root"]:
        checked(library.umount2(OLD_ROOT, DETACH), "letting go of the old root")
    if job["walls"]:
        options = f"mode=777,size={job['scratch']},nr_inodes={FILES}".encode()
        checked(library.mount(b"scratch", SCRATCH, b"tmpfs", NO_SETUID | NO_DEVICES, options), "the scratch folder")
        os.chdir(SCRATCH)
        for device in DEVICES:  # they work all the same, but their modes and owners stay as they are
            checked(library.mount(None, device, None, REMOUNT | BIND | NO_SETUID | READ_ONLY, None), "a device")
    drop_capabilities(library)
    checked(library.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    size = len(job["filter"]) // 8
    instructions = ctypes.create_string_buffer(job["filter"], len(job["filter"]))
    filtering = FilterProgram(size, ctypes.addressof(instructions))
    checked(library.prctl(SET_SECCOMP, FILTER, ctypes.byref(filtering), 0, 0), "the filter of system calls")


def refuse_the_machine_itself(job: Mapping[str, Any]) -> None:
    """What follows mounts and unmounts: done by root outside a namespace it would hide the
    machine's own /tmp. `outside` is the device and the number of the machine's root folder;
    inside, the parent is process 1, the tool's own.

    Raises:
        OSError: unless this is a root of its own and a process tree of its own.
    """
    root = os.stat("/")  # noqa: PTH116
    if [root.st_dev, root.st_ino] == list(job["outside"]) or os.getppid() != 1:
        raise OSError("refused: this is not a sandbox, its files or processes are the machine's own")


def become_nobody() -> None:
    """Without walls, root gives up being root. OSError where it cannot."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def limits(job: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Of each resource the soft and the hard limit."""
    one = {
        "RLIMIT_AS": job["memory"],
        "RLIMIT_FSIZE": job["scratch"],
        "RLIMIT_NOFILE": DESCRIPTORS,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 1,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
    }
    bounded = {name: (value, value) for name, value in one.items() if hasattr(resource, name)}
    return bounded | {"RLIMIT_CPU": (job["cpu"], job["cpu"] + 1)}


def drop_capabilities(library: ctypes.CDLL) -> None:
    """From the bounding set, then from the process: over its own namespaces root inside has them all."""
    for capability in range(CAPABILITIES):
        library.prctl(DROP_FROM_BOUND, capability, 0, 0, 0)  # fails where there is no such capability, or no right to
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    checked(library.capset(header, (ctypes.c_uint32 * 6)()), "dropping capabilities")


def checked(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def silence(*descriptors: int) -> None:
    """Point these descriptors at /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)
