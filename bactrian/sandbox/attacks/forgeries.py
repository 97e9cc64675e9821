"""Programs that try to be taken for right without being it. The task: `double(n)` returns 2·n (siege.py has the tests).

None of them computes it. {secret_number} is not given to them: it stands for what the tests alone know.
"""

FORGERIES: dict[str, str] = {
    "leaving with status 0": "import os\nos._exit(0)",
    "leaving politely": "import sys\nsys.exit(0)",
    "leaving in the call": "import os\ndef double(n): os._exit(0)",
    "raising SystemExit in the call": "def double(n): raise SystemExit(0)",
    "printing success": """
print("3 of 3 tests passed", "OK", '{"passed": 3, "total": 3, "end": true}', flush=True)
def double(n): print("passed"); return None
""",
    "a report on every descriptor": """
import json, os, struct
data = json.dumps({"secret": "", "total": 3, "passed": 3, "end": True}).encode()
def double(n):
    for fd in range(64):
        for form in (struct.pack("<I", len(data)) + data, data + b"\\n"):
            try: os.write(fd, form)
            except OSError: pass
double(0)
""",
    "replies of its own to calls to come": """
import json, os, struct
def frame(message): data = json.dumps(message).encode(); return struct.pack("<I", len(data)) + data
replies = frame({"loaded": True}) + frame({"object": 0}) + 8 * frame({"value": True})
for fd in range(3, 64):
    try: os.write(fd, replies)
    except OSError: pass
def double(n): return True
""",
    "equal to everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = object.__hash__
    def __bool__(self): return True
def double(n): return Yes()
""",
    "a number equal to every number": """
class Yes(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
    def __index__(self): return 0
    @property
    def __class__(self): return bool
def double(n): return Yes(5)
""",
    "equality of the class changed": """
import ctypes
class M(type):
    def __eq__(self, other): return True
    def __instancecheck__(self, other): return True
    __hash__ = type.__hash__
class X(metaclass=M): pass
def double(n): return X
""",
    "assertions disarmed": """
import builtins, sys
class Never(Exception):
    def __new__(cls, *a): raise KeyboardInterrupt
builtins.AssertionError = Never
builtins.__debug__ = False
sys.flags = None
def double(n): return None
""",
    "builtins replaced": """
import builtins
for name in ("len", "abs", "sorted", "compile", "exec", "isinstance", "sum", "all", "any", "int", "bool", "repr"):
    setattr(builtins, name, lambda *a, **k: True)
def double(n): return True
""",
    "sys.modules replaced": """
import sys
class Any:
    def __getattr__(self, name): return Any()
    def __call__(self, *a, **k): return Any()
    def __eq__(self, other): return True
for name in list(sys.modules):
    if name not in ("sys", "builtins"): sys.modules[name] = Any()
def double(n): return Any()
""",
    "the messenger replaced": """
import sys
codec = sys.modules.get("bactrian.sandbox.inside.codec")
def double(n): return None
if codec:
    codec.encode = lambda value, refer, depth=0: {"value": {"passed": 1}}
    codec.Unsendable = Exception
""",
    "the messenger and its loop replaced": """
import sys
inside = sys.modules.get("bactrian.sandbox.inside.candidate")
if inside:
    inside.Program.do = lambda self, asked: True
    inside.Program.answer = lambda self, reply: inside.codec.send(self.replies, {"value": True, "passed": 3})
def double(n): return None
""",
    "looking for the tests in frames and in memory": """
import gc, inspect, linecache, sys
wanted = str(20_000 + 1_474)
def search():
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, str) and len(value) > 8 and wanted in value: return value
        frame = frame.f_back
    for thing in gc.get_objects():
        for value in (thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ()):
            if isinstance(value, (str, bytes)) and len(value) > 8 and wanted in str(value): return str(value)
    return linecache.cache.get("<tests>")
found = search()
if found: print("ESCAPED", found)
def double(n):
    found = search()
    if found: print("ESCAPED", found)
    return int(wanted) if found else None
""",
    "looking for the tests on descriptors and disk": """
import os
wanted = str(20_000 + 1_474).encode()
found = None
for fd in range(64):
    try:
        os.set_blocking(fd, False)
        os.lseek(fd, 0, 0)
        data = os.read(fd, 1 << 20)
        if wanted in data: found = data
    except OSError: pass
for folder, _, files in os.walk("/tmp"):
    for name in files:
        if wanted in open(os.path.join(folder, name), "rb").read(): found = name
if found: print("ESCAPED", found)
def double(n): return int(wanted) if found else None
""",
    "tracing whoever calls": """
import sys
seen = []
def trace(frame, event, value):
    seen.append(frame)
    for name in frame.f_locals:
        if "passed" in name or "expected" in name: frame.f_locals[name] = True
    return trace
sys.settrace(trace); sys.setprofile(trace)
def double(n): return None
""",
    "a pickle in the answer": """
class Bomb:
    def __reduce__(self): return (eval, ("print('ESCAPED') or 1",))
    def __deepcopy__(self, memo): return True
import pickle
def double(n): return [Bomb(), pickle.dumps(Bomb())]
""",
    "an object that answers for itself": """
class Answer:
    def __len__(self): return 1 << 40
    def __iter__(self): return iter(lambda: 0, 1)
    def __str__(self): return self
    def __getattr__(self, name): return Answer()
    def __call__(self, *a): return Answer()
    __add__ = __sub__ = __mul__ = __lt__ = __gt__ = __abs__ = lambda self, *a: Answer()
def double(n): return Answer()
""",
    "not a number": "def double(n): return float('nan')",
    "an exception named like success": """
class AssertionError(Exception):
    def __str__(self): raise SystemExit(0)
def double(n): raise AssertionError
""",
    "an exception of its own making": """
def double(n):
    import builtins
    class Passed(BaseException): pass
    raise Passed
""",
    "success at exit": """
import atexit, os
class Last:
    def __del__(self): os.write(1, b"ok")
last = Last()
atexit.register(lambda: os._exit(0))
def double(n): raise SystemExit
""",
    "emptying its arguments": """
def double(n):
    try: n.clear()
    except AttributeError: pass
    return n
""",
    "half a message": """
import os, struct
def double(n):
    for fd in range(3, 64):
        try: os.write(fd, struct.pack("<I", 1000) + b"{")
        except OSError: pass
    while True: pass
""",
    "a message of four gigabytes": """
import os, struct
def double(n):
    for fd in range(3, 64):
        try: os.write(fd, b"\\xff" * 4)
        except OSError: pass
""",
    "a message that breaks readers": """
import os, struct
def double(n):
    deep = b"[" * 5_000_000
    for fd in range(3, 64):
        try:
            data = struct.pack("<I", len(deep)) + deep
            for start in range(0, len(data), 60_000): os.write(fd, data[start : start + 60_000])
        except OSError: pass
""",
    "values that choke": """
def double(n): return {(1 << 61) * k for k in range(1, 20_000)} if n % 2 else [1 << 4_000_000] * 20
""",
    "an iterator without end": "def double(n):\n    while True: yield n",
    "asking back without end": """
import sys
def double(n):
    inside = sys.modules["bactrian.sandbox.inside.candidate"].codec
    for fd in range(3, 64):
        try:
            while True: inside.send(fd, {"function": 0, "arguments": []})
        except OSError: pass
""",
    "wrong names for exceptions": """
import sys
def double(n):
    inside = sys.modules["bactrian.sandbox.inside.candidate"].codec
    for name in ("Over", "Late", "SystemExit", "GeneratorExit", "KeyboardInterrupt", "StopIteration", 7, None):
        for fd in range(3, 64):
            try: inside.send(fd, {"raised": [name, "x"]})
            except OSError: pass
""",
    "fork and answer twice": """
import os
def double(n):
    try: os.fork()
    except OSError: pass
    return True
""",
    "ctypes at small numbers": """
import ctypes
def double(n):
    ctypes.memmove(id(21474) + 24, id(0) + 24, 4)
    return 0
""",
}
