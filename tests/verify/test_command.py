"""`bactrian verify`: error rates with intervals, files of completions, what is told of bad files."""

import json
from pathlib import Path

import pytest

from bactrian.cli.main import invoke
from bactrian.evaluate.checking import Case, check, own_cases, row_cases
from bactrian.verify import Item, Pool, Verdict, names
from bactrian.verify.registry import VERIFIERS, Verifier


def written(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_check_measures_both_kinds_of_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that calls everything right that holds a 5: its rates are known."""
    names()
    examples = VERIFIERS["gsm8k"].examples
    blind = Verifier(
        lambda problem, completion: (
            Verdict(1.0, "right", "5", "") if "5" in completion else Verdict(0.0, "wrong", "", "")
        ),
        examples,
    )
    monkeypatch.setitem(VERIFIERS, "blind", blind)
    cases = [
        Case("made", Item("blind", text, "5"), right)
        for text, right in [("5", True), ("five", True), ("5 no", False), ("6", False), ("7", False)]
    ]
    with Pool() as pool:
        rates, errors = check("blind", cases, pool)
    made = {each.right: each for each in rates if each.kind == "made"}
    assert (made[True].errors, made[True].n, made[False].errors, made[False].n) == (1, 2, 1, 3)
    assert made[False].interval[0] < 1 / 3 < made[False].interval[1]
    assert {case.item.completion for case, _ in errors} >= {"five", "5 no"}
    changed = next(each for each in rates if each.kind == "a digit changed")
    assert changed.n == 1 and changed.errors == 0  # "5" became another digit, and is no longer right


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_strict", "math", "ifeval", "choice", "drop"])
def test_our_verifiers_do_not_err_on_their_own_cases(name: str) -> None:
    pytest.importorskip("math_verify")
    with Pool(1) as pool:
        rates, errors = check(name, own_cases(name), pool)
    assert errors == [] and {each.right for each in rates} == {True, False}


def test_solutions_of_other_problems_are_not_right() -> None:
    asked = [{"role": "user", "content": "?"}]
    rows = [{"messages": asked, "dataset": "gsm8k", "ground_truth": str(n), "solution": f"#### {n}"} for n in (5, 7, 7)]
    cases = list(row_cases("gsm8k", rows, "rows"))
    assert [(case.item.completion, case.item.ground_truth, case.right) for case in cases if not case.right] == [
        ("#### 7", "5", False),
        ("#### 5", "7", False),
        ("#### 5", "7", False),
    ]


def test_the_command_prints_rates_and_fails_on_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", "check", "gsm8k"]) == 0
    assert "95 % interval" in capsys.readouterr().out
    assert invoke(["verify", "check", "math_hendrycks", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] and found["rates"][0]["kind"] == "all"
    assert invoke(["verify", "check", "gsm9k"]) == 2
    assert "did you mean 'gsm8k'" in capsys.readouterr().err


def test_a_file_of_completions_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path,
        {"question": "a", "completion": "#### 5", "ground_truth": "5", "dataset": "gsm8k"},
        {"question": "a", "completion": "#### 6", "ground_truth": "5", "dataset": "gsm8k", "finish": "length"},
        {"question": "b", "response": "<think>7</think>8", "ground_truth": "7", "dataset": "gsm8k"},
        {"question": "b", "completion": "7", "ground_truth": "7", "dataset": "gsm8k", "settings": {"thinking": None}},
    )
    out = tmp_path / "out.jsonl"
    assert invoke(["verify", "score", str(path), "--json", "--output", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == 0.5 and found["questions"] == 2 and found["counts"]["truncated"] == 1
    assert [json.loads(line)["outcome"] for line in out.read_text().splitlines()] == [
        "right",
        "truncated",
        "wrong",
        "right",
    ]


def test_ifeval_in_its_own_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("langdetect")
    both = ["punctuation:no_comma", "startend:quotation"]
    path = written(tmp_path, {"prompt": "x", "response": "no comma", "instruction_id_list": both, "kwargs": [{}, {}]})
    assert invoke(["verify", "score", str(path), "--verifier", "ifeval_strict"]) == 0
    assert "single instructions kept: 50.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"ground_truth": "5", "dataset": "gsm8k"},
            "row 1: no completion; expected a text in one of the fields completion",
        ),
        ({"completion": "5", "ground_truth": "5"}, "row 1: no field 'dataset' names its verifier"),
        ({"completion": "5", "dataset": "gsm8k"}, "row 1, field 'ground_truth': found None, expected a text"),
        (
            {"completion": "5", "ground_truth": "5", "dataset": "gsm"},
            "row 1, field 'dataset': no verifier is called 'gsm'",
        ),
    ],
)
def test_bad_files_are_told_by_row(
    row: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["verify", "score", str(written(tmp_path, row))]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_every_verifier_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("gsm8k_strict", "math", "ifeval", "instructions", "choice", "code", "gated"))


def test_fuzz_counts_what_hangs_or_crashes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(["verify", "fuzz", "math_hendrycks", "--count", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == sum(found["outcomes"].values()) == 40 and found["failures"] == []

    def fragile(problem: object, completion: str) -> Verdict:
        if "\\frac" in completion:
            raise ValueError("no")
        return Verdict(0.0, "wrong", None, "")

    monkeypatch.setitem(VERIFIERS, "math_hendrycks", Verifier(fragile, ()))
    assert invoke(["verify", "fuzz", "math_hendrycks", "--count", "40"]) == 1
    assert "crashed (the verifier raised ValueError('no'))" in capsys.readouterr().out
    assert invoke(["verify", "fuzz", "gsm8k"]) == 2
    assert "expected a verifier of mathematics" in capsys.readouterr().err
