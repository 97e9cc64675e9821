"""Programs that try to get out of the sandbox, or to use more than they may.

Each prints ESCAPED and what it got, if it got anything. {file}, {folder}, {port}, {socket} and {process} are bait that
the siege (siege.py) lays outside: a file with a token in it, its folder, servers on loopback, a process that waits.
"""

SYSCALL = """
import ctypes, platform
library = ctypes.CDLL(None, use_errno=True)
def call(intel, arm, *arguments):
    return library.syscall(intel if platform.machine() == "x86_64" else arm, *arguments)
"""

ESCAPES: dict[str, str] = {
    "fork bomb": """
import os
started = 0
for _ in range(10_000):
    try:
        if os.fork() == 0:
            while True: pass
        started += 1
    except OSError:
        pass
if started: print("ESCAPED", started)
""",
    "fork by a bare system call": SYSCALL
    + """
if call(56, 220, 17, 0, 0, 0, 0) >= 0: print("ESCAPED clone")
if platform.machine() == "x86_64" and (library.syscall(57) >= 0 or library.syscall(58) >= 0): print("ESCAPED fork")
""",
    "clone3": SYSCALL
    + """
import os
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
if call(435, 435, arguments, 88) >= 0: print("ESCAPED clone3"); os._exit(0)
""",
    "thread bomb": """
import threading, time
started = 0
for _ in range(5_000):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
    except (RuntimeError, MemoryError):
        break
if started: print("ESCAPED", started)
""",
    "zombie children": """
import os
left = 0
for _ in range(500):
    try:
        if os.fork() == 0: os._exit(0)
        left += 1
    except OSError:
        break
if left: print("ESCAPED", left)
""",
    "a daemon that stays": """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    print("ESCAPED")
except OSError: pass
""",
    "a shell": """
import os, subprocess
for start in (lambda: subprocess.run(["/bin/sh", "-c", "echo ESCAPED sh"]), lambda: os.system("echo ESCAPED system"),
              lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "echo ESCAPED spawn"], {})):
    try: start()
    except Exception: pass
""",
    "another program in its place": """
import os, sys
for path in (sys.executable, "/usr/bin/python3", "/bin/sh"):
    try: os.execv(path, [path, "-c", "print('ESCAPED')"])
    except OSError: pass
""",
    "memory bomb": """
parts = []
for _ in range(64):
    parts.append(bytearray(64 << 20))
print("ESCAPED", len(parts))
""",
    "memory that no limit counts": SYSCALL
    + """
import os
fd = call(319, 279, b"x", 0)
if fd >= 0: print("ESCAPED memfd")
if call(29, 194, 0, 1 << 30, 0o1600) >= 0: print("ESCAPED shmget")
if call(68, 186, 0, 0o1600) >= 0: print("ESCAPED msgget")
""",
    "disk filling": """
size = 0
try:
    for number in range(64):
        with open(f"part{number}", "wb") as file:
            for _ in range(8): size += file.write(bytes(1 << 20))
except OSError: pass
if size > 40 << 20: print("ESCAPED", size)
""",
    "a file without end": """
import os
with open("big", "wb") as file:
    try:
        os.truncate("big", 1 << 40)
        print("ESCAPED")
    except OSError: pass
""",
    "a million empty files": """
made = 0
try:
    for number in range(1_000_000):
        open(str(number), "w").close()
        made += 1
except OSError: pass
if made > 5000: print("ESCAPED", made)
""",
    "descriptors without end": """
import os
held = []
try:
    while len(held) < 5000: held.append(os.dup(1))
except OSError: pass
if len(held) > 100: print("ESCAPED", len(held))
""",
    "endless output": """
import os
while True: os.write(1, b"x" * 65536); os.write(2, b"x" * 65536)
""",
    "its own limits": """
import resource
for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC"):
    try:
        resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("ESCAPED", name)
    except (ValueError, OSError): pass
""",
    "the machine's files": """
import os
for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc", "/var/log/dpkg.log", "/sys/kernel/mm"):
    try: print("ESCAPED", open(path).read(100))
    except OSError: pass
found = {"etc", "home", "proc", "sys", "var", "boot", "opt", "run", "srv"} & set(os.listdir("/"))
if found: print("ESCAPED", found)
""",
    "a file outside": """
import os
try: print("ESCAPED", open({file!r}).read())
except OSError: pass
try: print("ESCAPED", os.listdir({folder!r}))
except OSError: pass
""",
    "writing outside": """
import os, sys
for path in ({file!r}, {folder!r} + "/new", "/new", "/usr/new", "/dev/new", sys.executable, os.__file__):
    for mode in ("w", "a", "r+"):
        try:
            open(path, mode).close()
            print("ESCAPED", path)
        except OSError: pass
""",
    "removing and renaming": """
import os, shutil, sys
for path in ({file!r}, os.__file__, sys.executable, "/usr", "/dev/null", "/lib64"):
    for act in (os.remove, os.rmdir, lambda p: os.rename(p, p + ".old"), lambda p: os.chmod(p, 0o777)):
        try:
            act(path)
            print("ESCAPED", path)
        except OSError: pass
""",
    "symlinks out": """
import os
targets = ({file!r}, "/etc/passwd", "/old/etc/passwd", "/proc/1/root/etc/passwd", "../../../etc/passwd")
for number, path in enumerate(targets):
    os.symlink(path, f"link{{number}}")
    try: print("ESCAPED", open(f"link{{number}}").read(100))
    except OSError: pass
""",
    "hard links out": """
import os, sys
for number, path in enumerate((sys.executable, os.__file__, {file!r}, "/dev/null")):
    try:
        os.link(path, f"link{{number}}")
        print("ESCAPED", path)
    except OSError: pass
""",
    "out of the root": """
import os
try:
    os.mkdir("jail"); top = os.open("/", os.O_RDONLY); os.chroot("jail"); os.fchdir(top)
except OSError: pass
for _ in range(50): os.chdir("..")
for path in (".", "/old", "../.."):
    try:
        if {{"etc", "home", "var"}} & set(os.listdir(path)): print("ESCAPED", path)
    except OSError: pass
""",
    "proc and the memory of others": """
import os
for path in ("/proc/1/environ", "/proc/1/cmdline", "/proc/{process}/cmdline", "/proc/self/environ", "/proc/1/mem",
             "/proc/self/mountinfo", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda"):
    try: print("ESCAPED", open(path, "rb").read(100))
    except OSError: pass
""",
    "mounting": SYSCALL
    + """
import os
os.makedirs("m")
for kind in (b"proc", b"sysfs", b"tmpfs", b"devtmpfs"):
    if library.mount(b"x", b"m", kind, 0, None) == 0: print("ESCAPED", kind)
if library.mount(b"/", b"m", None, 4096, None) == 0: print("ESCAPED bind")
if library.umount2(b"/tmp", 2) == 0: print("ESCAPED umount")
""",
    "new namespaces": SYSCALL
    + """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
    if library.unshare(flag) == 0: print("ESCAPED", hex(flag))
if call(56, 220, 0x10000000 | 17, 0, 0, 0, 0) >= 0: print("ESCAPED clone")
""",
    "other users and capabilities": SYSCALL
    + """
import os
users = (("setgroups", [0]), ("setresuid", (0, 0, 0)), ("setresuid", (1000, 1000, 1000)), ("setresgid", (5, 5, 5)))
for name, value in users:
    try:
        getattr(os, name)(*value) if isinstance(value, tuple) else getattr(os, name)(value)
        if (os.getuid(), os.getgid()) not in ((0, 0), (65534, 65534)) or name == "setgroups": print("ESCAPED", name)
    except OSError: pass
try:
    open("mine", "w").close(); os.chown("mine", 12345, 12345); print("ESCAPED chown")
except OSError: pass
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
library.capget(header, data)
if any(data): print("ESCAPED", list(data))
""",
    "the environment": """
import os, sys
for name, value in os.environ.items():
    if name not in ("PATH", "LC_ALL", "PYTHONHASHSEED", "HOME", "PWD", "LC_CTYPE", "OLDPWD", "SHLVL", "_",
                    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        print("ESCAPED", name, value)
if any(path for path in sys.path if "site-packages" in path): print("ESCAPED", sys.path)
""",
    "packages and other people's data": """
import os, sys
for base in {{sys.base_prefix, sys.prefix, "/usr"}}:
    for folder, _, files in os.walk(base):
        if files and ("site-packages" in folder or "dist-packages" in folder): print("ESCAPED", folder)
""",
    "loopback": """
import socket
for family, address in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET6, ("::1", {port})),
                        (socket.AF_UNIX, {socket!r})):
    try:
        with socket.socket(family) as out:
            out.settimeout(1); out.connect(address); out.send(b"out"); print("ESCAPED", address)
    except OSError: pass
""",
    "other sockets": """
import socket
for family, kind, protocol in ((socket.AF_INET, socket.SOCK_DGRAM, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 0),
                               (socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, 1),
                               (40, 1, 0), (38, 5, 0)):
    try: socket.socket(family, kind, protocol); print("ESCAPED", family)
    except OSError: pass
try: print("ESCAPED", socket.getaddrinfo("localhost", 80))
except OSError: pass
""",
    "signals to others": """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for target in ({process}, os.getppid(), 1, 2, 3):
    if target != os.getpid():
        for number in (signal.SIGKILL, signal.SIGSTOP):
            try: os.kill(target, number)
            except OSError: pass
for number in (signal.SIGTERM, signal.SIGKILL):
    try: os.killpg(os.getpgrp(), number); os.kill(-1, number); os.kill(0, number)
    except OSError: pass
""",
    "ptrace": SYSCALL
    + """
import os
for target in (1, os.getppid(), {process}, os.getpid()):
    if library.ptrace(16, target, 0, 0) == 0 or library.ptrace(0x4206, target, 0, 0) == 0: print("ESCAPED", target)
if library.ptrace(0, 0, 0, 0) == 0: print("ESCAPED traceme")
buffer = ctypes.create_string_buffer(8)
piece = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
if call(310, 270, 1, piece, 1, piece, 1, 0) > 0: print("ESCAPED process_vm_readv")
""",
    "the kernel's wide doors": SYSCALL
    + """
blank = ctypes.create_string_buffer(256)
for name, intel, arm in (("bpf", 321, 280), ("perf_event_open", 298, 241), ("userfaultfd", 323, 282),
                         ("keyctl", 250, 219), ("io_uring_setup", 425, 425), ("fanotify_init", 300, 262),
                         ("add_key", 248, 217), ("kcmp", 312, 272)):
    if call(intel, arm, blank, blank, 0, 0, 0) >= 0: print("ESCAPED", name)
""",
    "calls by another architecture's numbers": SYSCALL
    + """
import mmap, platform
if platform.machine() == "x86_64":
    code = mmap.mmap(-1, 4096, prot=7)
    code.write(bytes.fromhex("b802000000cd80c3"))  # mov eax, 2 (fork, 32-bit numbers); int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0: print("ESCAPED int 0x80")
""",
    "x32 numbers": SYSCALL
    + """
if library.syscall(0x40000000 + 57) >= 0 or library.syscall(0x40000000 + 41, 2, 1, 0) >= 0: print("ESCAPED")
""",
    "the machine's clock": SYSCALL
    + """
import time
try: time.clock_settime(time.CLOCK_REALTIME, 0); print("ESCAPED")
except OSError: pass
if call(227, 112, 0, ctypes.create_string_buffer(16)) == 0: print("ESCAPED")
""",
    "time and signals that are not heeded": """
import signal, time
time.time = time.monotonic = time.perf_counter = lambda: 0.0
for number in range(1, 64):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.setitimer(signal.ITIMER_REAL, 0)
while True: pass
""",
    "sleeping through": """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
time.sleep(1e6)
""",
    "deep recursion": """
import sys
sys.setrecursionlimit(1 << 30)
class A:
    def __repr__(self): return repr([self])
def f(x): return f(x) + 1
try: repr(A())
except RecursionError: pass
f(0)
""",
    "a crash of the interpreter": """
import ctypes
ctypes.string_at(0)
""",
    "ctypes into its own interpreter": """
import ctypes
ctypes.pythonapi.Py_FatalError.argtypes = [ctypes.c_char_p]
ctypes.memset(id(None), 0xFF, 16)
ctypes.pythonapi.Py_FatalError(b"x")
""",
}
