"""NumPy in the sandbox: for tests and programs, read-only, alone, and of no use to forgers."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.plus import ORIGINAL

from bactrian.sandbox import WEAK, Isolation, Limits, UnitTests, examine, run_program, versions
from bactrian.sandbox.inside import codec

LIMITS = Limits(test=3.0)
AROUND = """
import os, sys, numpy
print(sorted(os.listdir("/packages")))
for folder, _, names in os.walk("/packages"):
    assert not any(os.access(os.path.join(folder, name), os.W_OK) for name in [*names, "."])
for name in ("torch", "transformers", "yaml", "pytest", "pandas"):
    try: __import__(name)
    except ImportError: continue
    print("there is", name)
print((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum(), numpy.linalg.svd(numpy.eye(3))[1].tolist())
"""


def test_numpy_is_there_and_nothing_else_is(isolation: Isolation) -> None:
    run = run_program(AROUND, isolation)
    assert (run.ended, run.output) == ("finished", "['numpy', 'numpy.libs']\n27000000.0 [1.0, 1.0, 1.0]\n"), run
    assert versions() == {"numpy": np.__version__}


def test_numpy_is_there_without_walls() -> None:
    if (run := run_program("import fractions", WEAK)).ended != "finished":
        pytest.skip(run.error[-200:])
    assert run_program("import numpy\nprint(numpy.arange(3).sum())", WEAK).output == "3\n"


def test_who_does_not_import_it_does_not_pay_for_it(strong: Isolation) -> None:
    run = run_program("import sys\nprint('numpy' in sys.modules)", strong)
    assert run.output == "False\n"


@pytest.mark.parametrize(
    "program, test",
    [
        ("import numpy as np\ndef f(): return np.float64(2.5)", "assert f() == 2.5 and isinstance(f(), float)"),
        ("import numpy as np\ndef f(): return np.int64(3)", "assert f() == 3 and [f()] == [3]"),
        ("import numpy as np\ndef f(): return np.bool_(True)", "assert f() is True"),
        (
            "import numpy as np\ndef f(): return [np.float32(0.5), {np.int8(1): np.str_('a')}]",
            "assert f() == [0.5, {1: 'a'}]",
        ),
        (
            "import numpy as np\ndef f(): return np.arange(6).reshape(2, 3)",
            "import numpy as np\nassert f().shape == (2, 3) and np.array_equal(f(), [[0, 1, 2], [3, 4, 5]])",
        ),
        (
            "import numpy as np\ndef f(): return np.array([1.0, 2.0])",
            "import numpy as np\nassert f().tolist() == [1.0, 2.0]\nnp.testing.assert_allclose(f(), [1, 2 + 1e-9])",
        ),
        (
            "import numpy as np\ndef f(): return np.array([1, 'a', None], dtype=object)",
            "assert list(f()) == [1, 'a', None]",
        ),
        ("import numpy as np\ndef f(): return np.array(['ab', 'c'])", "assert list(f()) == ['ab', 'c']"),
        ("import numpy as np\ndef f(): return np.array([True, False])", "assert f().any() and not f().all()"),
        ("def f(): return 3", "import numpy as np\nassert np.isclose(f(), 3.0)"),
        ("def f(x): return x.mean(axis=0)", "import numpy as np\nassert (f(np.eye(2)) == 0.5).all()"),
    ],
)
def test_values_come_over(program: str, test: str, strong: Isolation) -> None:
    report = examine(program, UnitTests(tests=(test,)), strong, LIMITS)
    assert report.all_passed, report


UNEQUAL = (
    "assert f() == 100000.0",
    "assert abs(f() - 0.5) < 1e-6 or f() == 1e6",
    "import numpy as np\ntry: np.testing.assert_allclose(f(), 21474.25)\nexcept (TypeError, ValueError): assert False",
)


HUMANEVAL_PLUS = (
    ORIGINAL
    + """
def check(candidate):
    for exp in (21474.25, 3.5):
        assertion(candidate(), exp, 0)
"""
)
VALUES = ["[]", "np.array([])", "np.float16('inf')", "[21474.25]", "[21474.25, 3.5]", "np.nan"]


@pytest.mark.parametrize("value", VALUES)
def test_no_value_passes_the_tests_of_humaneval_plus_unseen(value: str, strong: Isolation) -> None:
    """By NumPy's own rules an empty list is close to any number."""
    suite = UnitTests(check=HUMANEVAL_PLUS, entry_point="f")
    report = examine(f"import numpy as np\ndef f(): return {value}", suite, strong, LIMITS)
    assert report.finished and not report.all_passed and report.rate in (0.0, 0.5), report


@pytest.mark.parametrize(
    "value",
    [
        "np.float16('inf')",
        "np.array(np.inf, 'f2')",
        "np.array([np.inf], 'f2')",
        "np.array([], 'f8')",
        "np.nan",
        "np.array([[[]]])",
        "np.int8(-128)",
        "np.array([None], dtype=object)",
        "np.array([Yes()], dtype=object)",
        "[]",
        "()",
        "{}",
        "np.ma.masked_all(1)",
        "np.ma.masked",
        "np.zeros(1).view(Yes2)",
        "Yes()",
        "Yes3()",
    ],
)
def test_no_value_of_numpys_is_equal_to_what_it_is_not(value: str, strong: Isolation) -> None:
    program = f"""
import numpy as np
class Yes:
    def __eq__(self, other): return True
    __sub__ = __abs__ = lambda self, *a: 0
    __float__ = lambda self: 0.0
class Yes2(np.ndarray):
    def __eq__(self, other): return True
    def __array_ufunc__(self, *a, **k): return True
    def __array_function__(self, *a, **k): return None
class Yes3:
    __array_interface__ = dict(shape=(1,), typestr="<f8", data=(4096, True), version=3)
    def __array__(self, *a, **k): return np.zeros(1)
    def __array_function__(self, *a, **k): return None
def f(): return {value}
"""
    report = examine(program, UnitTests(tests=UNEQUAL), strong, LIMITS)
    assert report.finished and report.passed == 0 and not report.broken, report


def there_and_back(value: Any) -> Any:
    def refuse(value: Any) -> Any:
        raise codec.Unsendable(str(type(value)))

    reading, writing = os.pipe()
    try:
        codec.send(writing, codec.encode(value, refuse))
        return codec.decode(codec.receive(reading), refuse)
    finally:
        os.close(reading)
        os.close(writing)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["?", "i1", "u2", "<i4", ">i8", "f4", "f8", "c16", "U3", "S2", "M8[s]", "m8[D]"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**32),
)
def test_arrays_arrive_as_they_are(dtype: str, shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    arrived = there_and_back([array])[0]
    assert type(arrived) is np.ndarray and arrived.dtype == array.dtype and arrived.shape == array.shape
    assert np.array_equal(arrived, array) and arrived.flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        ["O8", [1], "00" * 8],
        ["i4,O", [1], "00" * 12],
        ["V8", [1], "00" * 8],
        ["f8", [2], "00" * 8],
        ["f8", [1], "zz"],
        ["(2,)f8", [1], "00" * 16],
        ["f8", [-1, -1], "00" * 8],
        [["f8"], [1], "00" * 8],
        ["O", [2], [1]],
        ["f8", [1]],
        3,
    ],
)
def test_what_is_no_array_is_refused(content: Any) -> None:
    with pytest.raises(codec.Unsendable):
        codec.decode({"numpy.ndarray": content}, lambda value: value)
