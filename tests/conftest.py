"""Fixtures shared by the tests of recipes, the runner and the command line."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes that each took all cores would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is loaded

_SETS = Path(__file__).parents[2] / "shared" / "data"
if _SETS.is_dir():  # public evaluation sets, where this machine has them
    os.environ.setdefault("BACTRIAN_EVAL_DATA", str(_SETS))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a module's tests imported stays: training collects garbage before it begins, and need not look through it.

    In a process that ran some thousand tests each look took more than a second.
    """
    if nextitem is None or item.path != nextitem.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The stages of fake_stages.py in place of the real ones, in an empty current directory; yields what was made."""
    import fake_stages

    from bactrian import stages
    from bactrian.recipe import recipe
    from bactrian.run import make

    def all_stages() -> dict[str, Any]:
        return fake_stages.FAKES

    monkeypatch.setattr(stages, "all_stages", all_stages)
    monkeypatch.setattr(recipe, "all_stages", all_stages)
    monkeypatch.setattr(make, "prepare", lambda hardware, seed: None)
    monkeypatch.setattr("bactrian.report.write_report", lambda folder: folder / "report.html")
    monkeypatch.setenv("BACTRIAN_NO_REEXEC", "1")
    monkeypatch.chdir(tmp_path)
    fake_stages.MADE.clear()
    yield fake_stages.MADE
