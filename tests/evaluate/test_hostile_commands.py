"""The commands of evaluation on what is wrong, damaged, forged or of another version: one error each, status 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small import run, write_sets, write_small

from bactrian.cli import main as cli
from bactrian.evaluate.ledger import NAME as LEDGER


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, sets, and a store whose one evaluation looked at gpqa."""
    root = tmp_path_factory.mktemp("made")
    model, data = write_small(root / "one"), write_sets(root / "sets")
    run(root / "store", {"one": model}, data, tasks=["gsm8k", "gpqa"], final=True, reason="the paper", format="single")
    (root / "store" / "artifacts").mkdir()
    shutil.copytree(root / "store" / "output", root / "store" / "artifacts" / "suite-x")
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to be damaged; the working folder."""
    shutil.copytree(made, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "w"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one error of a command that has to fail. No trace, status 2."""
    capsys.readouterr()
    status = cli.invoke(arguments)
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if "rror" in line.split(":")[0] or line.startswith("Error")]
    return line


EVAL = ("eval", "one", "--data", "sets", "--max-new-tokens", "2", "--format", "plain", "--dtype", "float32")


@pytest.mark.parametrize(
    "more, message",
    [
        (["--tasks", "gsm9k"], "no task is called 'gsm9k'; did you mean"),
        (["--tasks", "gsm8k", "--data", "nowhere"], "nowhere: no such folder"),
        (["--tasks", "hellaswag"], "task hellaswag: its data are not here"),
        (["--tasks", "gpqa"], "gpqa: unseen, for final candidates only"),
        (["--tasks", "gpqa", "--final"], "gpqa: unseen, for final candidates only"),
        (["--suite", "unseen", "--reason", "because"], "for final candidates only"),
        (["--suite", "prod"], "suite"),
        (["--tasks", "gsm8k", "--limits", "gsm8k=0"], "--limits: found 'gsm8k=0', expected TASK=N"),
        (["--tasks", "gsm8k", "--limits", "mmlu=3"], "'mmlu' is none of the tasks asked"),
        (["sets/../one", "--tasks", "gsm8k"], "two models are called 'one'; give them labels: LABEL=MODEL"),
        (["other=nothing", "--tasks", "gsm8k"], "nothing"),
        (["--tasks", "gsm8k", "--baseline", "nobody"], "baseline: found 'nobody', expected one of one"),
        (["--tasks", "xstest", "--classifier", "nothing"], "nothing"),
        (["--tasks", "gpqa", "--harness", "out"], "gpqa: unseen, for final candidates only"),
    ],
)
def test_eval(here: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert message in error_of(capsys, *EVAL, *more)


def test_eval_of_damaged_sets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (here / "sets" / "gsm8k_test.jsonl").read_bytes()
    damaged = here / "sets" / "gsm8k_test.jsonl"
    for content, message in (
        (whole[:300], "line"),
        (b"", "gsm8k"),
        (b"\xff\xfe\x00rubbish", "gsm8k_test.jsonl"),
        (b'{"q": 1}\n', "a row that is in no layout known for it (KeyError: 'answer')"),
        (b"[1, 2]\n", "line 1"),
    ):
        damaged.write_bytes(content)
        assert message in error_of(capsys, *EVAL, "--tasks", "gsm8k")


def test_a_look_is_noted_where_unseen_questions_are_handed_out(here: Path) -> None:
    before = len((here / "store" / LEDGER).read_text().splitlines())
    args = ("eval", "one", "--data", "sets", "--tasks", "gpqa", "--harness", "out", "--final", "--reason", "outside")
    cli.invoke((*args, "--store", "store"))  # written answers in chat form: refused by the export itself, or written
    lines = (here / "store" / LEDGER).read_text().splitlines()
    assert len(lines) == before + 1 and "lm-evaluation-harness" in lines[-1]


def forge(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


FORGED: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("another version", lambda r: r["scores"][0].pop("interval"), "score 1: no interval: these are results of another"),
    ("no scores", lambda r: r.pop("scores"), "no scores: these are results of another"),
    ("another type", lambda r: r["scores"][1].update(score="high"), "score 2: score: found 'high'"),
    ("a list of numbers", lambda r: r.update(scores=[1]), "score 1: found 1, expected an object"),
]


@pytest.mark.parametrize("what, change, message", FORGED, ids=[what for what, _, _ in FORGED])
def test_scores_of_other_results(
    here: Path, capsys: pytest.CaptureFixture[str], what: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    forge(here / "store/output/results.json", change)
    for form in ("terminal", "markdown", "json"):
        assert message in error_of(capsys, "scores", "store/output", "--to", form)


def test_scores_and_compare_of_damaged_folders(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Path("store/artifacts/suite-x"), Path("store/output")
    compare = ("compare", f"{bad}:one", f"{good}:one")
    assert "no results.json" in error_of(capsys, "scores", "nowhere")
    assert "no questions.parquet" in error_of(capsys, "compare", "nowhere", str(good))
    assert "no model 'two'; expected one of one" in error_of(capsys, "compare", f"{good}:two", str(good))
    assert "name a folder with --out" in error_of(capsys, "scores", str(good), "--to", "lm-eval")
    table = pq.read_table(good / "questions.parquet")
    pq.write_table(table.drop(["outcome", "mode"]), bad / "questions.parquet")
    for command in (
        compare,
        ("scores", f"{bad}:one", f"{good}:one"),
        ("scores", str(bad), "--to", "lm-eval", "--out", "o"),
    ):
        assert "no column mode, outcome: written by another version" in error_of(capsys, *command)
    pq.write_table(table.slice(0, 0), bad / "questions.parquet")
    assert "holds no answers" in error_of(capsys, "compare", str(bad), str(good))
    (bad / "questions.parquet").write_bytes((good / "questions.parquet").read_bytes()[:2000])
    assert "cannot be read" in error_of(capsys, *compare)
    shutil.copy(good / "questions.parquet", bad / "questions.parquet")
    forge(bad / "results.json", lambda r: r["tasks"]["gsm8k"].update(task_hash="f" * 64))
    for command in (compare, ("scores", f"{bad}:one", f"{good}:one")):
        assert "task gsm8k was edited between the two evaluations" in error_of(capsys, *command)
    (bad / "results.json").write_text((good / "results.json").read_text()[:700])
    for command in (compare, ("scores", str(bad))):
        assert "damaged or cut short: not JSON" in error_of(capsys, *command)
    samples = here / "samples_gsm8k_2026-11-25T00-00-00.jsonl"
    samples.write_text("")
    assert str(samples.name) in error_of(capsys, "compare", str(samples), str(good))


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "expected either --questions N or --difference POINTS"),
        (["-n", "100", "--difference", "2"], "expected either"),
        (["--difference", "0"], "--difference: found 0"),
        (["--difference", "300"], "--difference: found 300"),
        (["--difference", "nan"], "--difference: found nan"),
        (["-n", "100", "--score", "100"], "--score: found 100"),
        (["--difference", "30", "--disagree", "10"], "--disagree: found 10"),
        (["-n", "10", "--disagree", "0"], "--disagree: found 0"),
        (["-n", "1"], "Invalid value for '--questions'"),
    ],
)
def test_power(capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert message in error_of(capsys, "power", *more)


def test_ledger(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, results = here / "store" / LEDGER, here / "store/artifacts/suite-x/results.json"
    lines, whole = ledger.read_text(), results.read_text()
    assert cli.invoke(["ledger", "--store", "store"]) == 0
    assert "nowhere: no such folder" in error_of(capsys, "ledger", "--store", "nowhere")
    for forged, message in (
        (lines.replace("the paper", "a habit"), "line 1: its seal does not fit"),
        ("rubbish\n", "line 1: not a line of a ledger"),
        (lines[:-20], "line 1: not a line"),
        ("", "looks that they were made with are not in"),
    ):
        ledger.write_text(forged)
        assert message in error_of(capsys, "ledger", "--store", "store") and "tampered"
    ledger.write_bytes(b"\xff\xfe\n")
    assert "line 1: not a line of a ledger" in error_of(capsys, "ledger", "--store", "store")
    ledger.write_text(lines)
    forge(results, lambda r: r.update(looks=[]))
    assert "scores of gpqa, which are unseen, without a look" in error_of(capsys, "ledger", "--store", "store")
    results.write_text(whole[:500])
    assert "damaged or cut short" in error_of(capsys, "ledger", "--store", "store")


def test_nothing_more_is_asked_with_a_ledger_that_was_tampered_with(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = here / "store" / LEDGER
    ledger.write_text(ledger.read_text().replace("the paper", "a habit"))
    assert "tampered" in error_of(capsys, *EVAL, "--tasks", "gsm8k", "--store", "store")
