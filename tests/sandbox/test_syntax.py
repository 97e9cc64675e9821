"""Trees from many threads at once."""

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bactrian.sandbox.syntax import parse

TEXT = "def f(x):\n" + "".join(f"    y{i} = [x + {i}, (x, {{'a': {i}}})]\n" for i in range(80))


class Finalised:
    """Garbage whose end runs Python, and so lets other threads in."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """A collection after every 20 objects, and another thread's turn as often as can be."""
    often, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(20)
    sys.setswitchinterval(1e-6)
    yield
    gc.set_threshold(*often)
    sys.setswitchinterval(interval)


def test_threads_do_not_disturb_each_other(restless: None) -> None:
    def often(_: int) -> int:
        for _ in range(100):
            Finalised()
            parse(TEXT)
        return 100

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(often, range(6))) == 600
