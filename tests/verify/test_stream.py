"""Verifying while sampling: the same verdicts, whenever items come; errors come through."""

import time

import pytest

from bactrian.errors import BactrianError
from bactrian.verify import Item, Pool, verify_all
from bactrian.verify.stream import Stream

ITEMS = [Item("gsm8k", f"so it is {n}", "3") for n in range(6)]


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_verdicts_are_those_of_a_batch(pause: float) -> None:
    expected = verify_all(ITEMS)
    assert [v.score for v in expected] == [0, 0, 0, 1, 0, 0]
    with Pool() as pool, Stream[int](pool) as stream:
        for key in (3, 0, 5, 1, 2, 4):
            stream.give(key, ITEMS[key])
            time.sleep(pause)
        found = stream.verdicts()
    assert [found[key] for key in range(6)] == expected


def test_a_pool_serves_stream_after_stream() -> None:
    with Pool() as pool:
        for _ in range(3):
            with Stream[int](pool) as stream:
                stream.give(0, ITEMS[3])
                assert stream.verdicts()[0].score == 1


def test_errors_come_through_and_end_it() -> None:
    with Pool() as pool, pytest.raises(BactrianError, match="nonesuch"), Stream[int](pool) as stream:
        stream.give(0, Item("nonesuch", "1", "1"))
        stream.verdicts()


def test_leaving_early_waits_for_nothing_to_come() -> None:
    with Pool() as pool, pytest.raises(ZeroDivisionError), Stream[int](pool) as stream:
        stream.give(0, ITEMS[0])
        raise ZeroDivisionError
