"""The ledger by the command line: whatever is done to it, results in the store know what it has forgotten."""

import json
import shutil
from pathlib import Path

import pytest
from small import write_sets, write_small

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.evaluate.evidence import WITNESS
from bactrian.evaluate.ledger import GAP, NAME, Ledger, Look, counts
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

EVAL = ("eval", "one", "--data", "sets", "--max-new-tokens", "2", "--dtype", "float32")


def look(reason: str, store: str = "runs") -> int:
    return cli.invoke([*EVAL, "--tasks", "gpqa", "--final", "--reason", reason, "--store", store])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, sets, and two stores: `runs` with three looks, `other` with one of its own."""
    root = tmp_path_factory.mktemp("made")
    write_small(root / "one")
    write_sets(root / "sets")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        patched.setenv("HF_HUB_OFFLINE", "1")
        assert [look("first"), look("second"), look("third"), look("first", "other")] == [0, 0, 0, 0]
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "w"


def ledger(store: str = "runs") -> Ledger:
    return Ledger(Store(Path(store)))


def empty(path: Path) -> None:
    path.write_text("")


def delete(path: Path) -> None:
    path.unlink()


def delete_with_its_note(path: Path) -> None:
    path.unlink()
    path.with_name(WITNESS).unlink()


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))


def cut_with_its_note(path: Path) -> None:
    cut(path)
    (first,) = Ledger(Store(path.parent)).looks()
    path.with_name(WITNESS).write_text(json.dumps({"id": first.ledger, "lines": 1, "seal": first.seal}))


def replace(path: Path) -> None:
    shutil.copy(path.parent.parent / "other" / NAME, path)


def write_anew(path: Path) -> None:
    looks = ledger().looks()
    path.unlink()
    path.with_name(WITNESS).unlink()
    (path.parent / "artifacts").rename(path.parent / "aside")
    made = Ledger(Store(path.parent))
    made.add([Look(**(vars(look) | {"seal": "", "ledger": ""})) for look in looks[:2]])
    lines = path.read_text().replace(made.looks()[0].ledger, looks[0].ledger)
    (path.parent / "aside").rename(path.parent / "artifacts")
    path.write_text(lines)


LOSSES = [empty, delete, delete_with_its_note, cut, cut_with_its_note, replace, write_anew]


@pytest.mark.parametrize("lose", LOSSES)
def test_what_was_lost_is_named_and_nothing_more_is_measured(
    here: Path, capsys: pytest.CaptureFixture[str], lose: object
) -> None:
    lose(here / "runs" / NAME)  # type: ignore[operator]
    capsys.readouterr()
    for command in (
        [*EVAL, "--tasks", "gpqa", "--final", "--reason", "fourth"],
        [*EVAL, "--tasks", "gsm8k"],
        [*EVAL, "--tasks", "gpqa", "--final", "--reason", "first"],
        ["ledger"],
    ):
        assert cli.invoke(command) == 2, command
        said = capsys.readouterr().err
        assert f"runs/{NAME}" in said and "tampered" in said and "--rebuild" in said
    if lose in (delete_with_its_note, cut_with_its_note):
        assert "missing: line" in said and "gpqa with one" in said and "manifest.json" in said


@pytest.mark.parametrize("lose", [*LOSSES[:6]])
def test_what_results_prove_is_written_again_and_the_gap_is_marked(
    here: Path, capsys: pytest.CaptureFixture[str], lose: object
) -> None:
    before = ledger().looks()
    gone = next(
        path
        for path in (here / "runs/artifacts").glob("evaluate-*")
        if Manifest.read(path).ledger.looks[0]["number"] == 3
    )  # type: ignore[union-attr]
    lose(here / "runs" / NAME)  # type: ignore[operator]
    shutil.rmtree(gone)  # nothing proves the third look, but the note of how far the ledger was
    assert cli.invoke(["ledger", "--rebuild"]) == 0
    shown = capsys.readouterr().out
    assert "rebuilt with 1 gaps" in shown
    looks = ledger().checked()
    (gap,) = [each for each in looks if each.rebuilt == GAP]
    assert "that nothing proves are lost" in gap.reason
    if lose not in (delete_with_its_note, cut_with_its_note):
        assert before[2].seal in gap.stands_for
    written = [each for each in looks if each.rebuilt != GAP]
    assert [each.reason for each in written][:2] == ["first", "second"]
    assert all("by evaluate-" in each.rebuilt for each in written[:2] if each.seal not in {old.seal for old in before})
    assert look("fourth") == 0 and ledger().checked()[-1].reason == "fourth"
    assert "0 lines written anew" in (cli.invoke(["ledger", "--rebuild"]), capsys.readouterr().out)[1]


def test_a_store_can_be_moved_and_copied_and_named_from_anywhere(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(here / "runs", here / "copy")
    (here / "runs").rename(here / "moved")
    assert look("fourth", "copy") == 0 and look("fourth", "moved") == 0
    assert [len(ledger(store).checked()) for store in ("copy", "moved")] == [4, 4]
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    there = [
        "eval",
        str(here / "one"),
        "--data",
        str(here / "sets"),
        "--max-new-tokens",
        "2",
        "--dtype",
        "float32",
        "--tasks",
        "gpqa",
        "--final",
        "--reason",
        "fifth",
        "--store",
        str(here / "moved"),
    ]
    assert cli.invoke(there) == 0
    assert len(ledger(str(here / "moved")).checked()) == 5
    (here / "moved" / NAME).unlink()
    assert cli.invoke([*there[:-3], "sixth", *there[-2:]]) == 2


def test_results_of_another_store_are_told_as_such_and_accuse_nobody(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs,) = (here / "other/artifacts").glob("evaluate-*")
    shutil.copytree(theirs, here / "runs/artifacts/evaluate-copied")
    capsys.readouterr()
    assert cli.invoke(["ledger"]) == 0
    shown = capsys.readouterr().out
    assert "3 looks; every seal fits; 1 more by results of other stores" in shown and "copied in" in shown
    assert counts(ledger().all_looks()) == {"gpqa": 4}
    assert look("fourth") == 0
    assert ledger().looks()[-1].number == 4
    # a store that has nothing but copied results is asked to say so, once
    shutil.copytree(theirs, here / "fresh/artifacts/evaluate-copied")
    assert look("first", "fresh") == 2 and "copied from other stores" in capsys.readouterr().err
    assert cli.invoke(["ledger", "--store", "fresh", "--rebuild"]) == 0 and look("first", "fresh") == 0
    assert counts(ledger("fresh").all_looks()) == {"gpqa": 2}


def test_results_know_the_ledger_and_their_looks(here: Path) -> None:
    looks = ledger().looks()
    known = [Manifest.read(path).ledger for path in (here / "runs/artifacts").glob("evaluate-*")]
    assert {(each.id, each.lines, each.seal) for each in known if each} == {
        (looks[0].ledger, each.number, each.seal) for each in looks
    }
    assert sorted(look["reason"] for each in known if each for look in each.looks) == ["first", "second", "third"]
    assert cli.invoke([*EVAL, "--tasks", "gsm8k"]) == 0
    (dev,) = {
        record.seal
        for path in (here / "runs/artifacts").glob("evaluate-*")
        if (record := Manifest.read(path).ledger) and not record.looks
    }
    assert dev == looks[-1].seal  # results without a look know of the ledger too


def test_a_ledger_of_before_goes_on(here: Path) -> None:
    """Ledgers that had no names, results whose manifests did not know them."""
    from bactrian.evaluate import ledger as module

    shutil.rmtree(here / "runs")
    old, seal = [], module.START
    for number in (1, 2):
        bare = Look(number, "then", "me", "gpqa", "d", "m", "h", "r")
        seal = module.sealed(seal, bare)
        old.append(bare.as_json() | {"seal": seal})
    (here / "runs").mkdir()
    (here / "runs" / NAME).write_text("".join(json.dumps(each) + "\n" for each in old))
    assert look("third") == 0 and len(ledger().checked()) == 3
    (here / "runs" / NAME).unlink()
    with pytest.raises(BactrianError, match="tampered"):
        ledger().checked()


def test_many_at_once_write_one_ledger(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_add, [(str(tmp_path), number) for number in range(12)]))
    looks = Ledger(Store(tmp_path)).checked()
    assert sorted(int(look.reason) for look in looks) == list(range(12)) and len({look.ledger for look in looks}) == 1


def _add(given: tuple[str, int]) -> None:
    from bactrian.evaluate.ledger import entry

    Ledger(Store(Path(given[0]))).add([entry("gpqa", "d", "m", "h", str(given[1]))])


def test_a_look_from_another_directory_is_noted_where_the_model_lies_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = here / "home" / "artifacts" / "sft-0123456789abcdef"
    home.parent.mkdir(parents=True)
    shutil.copytree(here / "one", home)
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    asked = ["eval", str(home), "--data", "../sets", "--max-new-tokens", "2", "--dtype", "float32", "--tasks", "gpqa"]
    assert cli.invoke([*asked, "--final", "--reason", "from afar"]) == 0
    at_home = Ledger(Store(here / "home"))
    assert [each.reason for each in at_home.looks()] == [each.reason for each in ledger().looks()] == ["from afar"]
    at_home.path.write_text("")
    capsys.readouterr()
    assert cli.invoke([*asked, "--final", "--reason", "again"]) == 2
    assert "the ledger was tampered with" in capsys.readouterr().err
    assert len(ledger().looks()) == 1
