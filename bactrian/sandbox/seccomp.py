"""The filter of system calls that a sandboxed program gets, in the kernel's form (classic BPF; seccomp(2), bpf(4)).

The second wall, behind the namespaces: it makes a program one process with one thread for good, and takes away what
was the way in of most escapes from namespaces: new namespaces, mounts, tracing, kernel keys, BPF, io_uring.
"""

import platform
import struct

LOAD_NUMBER, LOAD_ARCHITECTURE = (0x20, 0, 0, 0), (0x20, 0, 0, 4)  # offsets into struct seccomp_data
JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x15, 0x35, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
X32 = 0x40000000
"""On x86-64, numbers from here on are those of the x32 interface: the same calls by another name."""
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's name of each architecture that we know the numbers of."""

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # other processes and threads, other programs
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # the network
    "socket": (41, 198),
    # memory that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the kernel's wide doors
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "syslog": (103, 116),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "lookup_dcookie": (212, 18),
    # the machine's clock, and its own limits
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "setrlimit": (160, 164),
    "prlimit64": (302, 261),
    "sched_setattr": (314, 274),
    "sched_setscheduler": (144, 119),
}
"""Denied calls: their numbers on x86-64 and on AArch64 (None where there is no such call), from the kernel's tables."""
SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
"""Denied too where a program shares the machine's process tree."""
CLONE3 = 435
"""Its flags lie in memory, where a filter cannot look; without it the C library goes back to clone."""


def program(machine: str | None = None, signals: bool = True) -> bytes | None:
    """The filter for this machine (`platform.machine()`), as an array of struct sock_filter; None if it is not known.

    `signals`: whether it may send signals, which walls keep to itself. A denied call fails with EPERM; a call
    by another architecture's numbers ends the program.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT:
        return None
    column = list(AUDIT).index(machine)
    calls = NUMBERS if signals else NUMBERS | SIGNALS
    denied = [number for pair in calls.values() if (number := pair[column]) is not None]
    code = [LOAD_ARCHITECTURE, (JUMP_IF_EQUAL, 1, 0, AUDIT[machine]), (RETURN, 0, 0, KILL), LOAD_NUMBER]
    code += [(JUMP_IF_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    code += [(JUMP_IF_EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ERRNO | ENOSYS)]
    # a match jumps over the rest of the list and over "allow", to the last line
    code += [(JUMP_IF_EQUAL, len(denied) - place, 0, number) for place, number in enumerate(denied)]
    code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | EPERM)]
    return b"".join(struct.pack("HBBI", *line) for line in code)
