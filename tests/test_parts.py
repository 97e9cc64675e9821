"""What a step looks up by name while it runs counts for that step, and for no other."""

from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.run.log import StepEntry
from bactrian.run.plan import plan
from bactrian.store import fingerprint, parts
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

RECIPE = """\
name: parts
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  with: {stage: letters, part: their_part}
  without: {stage: letters, letter: b}
"""


@pytest.fixture
def part(fakes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of somebody else's, which the step `with` looks up."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "their_part.py"
    path.write_text("answer = 42\n")
    return path


def again() -> dict[str, StepEntry]:
    """A run as by a new process, which knows no hash yet."""
    fingerprint._read.cache_clear()
    fingerprint.code_fingerprint.cache_clear()
    Path("r.yaml").write_text(RECIPE)
    return {record.name: record for record in runner.run(load(Path("r.yaml")), Store(Path("runs")))}


def statuses() -> dict[str, str]:
    return {name: record.status for name, record in again().items()}


def test_a_changed_part_remakes_what_used_it_and_nothing_else(part: Path) -> None:
    first = again()
    used = Manifest.read(Path("runs") / str(first["with"].path)).parts
    assert list(used) == ["part"] and used["part"].module == "their_part"
    assert not Manifest.read(Path("runs") / str(first["without"].path)).parts
    assert statuses() == {"with": "reused", "without": "reused"}
    part.write_text("answer = 42  # a comment\n")
    assert statuses() == {"with": "reused", "without": "reused"}
    part.write_text("answer = 43\n")
    fingerprint.code_fingerprint.cache_clear()
    fingerprint._read.cache_clear()
    assert [step.state for step in plan(load(Path("r.yaml")), Store(Path("runs"))).steps] == ["make", "exists"]
    assert statuses() == {"with": "made", "without": "reused"}


def test_a_part_that_is_gone_remakes(part: Path) -> None:
    again()
    part.unlink()
    fingerprint._read.cache_clear()
    fingerprint.code_fingerprint.cache_clear()
    manifests = [Manifest.read(path) for path in Path("runs/artifacts").glob("letters-*")]
    assert [parts.changed(each.parts) for each in manifests if each.parts] == [["part"]]


@pytest.mark.parametrize("change", [False, True])
def test_what_was_cut_goes_on_only_with_the_same_part(
    part: Path, change: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fake_stages.Letters.trouble_now", "input", raising=False)
    with pytest.raises(BactrianError, match="row 3"):
        again()
    assert not parts.used()
    parts.note("part", "their_part")  # outside of steps nothing is written
    (scratch,) = Path("runs/artifacts").glob("*.partial/scratch")
    (scratch / "earlier").write_text("from before")
    monkeypatch.setattr("fake_stages.Letters.trouble_now", "")
    kept: list[bool] = []
    monkeypatch.setattr("fake_stages.Letters.saw", lambda scratch: kept.append((scratch / "earlier").exists()))
    if change:
        part.write_text("answer = 43\n")
    assert statuses() == {"with": "made", "without": "made"}
    assert kept[0] is not change
    assert ("begins anew" in capsys.readouterr().err) is change
