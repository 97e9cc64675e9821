"""Fixtures shared by the tests of recipes, the runner and the command line."""

import gc
import os
import re
import sys
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

# Tests go to the processes by file, so that what a file's tests share is made once. The longest begin first: thousands
# of quick ones then fill what would be a wait for the last of them.
LONGEST_FILES = (
    "first_hour/test_tutorial.py",
    "test_end_to_end.py",
    "stages/test_training_stages.py",
    "sandbox/test_attacks.py",
    "test_rehearsal.py",
    "plugins/test_examples.py",
    "think/test_process_reward.py",
    "model/test_embedded.py",
    "first_hour/test_first_hour.py",
    "data/test_cluster.py",
    "generate/test_local.py",
    "train/test_loop.py",
    "stages/test_asynchronous_rlvr.py",
)

gc.disable()  # while tests are collected: modules stay


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m slow` or `-m heavy` a file without such tests need not be imported."""
    mark = re.match(r"(slow|heavy)\b", config.getoption("markexpr"))
    if mark is None or collection_path.suffix != ".py":
        return None
    return f"mark.{mark[1]}" not in collection_path.read_text() or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FILES)}
    assert all(path.is_file() for path in places), "LONGEST_FILES names a file that is not there"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    _keep()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After a module's last test, what it imported is kept."""
    if nextitem is None or item.path != nextitem.path:
        _keep()


def _keep() -> None:
    """What was imported stays: training collects garbage before it begins, and need not look through it.

    In a process that imported all tests each look took half a second, in one that ran some thousand more than one.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def verifiers_as_before() -> Iterator[None]:
    """Verifiers that a test registers, in its own text or in a file that it writes, end with it."""
    registry: Any = sys.modules.get("bactrian.verify.registry")
    before = set(registry.VERIFIERS) if registry else set()
    yield
    registry = sys.modules.get("bactrian.verify.registry")
    for name, each in list(registry.VERIFIERS.items()) if registry else ():
        if name not in before and not each.module.startswith("bactrian."):
            del registry.VERIFIERS[name]


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
