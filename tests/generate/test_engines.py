"""The door to engines: by name, ours or a stranger's, with clear errors for a name that is not there or taken."""

from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.generate import engines
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.store import plugins
from bactrian.store.hardware import Hardware
from tests.model.tiny import write_tiny

GROUP = "bactrian.engines"


def register(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    def of_group(group: str) -> Sequence[EntryPoint]:
        return [point for point in points if point.group == group]

    plugins._entry_points.cache_clear()
    monkeypatch.setattr(plugins, "entry_points", of_group)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    plugins._entry_points.cache_clear()


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    with pytest.raises(BactrianError, match=r"found 'locl'.*expected 'local'.*none does.*did you mean 'local'"):
        engines.open_engine(Path("anywhere"), Hardware(engine="locl"))


def test_a_broken_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, EntryPoint("far", "not_there.at_all:make", GROUP))
    with pytest.raises(
        BactrianError, match=r"engine 'far' of the package \? \(not_there.at_all:make\): it cannot be.*not_there"
    ):
        engines.open_engine(Path("anywhere"), Hardware(engine="far"))


def test_a_name_cannot_be_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, EntryPoint("far", "one:make", GROUP), EntryPoint("far", "two:make", GROUP))
    with pytest.raises(BactrianError, match="engine 'far': two packages have one of that name"):
        engines.open_engine(Path("anywhere"), Hardware(engine="far"))


def test_nobody_takes_the_name_local(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, EntryPoint("local", "one:make", GROUP))
    with pytest.raises(BactrianError, match=r"the engine 'local' of the package .* Bactrian has one of that name"):
        engines.open_engine(Path("anywhere"), Hardware(engine="far"))


def test_a_model_in_training_is_sampled_as_it_is(tmp_path: Path) -> None:
    write_tiny(tmp_path, "llama")
    model = LanguageModel.load(tmp_path)
    engine = engines.open_engine(model, Hardware(), rows=3)
    assert isinstance(engine, LocalEngine) and engine.model is model and engine.rows == 3


def test_a_folder_is_opened_as_the_hardware_has_it(tmp_path: Path) -> None:
    write_tiny(tmp_path, "llama")
    engine = engines.open_engine(tmp_path, Hardware(dtype="bfloat16"), template="tulu", rows=5)
    assert isinstance(engine, LocalEngine) and engine.rows == 5
    assert engine.model.network.dtype == torch.bfloat16 and engine.template.name == "tulu"


def test_an_unknown_engine_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = "hardware: {engine: locl}\nsteps: {data: {stage: problems, tasks: [{source: sums, count: 3}]}}\n"
    Path("r.yaml").write_text(recipe)
    for command in ("plan", "run"):
        assert cli.invoke([command, "r.yaml"]) == 2
    assert not Path("runs/artifacts").exists()
