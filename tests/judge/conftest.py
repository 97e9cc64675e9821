"""A calibration of a tiny judge whose labels agree with it where it is sure."""

import shutil
from pathlib import Path

import pytest

from bactrian.data.io.files import read_rows
from tests.judge.cascade_recipes import CALIBRATE, JUDGE, PAIRS, made, recipe, rows, write
from tests.model.tiny import write_tiny


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, labels that agree with what it says, a calibration, and verdicts on fresh pairs."""
    folder = tmp_path_factory.mktemp("trusted")
    write_tiny(folder / "judge")
    asked = rows(0, PAIRS)
    write(folder / "labels.jsonl", [{**row, "label": 1} for row in asked])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        recipe(folder, CALIBRATE)
        said = {row["id"]: row["judge_probs"]["judge"] for row in read_rows(made(folder)["calibrated"])}
        # people who say what it says, but where it is least sure
        unsure = sorted(said, key=lambda name: max(said[name]))[: PAIRS // 3]
        agreed = {name: 1 + int(second > first) for name, (first, second) in said.items()}
        labels = {name: 3 - label if name in unsure else label for name, label in agreed.items()}
        write(folder / "labels.jsonl", [{**row, "label": labels[row["id"]]} for row in asked])
        write(folder / "fresh.jsonl", rows(PAIRS, 40))
        recipe(folder, f"{CALIBRATE}\n{JUDGE}")
        made(folder)
    return folder


@pytest.fixture
def ready(trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder for a test of its own."""
    folder = tmp_path / "of-its-own"
    shutil.copytree(trusted, folder)
    monkeypatch.chdir(folder)
    return folder
