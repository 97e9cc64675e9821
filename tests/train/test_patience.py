"""When a silent sampler is taken to hang."""

import pytest

from bactrian.train.rl.asynchronous.patience import LEAST, START, Patience


def test_a_sampler_is_overdue_by_its_own_silence() -> None:
    patience = Patience(seconds=10.0)
    patience.given(1, 0.0)
    patience.given(2, 5.0)
    assert patience.left(5.0) == (START - 5.0, 1), "the first answer may take long"
    patience.answered(1, 20.0)
    with pytest.raises(KeyError):
        patience.answered(1, 21.0)
    patience.given(1, 100.0)
    assert patience.left(104.0) == (6.0, 1), "it was idle before, which is no silence"
    patience.given(1, 109.0)
    assert patience.left(111.0) == (-1.0, 1), "a further share is no sign of life"
    patience.lost(1)
    assert patience.left(111.0)[1] == 2


def test_by_default_it_grows_with_what_has_been_seen() -> None:
    patience = Patience()
    for at in (0.0, 1000.0):
        patience.given(1, at)
        patience.given(1, at)
    patience.answered(1, 900.0)
    assert patience.limit(1) == LEAST, "a start is not counted"
    patience.answered(1, 950.0)
    assert patience.limit(1) == 20 * 50.0
    assert patience.limit(2) == START
