"""A run's folder has a link to each step's artifact; files are the group's to read where the umask says so."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bactrian.store import disk
from bactrian.store.artifact import Memo
from tests.test_runner import RECIPE, run


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_each_step_has_a_link_to_its_artifact_that_moves_with_it(fakes: list[str]) -> None:
    records = run()
    for name, record in records.items():
        place = Path("runs/small") / name
        assert place.is_symlink() and place.resolve() == (Path("runs") / str(record.path)).resolve()
    again = run("data.count=3")
    assert again["data"].path != records["data"].path
    assert Path("runs/small/data").resolve() == (Path("runs") / str(again["data"].path)).resolve()


def test_links_lead_on_where_the_store_is_moved(fakes: list[str]) -> None:
    run()
    Path("runs").rename("elsewhere")
    assert (Path("elsewhere/small/sft") / "manifest.json").is_file()


def test_what_is_no_link_is_left_alone(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/small/sft").mkdir(parents=True)
    Path("runs/small/sft/mine.txt").write_text("mine")
    run()
    assert Path("runs/small/sft/mine.txt").read_text() == "mine" and not Path("runs/small/sft").is_symlink()
    assert "not a link, so it is left as it is" in capsys.readouterr().err


def test_a_disk_without_links_is_said_and_nothing_else(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    records = run()
    assert {record.status for record in records.values()} == {"made"}
    assert "no link to" in capsys.readouterr().err


@pytest.mark.usefixtures("umask")
def test_artifacts_and_memos_are_read_by_whom_the_umask_lets(fakes: list[str], tmp_path: Path) -> None:
    records = run(text=RECIPE)
    for record in records.values():
        for file in (Path("runs") / str(record.path)).rglob("*"):
            assert file.is_dir() or file.stat().st_mode & 0o777 == 0o640, file
    memo = Memo(tmp_path / "memo")
    save_file({"sums": torch.ones(2)}, memo.begin() / "sums.safetensors")  # of its owner alone, by the library
    assert (memo.commit() / "sums.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("umask")
def test_what_was_executable_stays_so(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("exit 0")
    script.chmod(0o700)
    disk.allow_as_umask(tmp_path)
    assert script.stat().st_mode & 0o777 == 0o740
