"""Annotators at their desk, without a browser: orders, sides, undo, resumption, export, and what is refused."""

import json
import re
import socket
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.judge.labelled import read_labelled
from bactrian.judge.opinions import FIRST, SECOND
from bactrian.judge.people.desk import Desk, annotator_facts
from bactrian.judge.people.hand_rows import label_or_why, labelled_rows, read_judge
from bactrian.judge.people.pairs_by_hand import is_swapped, order_for, read_pairs
from bactrian.judge.people.record import HandRecord

ROWS = [
    {
        "id": f"secret-model-{n}",
        "prompt": f"Question {n // 2}?",
        "first": f"one of {n}",
        "second": f"two of {n}",
        "first_model": "alpha-7b",
        "second_model": "beta-13b",
        "source": "made up",
        "license": "CC-BY-4.0",
        **({"attention": "second"} if n in (3, 17) else {}),
    }
    for n in range(50)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", ROWS)


def open_desk(pairs_file: Path, acceptability: bool = False, seed: int = 7) -> Desk:
    pairs = read_pairs(pairs_file)
    record = HandRecord(pairs_file.with_name("said.sqlite"), pairs)
    record.add_annotators(["ann", "bert"])
    return Desk(pairs, record, seed, acceptability)


def message(place: int, choice: str, number: int = 0, **more: Any) -> dict[str, Any]:
    return {"place": place, "choice": choice, "seconds": 1.5, "comment": "", "sent": f"message-{number:04}", **more}


# --- who sees what


def test_orders_and_sides_are_drawn_for_each_annotator(pairs_file: Path) -> None:
    pairs = read_pairs(pairs_file)
    ann, bert = (order_for(name, pairs, 7) for name in ("ann", "bert"))
    assert ann == order_for("ann", pairs, 7) != bert and ann != order_for("ann", pairs, 8)
    assert sorted(each.pair.id for each in ann) == sorted(row["id"] for row in ROWS)
    assert {each.pair.id for each in ann[:20]} == {each.pair.id for each in bert[:20]}
    sides = {name: [is_swapped(name, f"{n}", 7) for n in range(2000)] for name in ("ann", "bert")}
    assert all(900 < sum(each) < 1100 for each in sides.values())
    assert 900 < sum(a == b for a, b in zip(*sides.values(), strict=True)) < 1100


def test_the_browser_learns_no_ids_models_or_which_answer_is_first(pairs_file: Path) -> None:
    desk = open_desk(pairs_file)
    told = json.dumps([desk.state("ann"), desk.progress()])
    assert not re.search(r"alpha|beta|secret|made up|attention\": \"", told) and "one of" in told


def test_what_is_chosen_on_the_screen_is_kept_in_the_file_s_order(pairs_file: Path) -> None:
    desk = open_desk(pairs_file, acceptability=True)
    for number in range(40):
        shown = desk.state("ann")
        left_is_first = shown["left"].startswith("one")
        desk.answer("ann", message(shown["place"], "left", number, acceptable=[True, False], comment=shown["left"]))
        last = desk.record.standing("ann")[-1]
        assert last.choice == ("first" if left_is_first else "second") and last.swapped != left_is_first
        assert last.acceptable == (left_is_first, not left_is_first)
        assert last.comment.startswith("one") == left_is_first
    assert 8 < sum(each.swapped for each in desk.record.standing("ann")) < 32
    facts = annotator_facts("ann", desk.record.standing(), desk.pairs)
    assert facts["left"] == 1 and facts["done"] == 40 and facts["seconds"] == 1.5


# --- nothing lost, nothing twice


def test_undo_goes_back_one_by_one_and_brings_what_was_said(pairs_file: Path) -> None:
    desk = open_desk(pairs_file, acceptability=True)
    places = []
    for number in range(3):
        places.append(desk.state("ann")["place"])
        said = message(places[-1], "tie", number, comment=f"c{number}", acceptable=[number == 0, True])
        desk.answer("ann", said)
    assert desk.undo("ann", {"sent": "undo-0001"})["place"] == places[2]
    assert desk.undo("ann", {"sent": "undo-0001"})["place"] == places[2]  # sent again
    shown = desk.undo("ann", {"sent": "undo-0002"})
    assert shown["place"] == places[1] and shown["done"] == 1
    assert shown["earlier"] == {"comment": "c1", "acceptable": [False, True], "seconds": 1.5}
    desk.answer("ann", message(places[1], "both_bad", 9, acceptable=[False, False]))
    assert [each.choice for each in desk.record.standing("ann")] == ["tie", "both_bad"]
    for number in range(3):
        shown = desk.undo("ann", {"sent": f"undo-1{number:03}"})
    assert shown["done"] == 0 and shown["place"] == places[0]
    assert desk.record._one("SELECT count(*) FROM said") == 4 + 4  # answers, and those taken back


def test_a_second_window_and_a_message_sent_again_change_nothing(pairs_file: Path) -> None:
    desk = open_desk(pairs_file)
    place = desk.state("ann")["place"]
    after = desk.answer("ann", message(place, "left", 1))
    before = desk.record.standing()
    assert desk.answer("ann", message(place, "left", 1)) == after
    assert desk.answer("ann", message(place, "right", 2)) == after
    assert desk.record.standing() == before and len(before) == 1


@given(st.lists(st.tuples(st.sampled_from(["ann", "bert"]), st.sampled_from("12tbsuRx")), max_size=25))
@settings(max_examples=25, deadline=None)
def test_any_course_of_keys_restarts_and_repeats_is_as_a_stack(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[str, str]]
) -> None:
    """u: undo; R: the server starts anew; x: the last message comes again."""
    desk = open_desk(write(tmp_path_factory.mktemp("desk") / "pairs.jsonl", ROWS))
    words = {"1": "left", "2": "right", "t": "tie", "b": "both_bad", "s": "skip"}
    stacks: dict[str, list[tuple[int, str]]] = {"ann": [], "bert": []}
    last: dict[str, dict[str, Any]] = {}
    for number, (who, key) in enumerate(keys):
        shown = desk.state(who)
        assert shown["done"] == len(stacks[who]) and shown["place"] not in [place for place, _ in stacks[who]]
        if key == "R":
            desk.record.close()
            desk = Desk(desk.pairs, HandRecord(desk.record.path, desk.pairs), 99, False)
        elif key == "u":
            desk.undo(who, {"sent": f"undo-{number:04}"})
            stacks[who] = stacks[who][:-1]
            last.pop(who, None)
        elif key == "x":
            if who in last:
                desk.answer(who, last[who])
        else:
            last[who] = message(shown["place"], words[key], number)
            desk.answer(who, last[who])
            stacks[who].append((shown["place"], words[key]))
    for who, stack in stacks.items():
        order = order_for(who, desk.pairs, 7)
        kept = {each.pair: each for each in desk.record.standing(who)}
        assert [order[place].pair.id for place, _ in stack] == list(kept)
        assert Counter(word for _, word in stack)["skip"] == sum(v.choice == "skip" for v in kept.values())
    desk.record.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"place": 50}, "place: found 50"),
        ({"place": True}, "place: found True"),
        ({"place": None}, "place: found None"),
        ({"choice": "first"}, "choice: found 'first'"),
        ({"choice": ["left"]}, "choice: found"),
        ({"seconds": float("nan")}, "seconds: found nan"),
        ({"seconds": -1}, "seconds: found -1"),
        ({"comment": "x" * 4001}, "at most 4000"),
        ({"comment": None}, "comment: expected a text"),
        ({"sent": "short"}, "sent: expected"),
        ({"acceptable": [True]}, "acceptable: expected"),
    ],
)
def test_messages_that_are_none_are_refused(pairs_file: Path, change: dict[str, Any], words: str) -> None:
    desk = open_desk(pairs_file, acceptability=True)
    with pytest.raises(BactrianError, match=re.escape(words)):
        desk.answer("ann", message(0, "left", acceptable=[True, True]) | change)
    assert not desk.record.standing()
    assert desk.answer("ann", message(0, "skip", comment="\ud800"))["done"] == 1


def test_a_full_disk_is_said_and_the_answer_may_come_again(pairs_file: Path) -> None:
    desk = open_desk(pairs_file)
    pages = desk.record._one("PRAGMA page_count")
    desk.record._one(f"PRAGMA max_page_count = {pages}")
    said = message(0, "left", comment="x" * 4000)
    for number in range(3):
        try:
            desk.answer("ann", said | {"place": number, "sent": f"message-{number}"})
        except BactrianError as error:
            assert "full" in str(error) and "said.sqlite" not in str(error)
            break
    else:
        raise AssertionError("found room for three comments of 4,000 characters in no further page")
    before = desk.state("ann")["done"]
    assert before == number and len(desk.record.standing()) == number
    desk.record._one("PRAGMA max_page_count = 100000")
    assert desk.answer("ann", said | {"place": number, "sent": f"message-{number}"})["done"] == before + 1


# --- what comes of it


def test_export_has_the_majority_and_counts_what_has_none(pairs_file: Path, tmp_path: Path) -> None:
    desk = open_desk(pairs_file)
    for who, words in (("ann", ["left", "tie", "skip"]), ("bert", ["left", "both_bad"])):
        for number in range(30):
            desk.answer(who, message(desk.state(who)["place"], words[number % len(words)], number, comment=who))
    rows, counts = labelled_rows(desk.pairs, desk.record.standing())
    assert sum(counts.values()) == 50 and counts["attention"] == 2
    assert len(rows) == counts["labelled"] + counts["tie"] + counts["split"]
    assert counts["labelled"] == sum(row["label"] is not None for row in rows) > 0
    for row in rows:
        assert row["license"] == "CC-BY-4.0" and row["first"].startswith("one") and "skip" not in row["labels"].values()
        assert row["label"] == label_or_why(row["labels"].values())[0] and row["prompt"][0]["role"] == "user"
    facts = annotator_facts("bert", desk.record.standing(), desk.pairs)
    assert facts["attention"] <= 2 and facts["right"] <= facts["attention"]


def test_the_command_exports_and_says_how_far_people_agree(
    pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = open_desk(pairs_file)
    for who, odd in (("ann", 5), ("bert", 7)):
        for number in range(50):
            shown = desk.state(who)
            first_is_left = shown["left"].startswith("one")
            first = number % odd != 0
            desk.answer(who, message(shown["place"], "left" if first_is_left == first else "right", number))
    desk.record.close()
    command = ["annotate-by-hand", str(pairs_file), "--database", str(desk.record.path)]
    assert invoke([*command, "--export", str(tmp_path / "out.jsonl")]) == 0
    told = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert "licence: CC-BY-4.0 (made up)" in told and f"{sum(r['label'] is not None for r in rows)} pairs" in told
    read = read_labelled(tmp_path / "out.jsonl")  # what `calibrate` makes of it
    labels = {row["id"]: {"first": FIRST, "second": SECOND}[row["label"]] for row in rows if row["label"]}
    assert {each.pair.id: each.label for each in read.pairs} == labels and 30 < len(labels) < len(rows)
    assert {each.license for each in read.pairs} == {"CC-BY-4.0"}
    judge = write(tmp_path / "judge.jsonl", [{"id": row["id"], "label": "first"} for row in ROWS[:45]])
    assert invoke([*command, "--agreement", "--judge", str(judge), "--instead-of", "expert"]) == 0
    told = capsys.readouterr().out
    assert "kappa, ann and bert" in told and "may replace an annotator" in told and "Do not rely on it" in told
    assert len(read_judge(judge, desk.pairs)) == 43


# --- bad input, in plain words


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert invoke(["annotate-by-hand", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "Traceback" not in told
    return told


def begun_desk(pairs_file: Path) -> Path:
    """A database with some verdicts."""
    desk = open_desk(pairs_file)
    for number in range(4):
        desk.answer("ann", message(desk.state("ann")["place"], "left", number))
    desk.record.close()
    return desk.record.path


def test_bad_input_is_one_line_each(
    pairs_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    good = str(pairs_file)
    assert "missing.jsonl" in refused(capsys, "missing.jsonl", "--annotator", "ann")
    assert "empty, no rows" in refused(capsys, str(write(tmp_path / "empty.jsonl", [])), "--annotator", "ann")
    assert "expected two answers" in refused(capsys, str(write(tmp_path / "no.jsonl", [{"prompt": "a"}])))
    assert "ann: found twice" in refused(capsys, good, "--annotator", "ann", "--annotator", "ann")
    assert "expected a name of" in refused(capsys, good, "--annotator", " ")
    assert "has no annotators yet" in refused(capsys, good)
    assert not list(tmp_path.glob("*.sqlite"))
    assert "no such file; expected the annotations of" in refused(capsys, good, "--agreement")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: found" in refused(capsys, good, "--annotator", "ann", "--port", port)
    others = write(tmp_path / "others.jsonl", [{**ROWS[0], "first": "changed"}, ROWS[1]])
    words = refused(capsys, str(others), "--annotator", "ann", "--database", "pairs.jsonl.annotations.sqlite")
    assert "holds annotations of other pairs" in words
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to have a header" * 9)
    assert "cannot be used as a database" in refused(capsys, good, "--annotator", "a", "--database", "text.sqlite")
    with sqlite3.connect("other.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    assert "a database of something else" in refused(capsys, good, "--annotator", "a", "--database", "other.sqlite")
    assert "begun with seed 7; expected" in refused(
        capsys, good, "--annotator", "a", "--seed", "8", "--database", str(begun_desk(pairs_file))
    )
    assert "cannot be written" in refused(
        capsys, good, "--database", "said.sqlite", "--export", str(tmp_path / "no" / "rows.jsonl")
    )
    assert "give both" in refused(capsys, good, "--judge", good)
    assert "no/such" in refused(capsys, good, "--annotator", "a", "--database", "no/such/place.sqlite")
    assert "again" in refused(capsys, str(write(tmp_path / "twice.jsonl", [ROWS[0], ROWS[0]])), "--annotator", "a")


def test_rows_of_other_layouts_and_what_is_no_pair(tmp_path: Path) -> None:
    chosen = {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", "content": "Because."}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "chosen_model": "a",
    }
    (pair,) = read_pairs(write(tmp_path / "a.jsonl", [chosen]))
    assert (pair.pair.first, pair.pair.second, pair.models) == ("Because.", "No.", ("a", "")) and pair.pair.id
    for change, words in (
        ({"prompt": []}, "expected a list of messages"),
        ({"prompt": 3}, "expected a list of messages"),
        ({"chosen": [{"role": "assistant"}]}, "expected a text, or messages"),
        ({"attention": "tie"}, 'expected "first" or "second"'),
        ({"attention": "first"}, "attention items only"),
    ):
        with pytest.raises(BactrianError, match=words):
            read_pairs(write(tmp_path / "a.jsonl", [chosen | change]))


def test_pairs_may_be_added_to_a_file_that_was_begun(pairs_file: Path) -> None:
    write(pairs_file, ROWS[:10])
    desk = open_desk(pairs_file)
    desk.answer("ann", message(desk.state("ann")["place"], "left"))
    desk.record.close()
    write(pairs_file, ROWS)
    assert open_desk(pairs_file).state("ann")["total"] == 50
    assert len(open_desk(pairs_file).record.standing("ann")) == 1
