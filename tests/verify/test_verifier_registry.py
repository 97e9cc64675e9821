"""Registering verifiers: by decorator, by entry point; settings, thinking sections, refusals, failures."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.store import plugins
from bactrian.verify import (
    Example,
    Item,
    Pool,
    Problem,
    Verdict,
    check_verifiers,
    names,
    register,
    registry,
    verify,
)
from bactrian.verify.final_answer import answer_part, declines
from bactrian.verify.registry import VERIFIERS

EXAMPLES = [Example("yes!", "", "right"), Example("no", "", "wrong"), Example("", "", "unparsable")]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """What a test registers is gone after it."""
    names()  # all of ours are there: what a test takes away would not be loaded again
    before = dict(VERIFIERS)
    yield
    VERIFIERS.clear()
    VERIFIERS.update(before)
    forget()


def forget() -> None:
    """As a process that has not looked for other packages yet."""
    registry.load_entry_points.cache_clear()
    plugins._entry_points.cache_clear()


def affirm(problem: Problem, completion: str) -> Verdict:
    if not completion.strip():
        return Verdict(0.0, "unparsable", None, "empty")
    wanted = "yes" + "!" * problem.settings["marks"]
    return Verdict(1.0, "right", completion, "") if completion == wanted else Verdict(0.0, "wrong", completion, "")


def test_a_decorated_function_verifies_rows_with_their_settings() -> None:
    register("affirm", examples=EXAMPLES, settings={"marks": 1})(affirm)
    one = {"dataset": "affirm", "ground_truth": "x"}
    rows = [one, one | {"settings": {"marks": 2}}]
    check_verifiers(rows, "rows.jsonl")
    with Pool() as pool:
        found = pool.verify_all([Item.of(row, text) for row in rows for text in ("yes!", "yes!!")])
    assert [verdict.outcome for verdict in found] == ["right", "wrong", "wrong", "right"]
    refused = [
        ({"mark": 1}, "'mark': the verifier affirm has thinking, marks"),
        ({"marks": "1"}, "expected int"),
        ({"thinking": "x"}, "expected two tags or null"),
        (3, "expected an object"),
    ]
    for settings, message in refused:
        with pytest.raises(BactrianError, match=rf"rows.jsonl, row 2, field 'settings': .*{message}"):
            check_verifiers([rows[0], {**rows[0], "settings": settings}], "rows.jsonl")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(BactrianError, match=r"two verifiers are called 'gsm8k': one of bactrian\.verify\.maths\."):
        register("gsm8k", examples=EXAMPLES)(affirm)


def test_entry_points_are_loaded_when_a_name_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: str) -> list[EntryPoint]:
        assert group == "bactrian.verifiers"
        return [EntryPoint("affirm", "third_party", group)]

    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(plugins, "entry_points", found)
    forget()
    assert verify("third_party", "yes", "").outcome == "right"
    assert "third_party" in names()


def test_an_entry_point_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("bad", "no_such_module", "bactrian.verifiers")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    forget()
    with pytest.raises(BactrianError, match=r"the verifier 'bad' of the package \? \(no_such_module\): it cannot be"):
        names()


def test_an_exception_is_a_verdict_and_a_users_error_is_not() -> None:
    def broken(problem: Problem, completion: str) -> Verdict:
        raise BactrianError("install it") if completion == "mend" else RecursionError("deep")

    register("broken", examples=EXAMPLES)(broken)
    assert verify("broken", "x", "") == Verdict(0.0, "crashed", None, "the verifier raised RecursionError('deep')")
    with pytest.raises(BactrianError, match="install it"):
        verify("broken", "mend", "")


def test_a_problem_that_cannot_be_judged_is_named_before_anything_is_sampled() -> None:
    def look(problem: Problem) -> None:
        if problem.ground_truth != "x":
            raise ValueError("expected x")

    register("affirm", examples=EXAMPLES, settings={"marks": 1}, check_truth=look)(affirm)
    rows = [{"dataset": "affirm", "ground_truth": truth} for truth in "xy"]
    with pytest.raises(BactrianError, match=r"rows.jsonl, row 2, field 'ground_truth': expected x"):
        check_verifiers(rows, "rows.jsonl")


def test_verifiers_in_threads_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(problem: Problem, completion: str) -> Verdict:
        meeting.wait()  # breaks unless another thread comes
        return Verdict(1.0, "right", completion, "")

    register("meet", examples=EXAMPLES, place="thread")(meet)
    items = [Item("meet", str(i), "") for i in range(4)] + [Item("gsm8k", "5", "5")]
    with Pool(workers=2) as pool:
        assert [verdict.extracted for verdict in pool.verify_all(items)] == ["0", "1", "2", "3", "5"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("plain", "plain"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a</think>b<think>c", "b"),
        ("<think>a", None),
        ("<think>a</think><think>b", None),
        ("</think>", ""),
    ],
)
def test_thinking_is_cut(text: str, answer: str | None) -> None:
    assert answer_part(text) == answer


@given(st.lists(st.sampled_from(["<think>", "</think>", "x", "\n"]), max_size=8).map("".join))
def test_what_is_left_has_no_thinking(text: str) -> None:
    left = answer_part(text)
    assert left is None or ("think>" not in left and text.count(left))
    assert left == text if "think>" not in text else True


def test_thinking_is_cut_before_scoring_and_the_tags_are_the_rows() -> None:
    assert verify("gsm8k", "<think>#### 7</think>The answer is 8", "8").outcome == "right"
    assert verify("gsm8k", "The answer is 8 <think>or 7", "8").outcome == "right"
    cut = verify("gsm8k", "<think>It is 8, no,", "8")
    assert cut.outcome == "unparsable" and "never closed" in cut.reason
    assert verify("gsm8k", "<think>It is 8", "8", {"thinking": None}).outcome == "right"
    own = {"thinking": ["[", "]"]}
    assert verify("gsm8k", "[7]8", "8", own).outcome == "right" and verify("gsm8k", "8[7", "8", own).outcome == "right"


def test_who_declines_is_told_from_who_cannot_be_read() -> None:
    for text in ("I'm sorry, but I can't help.", "I cannot answer this.", "As an AI, I do not compute.", "Sorry, no."):
        assert declines(text) and verify("gsm8k", text, "5").outcome == "refused"
    for text in ("no idea", "It is hard", "I can do it", "Not sorry"):
        assert not declines(text) and verify("gsm8k", text, "5").outcome == "unparsable"
    assert verify("gsm8k", "Sorry, I mean 5.", "5").outcome == "right"


def test_a_text_without_end_is_not_read() -> None:
    assert verify("gsm8k", "5" * 1_000_001, "5").outcome == "unparsable"


def test_an_installed_package_s_verifier_runs_in_a_worker(tmp_path: Path) -> None:
    """A package as pip leaves it: a module and its entry points, found by a new process and by the worker it starts."""
    (tmp_path / "loud_package.py").write_text(
        "from bactrian.verify import Example, Verdict, register\n"
        "@register('loud', examples=[Example('YES', '', 'right'), Example('no', '', 'wrong')], place='worker')\n"
        "def loud(problem, completion):\n"
        "    good = completion.isupper()\n"
        "    return Verdict(float(good), 'right' if good else 'wrong', completion, '')\n"
    )
    info = tmp_path / "loud_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bactrian.verifiers]\nloud = loud_package\n")
    rows = [{"completion": text, "ground_truth": "-", "dataset": "loud"} for text in ("AYE", "no")]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    command = [sys.executable, "-m", "bactrian", "verify", "score", str(tmp_path / "said.jsonl"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout)["score"] == 0.5
