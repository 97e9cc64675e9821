"""Voting: strict majorities, groups by what is equal, and the stage on rows that exist."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.io.files import read_rows
from bactrian.data.synth.voting import vote
from bactrian.errors import BactrianError
from bactrian.stages.synth.vote import Vote
from tests.synth.mock import workspace


@given(st.lists(st.sampled_from(["1", "2", "3", None]), max_size=9))
def test_a_winner_has_more_than_half_of_all_votes(answers: list[str | None]) -> None:
    ballot = vote(answers, lambda one, other: answers[one] == answers[other])
    counts = Counter(answer for answer in answers if answer is not None)
    best = max(counts.values(), default=0)
    if 2 * best > len(answers):
        [top] = [answer for answer, count in counts.items() if count == best]
        assert [answers[place] for place in ballot.winners] == [top] * best
    else:
        assert ballot.winners == ()
    assert ballot.sizes == tuple(sorted(counts.values(), reverse=True)) and ballot.answered == sum(counts.values())


def test_what_is_equal_one_way_round_only_is_not_the_same() -> None:
    answers = ["0.5", "1/2", "1/2"]
    assert vote(answers, lambda one, other: True).winners == (0, 1, 2)
    assert vote(answers, lambda one, other: one < other).winners == (1, 2)


def row(name: str, *texts: str, **more: Any) -> dict[str, Any]:
    answers = [{"model": "m", "sample": n, "text": text, "finish": "stop", "tokens": 5} for n, text in enumerate(texts)]
    asked = [{"role": "user", "content": f"Question {name}?"}]
    return {"id": name, "messages": asked, "answers": answers, "source": "s", "license": "MIT", **more}


def final(answer: str) -> str:
    return f"So it is.\nFinal Answer: The final answer is ${answer}$. I hope it is correct."


ROWS = [
    row("equal", final("\\frac{1}{2}"), final("0.5"), final("3"), ground_truth="0.5", dataset="math"),
    row("tie", final("1"), final("1"), final("2"), final("2")),
    row("apart", final("1"), final("2"), final("3")),
    row("unread", " ", "", " "),
    row("few", final("1"), final("1")),
    row("wrong", final("4"), final("4"), final("5"), ground_truth="5", dataset="math"),
    row("cut", final("7"), final("7"), final("8"), final("7")),
]
ROWS[6]["answers"][0]["finish"] = "length"  # two votes of four are no majority


def test_problems_with_a_majority_stay_and_the_rest_say_why(tmp_path: Path) -> None:
    work = workspace(tmp_path, ROWS)
    Vote(data="seeds.jsonl").run(work)
    kept = {each["id"]: each for each in read_rows(work.output)}
    assert set(kept) == {"equal", "wrong"}
    assert kept["equal"]["solution"] in (final("\\frac{1}{2}"), final("0.5")) and kept["wrong"]["ground_truth"] == "4"
    assert kept["equal"]["votes"] == {"sizes": [2, 1], "voters": 3, "model": "m"} and "answers" not in kept["equal"]
    account = json.loads((work.output / "rows.json").read_text())
    assert {reason: each["count"] for reason, each in account["dropped"].items()} == {
        "no strict majority": 3,
        "no answer can be read": 1,
        "fewer than 3 answers": 1,
    }
    assert work.metrics["kept_share"] == 2 / 7 and work.metrics["truth_share"] == 0.5


def test_other_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="row 1: found no messages with answers, expected rows of `respond`"):
        Vote(data="seeds.jsonl").run(workspace(tmp_path, [{"text": "a"}]))
