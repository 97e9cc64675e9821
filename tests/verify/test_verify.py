"""Verifiers: their own examples, hostile text, and what they must agree on."""

import json
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.verify import Example, Verdict, names, self_check, verifier, verify
from bactrian.verify.gym import chain_sum
from bactrian.verify.registry import VERIFIERS, Verifier

CHEAP = ["gsm8k", "gsm8k_strict"]
names()
EXAMPLES = [(name, example) for name in CHEAP for example in VERIFIERS[name].examples]


@pytest.mark.parametrize(("dataset", "example"), EXAMPLES, ids=lambda value: repr(value)[:60])
def test_gold_and_hard_negatives(dataset: str, example: Example) -> None:
    verdict = verify(dataset, example.completion, example.ground_truth)
    assert verdict.outcome == example.outcome, verdict
    assert verdict.score == (1.0 if example.outcome == "right" else 0.0)


def test_reasoning_gym_examples() -> None:
    pytest.importorskip("reasoning_gym")
    self_check("reasoning_gym")


def test_every_verifier_has_gold_and_hard_negatives() -> None:
    for name in names():
        if ".py:" in name or verifier(name).place == "judge":  # a test's own file; a model decides
            continue
        outcomes = {example.outcome for example in verifier(name).examples}
        assert {"right", "wrong", "unparsable"} <= outcomes, name


def test_self_check_says_what_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = Verifier(lambda problem, completion: Verdict(1.0, "right", None, ""), VERIFIERS["gsm8k"].examples)
    monkeypatch.setitem(VERIFIERS, "blind", blind)
    with pytest.raises(BactrianError, match=r"the verifier blind fails its self-check on 'The answer is 0\.25'"):
        self_check("blind")


def test_unknown_verifier() -> None:
    with pytest.raises(BactrianError, match=r"no verifier is called 'gsm8'.*did you mean 'gsm8k'"):
        verify("gsm8", "5", "5")


@given(st.integers(-(10**12), 10**12))
def test_any_way_to_write_a_number_is_right(number: int) -> None:
    written = [
        f"{number}",
        f"{number:,}",
        f"{number}.0",
        f"{number}.00",
        f"${number}" if number >= 0 else f"-${-number}",
    ]
    for form in written:
        for text in (f"Answer: {form}", f"#### {form}", f"the answer is {form}.", f"first 3, then {form}"):
            assert verify("gsm8k", text, str(number)).outcome == "right", text


@given(st.integers(-999, 999), st.integers(-999, 999), st.text(alphabet="ab .,\n", max_size=20))
def test_another_number_is_wrong(number: int, other: int, between: str) -> None:
    outcome = verify("gsm8k", f"It is {number} {between}\nAnswer: {other}", str(number)).outcome
    assert outcome == ("right" if number == other else "wrong")


@given(st.text(max_size=300), st.integers(-99, 99))
def test_any_text_gets_a_verdict(text: str, gold: int) -> None:
    for dataset in CHEAP:
        verdict = verify(dataset, text, str(gold))
        assert verdict.outcome in ("right", "wrong", "unparsable")
        assert (verdict.score == 1.0) == (verdict.outcome == "right")


@given(st.text(alphabet="0123456789+-.,eE/$ =#Answer:\n", max_size=60), st.integers(0, 20))
def test_right_means_that_the_number_stands_there(text: str, gold: int) -> None:
    verdict = verify("gsm8k", text, str(gold))
    if verdict.outcome == "right" and re.fullmatch(r"[-+]?\d+(\.\d+)?", verdict.extracted or ""):
        assert Decimal(verdict.extracted or "nan") == gold


@given(st.lists(st.sampled_from(["8", "2", " ", "=", "*", "a", "\n", "(", "-", ".", ","]), max_size=12))
def test_a_calculation_that_breaks_off_comes_to_an_end(pieces: list[str]) -> None:
    assert verify("gsm8k", f"Answer: {''.join(pieces)}", "7").outcome in ("right", "wrong", "unparsable")


@given(st.text(alphabet="0123456789+-., ab\n", max_size=60))
def test_strict_is_what_was_published(text: str) -> None:
    """The published steps and pattern, written out once more: its sign belongs to decimals only."""
    numbers = re.findall(r"[-+]?\d*\.\d+|\d+", re.sub(r"(\d),(\d)", r"\1\2", text))
    expected = numbers[-1] if numbers else text
    assert verify("gsm8k_strict", text, expected).score == 1.0
    assert verify("gsm8k_strict", text, expected + "0").score == 0.0


@given(st.integers(-999, -1))
def test_strict_never_finds_a_negative_whole_number(number: int) -> None:
    assert verify("gsm8k_strict", f"#### {number}", str(number)).outcome == "wrong"
    assert verify("gsm8k_strict", f"#### {number}", str(-number)).outcome == "right"


@pytest.mark.parametrize(
    "text",
    [
        "9" * 200_000,
        "1," * 100_000,
        "=" * 100_000,
        "Answer:" + "= " * 50_000,
        "1e" * 90_000,
        "-" * 100_000,
        "1/" * 100_000,
        "1,111" * 50_000,
        "." * 100_000,
        "1e999 " * 30_000,
        "answer" + " " * 100_000,
        "\\boxed{" * 30_000,
        "１２３" * 1000,
        "Answer: 1e999999999",
        "Answer: " + "5" * 5000,
        "\x00\ud800 5 \udfff",
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("dataset", CHEAP)
def test_hostile_text_is_quick(dataset: str, text: str) -> None:
    started = time.monotonic()
    verify(dataset, text, "5")
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("truth", ["", "five", "nan", "inf", "1e99999", "5 apples", "9" * 1000])
def test_a_ground_truth_that_is_no_number_is_no_wrong_answer(truth: str) -> None:
    verdict = verify("gsm8k", "#### 5", truth)
    assert verdict.outcome == "crashed" and "not a number" in verdict.reason


def test_reasoning_gym_part_marks_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(result: object) -> Verdict:
        def scorer(answer: str, entry: object) -> object:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr("bactrian.verify.gym.scorer", lambda task: scorer)
        return verify("reasoning_gym", "Answer: 4", chain_sum("4"))

    assert scored(0.5) == Verdict(0.5, "wrong", "4", "chain_sum gave 0.5")
    assert scored(1 - 1e-12).outcome == "right"
    for failure in (KeyError("x"), 1.5, -1, float("nan"), None, "many"):
        assert scored(failure).outcome == "crashed" and scored(failure).score == 0.0


def test_reasoning_gym_answers_of_several_lines() -> None:
    from bactrian.verify.gym import answer

    assert answer("Thinking.\nAnswer:\n1 2\n3 4\n\nDone.", 2) == "1 2\n3 4"
    assert answer("Thinking.\n1 2\n3 4\n\n", 2) == "1 2\n3 4"
    assert answer("Answer: 1\n<answer>a\nb</answer> Answer", 1) == "a\nb"
    assert answer("<answer>1</answer>\nFinal Answer: **2**", 1) == "**2**"


def test_unknown_reasoning_gym_task_is_the_users_error() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(BactrianError, match="no task 'chain_sun'"):
        verify("reasoning_gym", "4", json.dumps({"task": "chain_sun", "answer": "4", "metadata": {}}))


def test_scorers_do_not_run_the_answer_as_code(tmp_path: Path) -> None:
    """reasoning-gym 0.1.25 evaluates the answers of four tasks; the list must hold all that call eval on one."""
    reasoning_gym = pytest.importorskip("reasoning_gym")
    from reasoning_gym.factory import DATASETS

    from bactrian.verify.gym import EVALUATING

    root = Path(reasoning_gym.__file__).parent
    calling = {path.stem for path in root.rglob("*.py") if re.search(r"\beval\(answer", path.read_text())}
    assert calling == {DATASETS[task][0].__module__.rpartition(".")[2] for task in EVALUATING}
    mark = tmp_path / "mark"
    for task in EVALUATING:
        truth = json.dumps({"task": task, "answer": "0", "metadata": {"solution": "0", "valid_answers": []}})
        assert verify("reasoning_gym", f"Answer: open({str(mark)!r}, 'w').close()", truth).outcome != "right"
        assert verify("reasoning_gym", "Answer: ().__class__", truth).outcome == "unparsable"
    assert not mark.exists()
