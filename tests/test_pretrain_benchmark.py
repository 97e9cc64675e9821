"""What benchmarks/pretrain.py needs is reckoned before anything is made, and refused where it does not fit."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_width_that_does_not_fit_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import pretrain  # type: ignore[import-not-found]

    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--width", "576", "--only", "moe"])
    monkeypatch.setattr(pretrain, "available_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(pretrain, "new_model", lambda *given, **more: pytest.fail("a model was made"))
    with pytest.raises(SystemExit, match=r"moe: its sides need about 1\d\.\d GiB together, found 8\.0 GiB"):
        pretrain.main()
    # as measured at width 256, rows 4: 0.61, 0.82 and (its caches apart) about as much; 27.1 million weights
    assert 0.8e9 < pretrain.reckoned("moe", 703, 2048, 256, 4) < 1.0e9
