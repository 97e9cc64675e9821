"""Values of NumPy as plain data, for codec.py: an array as its type, its shape and its bytes; never a pickle.

A scalar arrives as the number of Python's that it holds: NumPy compares a number of low precision with one of Python's
at the lower precision, and a float16 of infinity would equal every large number.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Convert = Callable[[Any], Any]

NAME = "numpy.ndarray"
KINDS = "biufcSUMm"
"""Of plain numbers, texts and times; no records, and of objects only their values."""


COMPARING = (
    "allclose",
    "testing.assert_allclose",
    "testing.assert_array_equal",
    "testing.assert_equal",
    "testing.assert_almost_equal",
    "testing.assert_array_almost_equal",
    "testing.assert_approx_equal",
    "testing.assert_array_almost_equal_nulp",
    "testing.assert_array_less",
)
"""By these NumPy compares a number with an empty list, and finds no difference: returning `[]` would be right."""
ORDERING = "assert_array_less"
"""The one comparison whose tests may mean "each of these is below that number"."""


def harden() -> None:
    """Make NumPy's comparisons tell what is empty from what is not, and [7.5] from 7.5: plain values do not broadcast.

    Arrays still do, as tests may mean "each of these is near that number".

    Raises:
        ImportError: without NumPy.
    """
    import numpy
    import numpy.testing

    def told_apart(compare: Callable[..., Any]) -> Callable[..., Any]:
        def comparing(*arguments: Any, **words: Any) -> Any:
            one, other = [*arguments, *words.values()][:2]
            alike = (numpy.size(one) == 0) == (numpy.size(other) == 0)
            if alike and compare.__name__ != ORDERING and type(one) in plain and type(other) in plain:
                alike = numpy.shape(one) == numpy.shape(other)
            if alike:
                return compare(*arguments, **words)
            if compare is allclose:
                return False
            raise AssertionError(f"of another shape: {one!r:.100}, {other!r:.100}")

        return comparing

    plain = (bool, int, float, complex, list, tuple)
    allclose = numpy.allclose
    for name in COMPARING:
        place = numpy.testing if name.startswith("testing.") else numpy
        function = name.rpartition(".")[2]
        if hasattr(place, function):
            setattr(place, function, told_apart(getattr(place, function)))


def of_numpy(value: Any) -> bool:
    """Whether it is an array or a scalar. NumPy is not imported to find out."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def encode(value: Any, convert: Convert) -> Any:
    """An array, or a scalar; `convert` encodes what is no value of NumPy's."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.generic):
        plain = value.item()
        if isinstance(plain, numpy.generic):  # numbers wider than Python's
            plain = complex(plain) if isinstance(plain, numpy.complexfloating) else float(plain)
        return convert(plain)
    if value.dtype.kind not in KINDS:
        items = numpy.ndarray.flatten(value.astype(object)).tolist()
        return {NAME: ["O", list(value.shape), [convert(item) for item in items]]}
    return {NAME: [value.dtype.str, list(value.shape), numpy.ndarray.tobytes(value).hex()]}


def decode(content: Any, convert: Convert) -> Any:
    """The array of [type, shape, content].

    Raises:
        ValueError: for anything else.
        TypeError: for anything else.
    """
    try:
        import numpy
    except ImportError as error:
        raise ValueError(f"an array, and {error}") from None
    name, shape, data = content
    if name == "O":
        array = numpy.empty(len(data), dtype=object)
        for place, item in enumerate(data):
            array[place] = convert(item)
        return array.reshape(shape)
    kind = numpy.dtype("V" if {",", "("} & set(name) else name)
    if kind.kind not in KINDS or kind.fields is not None or kind.subdtype is not None or not kind.itemsize:
        raise ValueError(f"not a type of array: {name!r:.40}")
    stored = numpy.dtype("u1") if kind.kind == "b" else kind
    array = numpy.frombuffer(bytes.fromhex(data), dtype=stored).reshape(shape)
    if kind.kind == "b":
        return numpy.asarray(array != 0)  # a byte that is neither 0 nor 1 would be neither true nor false
    return array.astype("f8") if kind.itemsize == 2 and kind.kind == "f" else array.copy()
