"""Which isolation works on this machine: tried once, for all tests."""

from bactrian.sandbox import available

WORKING = [isolation for isolation, problem in available() if problem is None]
NONE = "NOTHING ON THIS MACHINE CAN ISOLATE PROGRAMS: neither bubblewrap nor unshare works, the sandbox is not tested"
