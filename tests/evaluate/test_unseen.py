"""Unseen data are known by what they say, whatever their file is called; other data are not taken for them."""

import csv
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import write_small

from bactrian.cli import main as cli
from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.ledger import Ledger
from bactrian.evaluate.recognise import SHIPPED, is_item, known_marks, remember, rows_in, shipped
from bactrian.evaluate.unseen_items import Marks, look_through, marks_of, together
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

SHARED = Path(__file__).parents[3] / "shared" / "data"
Row = dict[str, Any]
DRAW = random.Random(7)
WORDS = ["".join(DRAW.choice("abcdefghijklmnop") for _ in range(6)) for _ in range(400)]


def question(number: int, length: int = 15) -> str:
    draw = random.Random(f"{number}/{length}")
    return " ".join(draw.choice(WORDS) for _ in range(length)).capitalize() + "?"


GPQA = [
    {
        "Question": question(i),
        "Correct Answer": "so",
        "Incorrect Answer 1": "a",
        "Incorrect Answer 2": "b",
        "Incorrect Answer 3": "c",
        "High-level domain": "Physics",
    }
    for i in range(200)
]
SUMS = [{"question": question(i, 5), "answer": "7", "module": "arithmetic"} for i in range(200)]
MARKS = together([marks_of("gpqa", GPQA, ("Question",)), marks_of("deepmind_math", SUMS, ("question",))])


def asked(rows: list[Row]) -> list[str]:
    return [str(row.get("Question", row.get("question"))) for row in rows]


DISGUISES: list[Callable[[list[str]], list[Row]]] = [
    lambda texts: [{"q": text} for text in texts],
    lambda texts: [
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]}
        for text in reversed(texts)
    ],
    lambda texts: [{"prompt": f"Think first.\n{text}\n(A) so\n(B) a\nAnswer with a letter."} for text in texts],
    lambda texts: [{"text": text.upper().replace(" ", "   ")} for text in texts],
    lambda texts: [{"conversation": {"turns": [{"value": text.rstrip("?") + " ."}]}} for text in texts],
]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("rows", [GPQA, SUMS])
@pytest.mark.parametrize("part", [1, 5, 40, 200])
def test_columns_order_layout_and_parts_hide_nothing(
    disguise: Callable[[list[str]], list[Row]], rows: list[Row], part: int
) -> None:
    (task,) = look_through(disguise(asked(rows[:part])), MARKS).told()
    assert task == ("gpqa" if rows is GPQA else "deepmind_math")


def test_a_hundredth_of_the_rows_is_enough_and_a_question_by_accident_is_not() -> None:
    others = [{"q": question(1000 + i)} for i in range(1000)]
    assert look_through(others, MARKS).told() == {}
    assert look_through([*others, {"q": asked(GPQA)[0]}], MARKS).told() == {}
    assert look_through([*others[:20], {"q": asked(GPQA)[0]}], MARKS).told() == {}
    assert look_through([*others, *[{"q": asked(GPQA)[0]}] * 9], MARKS).told() == {}  # one question, many times
    assert look_through([*others, {"q": " ".join(asked(GPQA)[:9])}], MARKS).told() == {}  # many, in one row
    assert look_through([*others, *({"q": text} for text in asked(GPQA)[:5])], MARKS).told() == {"gpqa": 5}
    assert look_through([*others[:150], *({"q": text} for text in asked(GPQA)[:2])], MARKS).told() == {"gpqa": 2}
    short = [{"q": text} for text in asked(SUMS)]
    assert look_through([*others, *short[:6]], MARKS).told() == {}  # short questions are shared by chance
    assert look_through([*others, *short[:12]], MARKS).told() == {"deepmind_math": 12}


@given(
    st.lists(
        st.recursive(
            st.text(max_size=20) | st.integers() | st.none(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
        max_size=5,
    ),
    st.integers(0, 199),
)
def test_whatever_else_a_row_holds_its_item_is_found(others: list[Any], number: int) -> None:
    row = {f"column {i}": other for i, other in enumerate(others)} | {"deep": [{"er": asked(GPQA)[number]}]}
    assert look_through([row], MARKS).told() == {"gpqa": 1}


def test_marks_come_back_from_json_and_hold_no_word() -> None:
    marks = marks_of("gpqa", GPQA, ("Question",))
    text = json.dumps(marks.as_json())
    again = Marks.of(json.loads(text))
    assert (again.grams == marks.grams).all() and not any(word in text for word in WORDS)


def test_what_only_looks_like_unseen_items_is_none() -> None:
    mmlu_pro, agieval = catalogue()["mmlu_pro"], catalogue()["agieval"]
    row = {"question": "Why?", "options": ["a", "b"], "answer": "A", "category": "x"}
    assert is_item(mmlu_pro, row) and not is_item(mmlu_pro, row | {"src": "ori_mmlu-virology"})
    assert not is_item(agieval, {"question": "A question of MATH", "options": None, "label": None})


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the evaluation sets beside the project")
def test_the_sets_at_hand_raise_no_false_alarm_and_the_unseen_one_is_known() -> None:
    marks = together(shipped())
    for path in sorted(SHARED.iterdir()):
        if path.suffix in (".jsonl", ".gz", ".txt") and path.stat().st_size < 600_000:
            found = look_through(rows_in(path), marks).told()
            assert set(found) == ({"agieval"} if path.name.startswith("agieval") else set()), path
    made = json.loads(SHIPPED.read_text())
    assert {each["task"] for each in made} == {"agieval"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, and GPQA's questions in a file that is called something else."""
    write_small(tmp_path / "one")
    (tmp_path / "mine.jsonl").write_text(
        "".join(
            json.dumps({"frage": row["Question"], "antwort": "7"}) + "\n" for row in random.Random(1).sample(GPQA, 6)
        )
    )
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "gpqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in GPQA))
    (tmp_path / "r.yaml").write_text("""\
name: by-the-back-door
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  rows: {stage: source, data: mine.jsonl, license: MIT, columns: {question: frage, answer: antwort}, verifier: gsm8k}
  scores: {stage: evaluate, models: {one: one}, data: rows, max_new_tokens: 2}
""")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BACTRIAN_EVAL_DATA", str(tmp_path / "sets"))
    return tmp_path


DECLARED = ["--set", "scores.final=true", "--set", "scores.reason=the paper"]


def test_an_unseen_file_by_another_name_is_a_look(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["run", "r.yaml"]) == 2
    said = capsys.readouterr().err
    assert "rows: warning:" in said and "6 items of gpqa, which is unseen" in said
    assert "evaluate: rows holds 6 items of gpqa: unseen, for final candidates only" in said
    ledger = Ledger(Store(here / "runs"))
    assert ledger.looks() == []
    assert cli.invoke(["run", "r.yaml", *DECLARED]) == 0
    (look,) = ledger.checked()
    assert (look.task, look.model, look.reason) == ("gpqa", "one", "the paper")
    (results,) = (here / "runs/artifacts").glob("evaluate-*/results.json")
    assert json.loads(results.read_text())["tasks"]["rows"]["looks"] == 1
    record = Manifest.read(results.parent).ledger
    assert record is not None and [each["seal"] for each in record.looks] == [look.seal]
    ledger.path.write_text("")
    assert cli.invoke(["run", "r.yaml", *DECLARED]) == 2 and "missing: line 1 (gpqa" in capsys.readouterr().err


def test_a_file_that_was_met_once_is_known_when_it_is_gone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_marks(Store(here / "runs"))
    shutil.rmtree(here / "sets")
    monkeypatch.delenv("BACTRIAN_EVAL_DATA")
    assert cli.invoke(["run", "r.yaml"]) == 2
    assert cli.invoke(["run", "r.yaml", "--store", "another"]) == 0  # nothing here knows it


def test_a_suite_s_file_by_the_name_of_another_task_is_a_look(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "fake").mkdir()
    rows = [{"question": row["Question"], "answer": "#### 7"} for row in GPQA[:6]]
    (here / "fake" / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["eval", "one", "--tasks", "gsm8k", "--data", "fake", "--max-new-tokens", "2", "--dtype", "float32"]
    assert cli.invoke(command) == 2 and "gsm8k holds 6 items of gpqa" in capsys.readouterr().err
    assert cli.invoke([*command, "--final", "--reason", "the paper"]) == 0
    assert [look.task for look in Ledger(Store(here / "runs")).looks()] == ["gpqa"]


def test_a_csv_of_it_is_known_too(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["n", "b"], *([i, row["Question"]] for i, row in enumerate(GPQA))])
    store = Store(tmp_path / "runs")
    remember(store, catalogue()["gpqa"], GPQA, "c" * 64)
    assert look_through(rows_in(tmp_path / "x.csv"), known_marks(store)).told() == {"gpqa": 200}
