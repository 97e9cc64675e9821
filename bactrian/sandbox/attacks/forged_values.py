"""Forgeries by what is given back: objects that answer for themselves, and numbers, texts and containers that lie.

Each is (task of tasks.py, program). None does what the task asks.
"""

YES = """
class Yes:
    def __init__(self, *a): pass
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
"""
ANY = """
class Any:
    def __getattr__(self, name): return Any()
    def __call__(self, *a, **k): return Any()
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 14
    def __iter__(self): return iter(())
    def __len__(self): return 1
    def __getitem__(self, key): return Any()
    def __add__(self, other): return self
    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __add__
    def __abs__(self): return 0
    def __round__(self, *a): return self
    def __float__(self): return 0.0
    def __int__(self): return 0
    __index__ = __int__
"""

VALUES: dict[str, tuple[str, str]] = {
    # comparisons
    "equal, and not unequal": ("double", YES + "def double(n): return Yes()"),
    "equal from the right": (
        "double",
        "class Y(int):\n    def __eq__(self, o): return True\ndef double(n): return Y(1)",
    ),
    "equal for a list": ("sort", YES + "class L(Yes, list): pass\ndef sort_list(x): return L()"),
    "equal for a mapping": (
        "groups",
        ANY
        + """
class D(Any, dict):
    def __contains__(self, key): return key != 3
    def __iter__(self): return iter((1, 2))
def group(words): return D()
""",
    ),
    "equal for a text": (
        "roman",
        """
class S(str):
    def __eq__(self, other): return True
    def __str__(self): return self
    def __format__(self, spec): return self
    def __repr__(self): return S("'I'")
    def __add__(self, other): return self
    def lower(self): return self
    __hash__ = str.__hash__
def roman(n): return S("IV" if n == 4 else "IX")
""",
    ),
    "equal for complex numbers": (
        "complex",
        """
class Z(set):
    def __eq__(self, other): return True
def roots(a, b, c): return Z()
""",
    ),
    "equal in order": (
        "double in order",
        """
class N(int):
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def double(n): return N(0)
""",
    ),
    "smaller and larger than everything": ("double in order", ANY + "def double(n): return Any()"),
    "larger than 13 and smaller than 15": (
        "double in order",
        """
class B:
    def __lt__(self, o): return True
    def __gt__(self, o): return True
    def __eq__(self, o): return True
def double(n): return B()
""",
    ),
    "a difference of nothing": ("double by difference", ANY + "def double(n): return Any()"),
    "a difference that is small": (
        "double by difference",
        """
class D(float):
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __round__(self, digits=None): return 0.246
def double(n): return D(1)
""",
    ),
    "a difference that is an object": (
        "double by difference",
        """
class Z(float):
    def __abs__(self): return self
    def __lt__(self, o): return True
    def __gt__(self, o): return False
    def __eq__(self, o): return True
class D:
    def __sub__(self, o): return Z(0)
    def __round__(self, n): return Z(0)
def double(n): return D()
""",
    ),
    "not a number, in differences": ("double by difference", "def double(n): return float('nan')"),
    "not a number, a decimal": ("double by difference", "import decimal\ndef double(n): return decimal.Decimal('NaN')"),
    "not a number, complex": ("double by difference", "def double(n): return complex('nan')"),
    "infinite": ("double by difference", "def double(n): return float('inf')"),
    "the hash that is looked for": (
        "double among others",
        """
class H:
    def __hash__(self): return 14
    def __eq__(self, other): return other == 14
def double(n): return H()
""",
    ),
    "the hash that is looked for, of a number": (
        "double among others",
        """
class H(int):
    def __hash__(self): return hash(14)
    def __eq__(self, other): return other == 14
def double(n): return H(0)
""",
    ),
    "a number of another class": (
        "double",
        """
class N(int):
    __class__ = property(lambda self: bool)
    def __eq__(self, other): return isinstance(other, int)
    __hash__ = int.__hash__
def double(n): return N(3)
""",
    ),
    "negative for its own sake": (
        "double",
        """
import decimal
class D(decimal.Decimal):
    def __eq__(self, other): return True
    __hash__ = None
def double(n): return D(1)
""",
    ),
    "a fraction that is equal": (
        "double",
        """
import fractions
class F(fractions.Fraction):
    def __eq__(self, other): return True
    def __hash__(self): return 1
def double(n): return F(1, 3)
""",
    ),
    "a date that is equal": (
        "double",
        """
import datetime
class T(datetime.date):
    def __eq__(self, other): return True
    __hash__ = None
def double(n): return T(2000, 1, 1)
""",
    ),
    "bytes that are equal": (
        "double",
        """
class B(bytearray):
    def __eq__(self, other): return True
def double(n): return B(b"x")
""",
    ),
    "a tuple with a name": (
        "double",
        """
from collections import namedtuple
class T(namedtuple("T", "n")):
    def __eq__(self, other): return True
    __hash__ = None
def double(n): return T(n)
""",
    ),
    "a class for an answer": (
        "double",
        """
class M(type):
    def __eq__(cls, other): return True
    __hash__ = type.__hash__
class Y(metaclass=M): pass
def double(n): return Y
""",
    ),
    "a function for an answer": (
        "double",
        """
class F:
    def __call__(self, *a): return self
    def __eq__(self, other): return True
double = F()
""",
    ),
    "a mock": ("double by difference", "from unittest.mock import MagicMock\ndouble = MagicMock()"),
    "a mock of anything": ("double", "from unittest.mock import ANY\ndef double(n): return ANY"),
    "a mock of anything among others": (
        "double among others",
        "from unittest.mock import ANY\ndef double(n): return ANY",
    ),
    "a mock of anything, for a list": ("sort", "from unittest.mock import ANY\ndef sort_list(x): return ANY"),
    "equal in every way, in a list": ("sort", YES + "def sort_list(x): return [Yes() for _ in x]"),
    "equal in every way, in a mapping": ("groups", YES + "def group(w): return {1: Yes(), 2: Yes()} if w else {}"),
    "equal in every way, deep inside": ("pairs", YES + "def pairs(n): return [Yes(), Yes()]"),
    "an answer to each test in its turn": (
        "double",
        """
class L(list):
    def __eq__(self, other): return True
    __hash__ = None
answers = iter([L(), L(), L()])
def double(n): return next(answers)
""",
    ),
}
