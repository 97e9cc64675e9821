"""Labelled pairs of every layout: the same judgements, whatever file they come from; ties out and counted."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.judge.labelled import majority, pair_digest, read_labelled, read_pair
from bactrian.judge.labelled_rows import opinion_row
from bactrian.judge.opinions import FIRST, SECOND

ASKED = [{"role": "user", "content": "Which?"}]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


LAYOUTS: dict[str, dict[str, Any]] = {
    "own": {"prompt": ASKED, "first": "good", "second": "bad", "label": "first"},
    "numbers": {"prompt": "Which?", "first": "bad", "second": "good", "label": 2},
    "pair": {"prompt": ASKED, "chosen": said("good"), "rejected": said("bad")},
    "trust": {"instruction": "Which?", "outputs": ["bad", "good"], "human": 2},
    "llmbar": {"input": "Which?", "output_1": "good", "output_2": "bad", "label": 1},
    "pandalm": {
        "instruction": "Which?",
        "input": "",
        "response1": "bad",
        "response2": "good",
        "annotator1": 2,
        "annotator2": 0,
        "annotator3": 2,
    },
    "autoj": {"prompt": "Which?", "response 1": "good", "response 2": "bad", "label": 0},
    "by hand": {
        "prompt": ASKED,
        "first": "bad",
        "second": "good",
        "labels": {"ann": "second", "bob": "second", "eve": "both_bad"},
        "label": None,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_which_answer_people_prefer(layout: str, tmp_path: Path) -> None:
    (found,) = read_labelled(written(tmp_path / "x.jsonl", [LAYOUTS[layout]])).pairs
    texts = (found.pair.first, found.pair.second)
    assert (texts[found.label], texts[1 - found.label]) == ("good", "bad")
    assert found.pair.prompt[-1]["content"] == "Which?"


def test_ties_and_divided_votes_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "first": "x", "second": "y", "label": "tie"},
        {"prompt": "b", "first": "x", "second": "y", "annotator1": 1, "annotator2": 2},
        {"prompt": "c", "response 1": "x", "response 2": "y", "label": 2},
        {"prompt": "d", "first": "x", "second": "y", "label": 2},
    ]
    found = read_labelled(written(tmp_path / "x.jsonl", rows))
    assert [each.pair.prompt[0]["content"] for each in found.pairs] == ["d"]
    assert found.dropped("a tie") == 2 and found.dropped("annotators are divided") == 1


def test_a_file_of_ties_only_is_refused_in_plain_words(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "first": "x", "second": "y", "label": 0} for n in range(5)]
    with pytest.raises(BactrianError, match="no row says which answer is preferred") as error:
        read_labelled(written(tmp_path / "x.jsonl", rows))
    assert "a tie: 5" in str(error.value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a", "first": "x", "second": "y"}, "found no label among the fields"),
        ({"prompt": "a", "first": "x", "second": "y", "label": 3}, "expected 1 (first), 2 (second) or 0 (tie)"),
        ({"prompt": "a", "response 1": "x", "response 2": "y", "label": 3}, "expected 0 (first), 1 (second)"),
        ({"prompt": "a", "first": "x", "label": 1}, "expected two answers"),
        ({"first": "x", "second": "y", "label": 1}, "expected `prompt`"),
        ({"prompt": "a", "first": 3, "second": "y", "label": 1}, "expected a text or messages"),
        ({"prompt": "a", "first": "x", "second": "y", "label": 1, "judge_probs": {"j": [0.2]}}, "two probabilities"),
        ({"prompt": "a", "first": "x", "second": "y", "label": 1, "judge_probs": {"j": [-1, 2]}}, "two probabilities"),
        ({"prompt": "a", "first": "x", "second": "y", "label": 1, "judge_probs": [0.5, 0.5]}, "an object by judge"),
    ],
)
def test_a_row_that_is_no_labelled_pair_is_named(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(BactrianError) as error:
        read_labelled(written(tmp_path / "x.jsonl", [row]))
    assert told in str(error.value) and "x.jsonl, line 1" in str(error.value)


def test_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "a", "first": "x", "second": "y", "label": 1}
    assert len(read_labelled(written(tmp_path / "x.jsonl", [row, row])).pairs) == 2
    with pytest.raises(BactrianError, match=r"line 2: the same two answers .* the other way in .*line 1"):
        read_labelled(written(tmp_path / "x.jsonl", [row, {**row, "label": 2}]))


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_the_order_of_chosen_and_rejected_says_nothing(prompt: str, one: str, other: str) -> None:
    """Whichever of two texts is chosen, a judge sees them in the same order."""
    asked = {"prompt": [{"role": "user", "content": prompt}]}
    pair = read_pair({**asked, "chosen": said(one), "rejected": said(other)}, "")
    turned = read_pair({**asked, "chosen": said(other), "rejected": said(one)}, "")
    assert (pair.pair.first, pair.pair.second) == (turned.pair.first, turned.pair.second)
    texts = (pair.pair.first, pair.pair.second)
    assert texts[FIRST if pair.blind_first == FIRST else SECOND] == one


def test_chosen_stands_first_about_half_the_time() -> None:
    rows = [{"prompt": f"question {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(400)]
    share = sum(read_pair(row, "").blind_first == FIRST for row in rows) / len(rows)
    assert 0.42 < share < 0.58  # 3.2 standard deviations


def test_what_judges_said_comes_back_from_the_rows_of_a_calibration(tmp_path: Path) -> None:
    row = {**LAYOUTS["pair"], "judge_probs": {"j": [0.9, 0.3]}, "judge_tokens": {"j": [7, 1]}, "id": "one"}
    (found,) = read_labelled(written(tmp_path / "x.jsonl", [row])).pairs
    good = (found.pair.first, found.pair.second).index("good")
    assert found.recorded["j"].probabilities[good] == pytest.approx(0.75)  # 0.9 was of the chosen one
    (again,) = read_labelled(written(tmp_path / "y.jsonl", [opinion_row(found, found.recorded)])).pairs
    assert again.recorded == found.recorded and again.label == found.label
    assert pair_digest(again.pair) == pair_digest(found.pair)


def test_votes_in_both_orders_are_averaged_and_a_judge_that_said_nothing_has_no_opinion(tmp_path: Path) -> None:
    judges = {
        "same": {"unswapped": "1", "swapped": "1"},
        "turns": {"unswapped": "1", "swapped": "2"},
        "silent": {"unswapped": None, "swapped": None},
    }
    (found,) = read_labelled(written(tmp_path / "x.jsonl", [{**LAYOUTS["llmbar"], "judges": judges}])).pairs
    assert {name: each.probabilities for name, each in found.recorded.items()} == {"same": (1, 0), "turns": (0.5, 0.5)}
    assert found.recorded["turns"].order_changed and not found.recorded["same"].order_changed


@given(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)).filter(any))
def test_a_majority_is_one_only_if_it_beats_both_others(votes: tuple[int, int, int]) -> None:
    label = majority(votes)
    beats = [side for side in (0, 1) if votes[side] > votes[1 - side] and votes[side] > votes[2]]
    assert label == (beats[0] if beats else None)
