"""Rewards and verifiers in a user's own file: every form of function, what it returns, and what goes wrong with it."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.rows import as_given, judged_by
from bactrian.errors import BactrianError
from bactrian.verify import Item, Pool, Problem, Verdict, check_own, use_own, verifier, verify
from bactrian.verify.own import FORMS, form_of, own_check
from bactrian.verify.registry import VERIFIERS

ROW = {"id": "r1", "messages": [{"role": "user", "content": "Greet me."}], "answer": "hello", "license": "CC0-1.0"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name, found in VERIFIERS.items() if found.own]:
        del VERIFIERS[name]


def asked(function: Callable[..., Any], completion: str, **columns: Any) -> Verdict:
    """What the worker would answer."""
    return own_check("mine.py:f", function)(Problem("-", {}, "Greet me.", (), {**ROW, **columns}), completion)


def test_a_function_of_the_completion_and_the_row() -> None:
    def reward(completion: str, row: dict[str, Any]) -> float:
        return float(row["answer"] in completion) + (row["prompt"] == "Greet me.") / 4

    assert asked(reward, "hello").score == 1.25 and asked(reward, "hello").outcome == "right"
    assert asked(reward, "good day").score == 0.25 and asked(reward, "good day").outcome == "wrong"


def test_a_row_keeps_its_own_verifier_and_truth() -> None:
    seen: list[dict[str, Any]] = []

    def reward(completion: str, row: dict[str, Any]) -> float:
        seen.append(row)
        return 0

    asked(reward, "", **judged_by({**ROW, "dataset": "gsm8k", "ground_truth": "7"}, "mine.py:f"))
    asked(reward, "", **judged_by(ROW, "mine.py:f"))
    assert (seen[0]["dataset"], seen[0]["ground_truth"]) == ("gsm8k", "7")
    assert not {"dataset", "ground_truth", "_given"} & seen[1].keys()
    assert as_given(judged_by(ROW, "mine.py:f")) == ROW


def test_what_it_does_to_the_row_reaches_no_other_answer() -> None:
    def reward(completion: str, row: dict[str, Any]) -> float:
        row["seen"] = row.get("seen", 0) + 1
        return float(row["seen"])

    assert [asked(reward, "a").score for _ in range(2)] == [1, 1]


def test_a_function_of_the_completion_alone_and_an_async_one() -> None:
    async def slow(completion: str) -> int:
        import asyncio

        await asyncio.sleep(0)
        return len(completion)

    assert asked(len_of, "abc").score == 3 and asked(slow, "abcd").score == 4


def len_of(completion: str) -> int:
    return len(completion)


def test_our_own_form() -> None:
    def shout(problem: Problem, completion: str) -> Verdict:
        return Verdict(0.5, "wrong", completion, f"not {problem.row['answer']}")

    assert asked(shout, "x") == Verdict(0.5, "wrong", "x", "not hello")
    assert form_of(shout, "mine.py:f") == "problem"


def test_the_batch_form_of_trl() -> None:
    def texts(completions: list[str], answer: list[str], **rest: Any) -> list[float]:
        assert set(rest) >= {"prompts", "id"}
        return [float(right in text) for text, right in zip(completions, answer, strict=True)]

    def messages(prompts: list[str], completions: list[list[dict[str, str]]]) -> list[float]:
        return [float(len(turns[0]["content"])) for turns in completions]

    assert asked(texts, "hello you").score == 1 and asked(messages, "abc").score == 3
    with pytest.raises(BactrianError, match=r"texts wants answer; the row has the columns prompt, id"):
        own_check("mine.py:f", texts)(Problem("-", {}, "", (), {"id": "r1"}), "x")


def trl_other(completions: list[str]) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "returned nan for an answer of row r1: expected a finite number"),
        (math.inf, "returned inf for an answer of row r1: expected a finite number"),
        (None, r"returned None \(NoneType\) for an answer of row r1: expected a number"),
        ("0.5", r"returned '0.5' \(str\) for"),
        ([1.0], r"returned \[1.0\] \(list\) for"),
        (Verdict(math.nan, "right", None, ""), "returned nan"),
        (Verdict(1.0, "good", None, ""), "returned the outcome 'good'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_finite_number_is_refused(value: Any, said: str) -> None:
    with pytest.raises(BactrianError, match=rf"^mine.py:f {said}"):
        asked(lambda completion: value, "x")


def test_numbers_of_any_library_are_taken() -> None:
    import numpy

    assert asked(lambda completion: numpy.float32(0.25), "x").score == 0.25
    assert asked(lambda completion: True, "x").outcome == "right"
    with pytest.raises(BactrianError, match="expected a list of one number"):
        asked(trl_other, "x")


@pytest.mark.parametrize(
    "text",
    ["a, b, c", "", "prompt, completion", "*, completion", "row, completion", "completion, prompt", "*all"],
)
def test_a_wrong_signature_shows_the_right_ones(text: str, here: Path) -> None:
    (here / "mine.py").write_text(f"\n\ndef f({text}):\n    return 1\n")
    names: dict[str, Any] = {}
    exec(compile((here / "mine.py").read_text(), "mine.py", "exec"), names)  # noqa: S102 - our own text
    with pytest.raises(BactrianError) as error:
        form_of(names["f"], "mine.py:f")
    assert str(error.value) == f"mine.py, line 3: found def f({text}), expected one of\n{FORMS}"


def test_an_exception_is_a_crashed_verdict_that_names_line_and_row(here: Path) -> None:
    (here / "mine.py").write_text("def f(completion, row):\n    return row['nothing']\n")
    names: dict[str, Any] = {}
    exec(compile((here / "mine.py").read_text(), "mine.py", "exec"), names)  # noqa: S102 - our own text
    found = asked(names["f"], "x")
    assert found.outcome == "crashed" and found.score == 0
    assert found.reason == "mine.py:f raised KeyError('nothing') (mine.py, line 2) on an answer of row r1"


def test_a_row_of_data_cannot_name_a_file(here: Path) -> None:
    (here / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\ndef f(completion): return 1\n")
    row = {**ROW, "dataset": "evil.py:f", "ground_truth": "-"}
    with pytest.raises(BactrianError, match="a row's text names no file to be run"), Pool() as pool:
        pool.verify_all([Item.of(row, "x")])
    assert not (here / "ran").exists()


MINE = """\
import socket
from pathlib import Path
from beside import WORD

Path("imported").touch()

def polite(completion, row):
    return float(WORD in completion)

def hangs(completion):
    while True: pass

def dies(completion):
    import os
    os._exit(3)

def writes(completion):
    Path("written").touch()
    return 1

def connects(completion):
    socket.socket().close()
    return 1
"""


def test_in_workers_that_can_be_killed(here: Path) -> None:
    """One start of a worker for each that dies; nothing is imported in this process."""
    (here / "mine.py").write_text(MINE)
    (here / "beside.py").write_text("WORD = 'please'\n")
    with Pool(1, timeout=0.5) as pool:

        def outcome(name: str, text: str = "yes please") -> str:
            return pool.verify_all([Item.of(judged_by(ROW, use_own(f"mine.py:{name}")), text)])[0].outcome

        for name in ("polite", "hangs", "dies", "writes", "connects"):
            use_own(f"mine.py:{name}")
        pool.verify_all([Item.of(judged_by(ROW, f"mine.py:{n}"), "") for n in ("polite", "connects", "writes")])
        assert outcome("polite") == "right" and outcome("polite", "no") == "wrong"
        assert outcome("connects") == "right"
        assert outcome("writes") == "crashed" and not (here / "written").exists()
        assert outcome("hangs") == "timed_out"
    assert (here / "imported").exists() and "beside" not in __import__("sys").modules
    assert verifier("mine.py:polite").own and verifier("mine.py:polite").place == "worker"
    with pytest.raises(BactrianError, match="runs in a worker"):
        verify("mine.py:polite", "x", "-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(a, b, c): return 1\n", "mine.py, line 1: found def f(a, b, c), expected one of"),
        ("x = 1\n\nx.y\n", "mine.py, line 3: importing this file raised AttributeError"),
        ("def g(completion): return 1\n", "mine.py has no f, expected FILE.py:FUNCTION; mine.py has g"),
        ("import os\nos._exit(3)\n", "died while starting"),
    ],
)
def test_files_are_tried_before_anything_else(text: str, said: str, here: Path) -> None:
    (here / "mine.py").write_text(text)
    began = time.process_time()
    with pytest.raises(BactrianError) as error:
        check_own([use_own("mine.py:f")])
    assert said in str(error.value) and time.process_time() - began < 1
    (here / "mine.py").write_text("def f(completion): return 1\n")
    check_own(["mine.py:f"])


def test_digests_tell_rows_apart() -> None:
    first, second = (Item.of(judged_by({**ROW, "level": n}, "mine.py:f"), "x") for n in (1, 2))
    assert first.digest() != second.digest() and json.loads(json.dumps(dict(first.row)))["level"] == 1
    assert Item.of({**ROW, "dataset": "gsm8k", "ground_truth": "1"}, "x").row == {}
