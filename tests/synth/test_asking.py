"""Requests, questions about them, and what is said of both by two programs that know nothing of each other."""

import json
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.io.problem_rows import split_of
from bactrian.data.synth.asking import questions
from bactrian.data.synth.asking.fact_table import FactTable, greedy_questions, questions_needed
from bactrian.data.synth.asking.questions import HIGH, LOW, QuestionPlan, best_plan, drawn_plan, moved, written
from bactrian.data.synth.asking.request_rows import ANY, requests
from bactrian.data.synth.asking.requests import KINDS, UnderspecifiedRequest, whole_table
from bactrian.verify import verify
from bactrian.verify.text import question_levels

SEEDS = st.integers(0, 2**20)


def request(seed: int) -> UnderspecifiedRequest:
    found = UnderspecifiedRequest.drawn(Random(seed), (0, 3))
    return found if not found.table().decided else request(seed + 1)


def test_writer_and_reader_use_the_same_words() -> None:
    for name in ("ATTRIBUTES", "VAGUE", "JARGON", "HIGH", "MIDDLE", "LOW"):
        assert getattr(questions, name) == getattr(question_levels, name)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_reader_finds_the_levels_that_a_question_was_written_with(seed: int) -> None:
    asked = request(seed)
    plan = drawn_plan(asked, Random(seed), ANY)
    found = question_levels.levels(asked.truth(), written(plan, asked))
    flaws = {1: 5, 2: 3, 3: 1}
    assert found["focus"] == flaws[len(plan.slots)]
    assert found["relevance"] == asked.slot_levels()[plan.slots[0]]
    assert {name: found[name] for name in ("clarity", "answerability", "accuracy", "openness")} == {
        name: plan.levels[name] for name in ("clarity", "answerability", "accuracy", "openness")
    }


@given(SEEDS, st.sampled_from(questions.ATTRIBUTES), st.sampled_from([HIGH, LOW]))
@settings(max_examples=100, deadline=None)
def test_a_rewrite_moves_its_attribute_and_no_other(seed: int, attribute: str, level: int) -> None:
    asked = request(seed)
    plan = drawn_plan(asked, Random(seed))
    before = question_levels.levels(asked.truth(), written(plan, asked))
    after = question_levels.levels(asked.truth(), written(moved(plan, asked, [attribute], level), asked))
    assert {name: after[name] for name in after if name != attribute} == {
        name: before[name] for name in before if name != attribute
    }
    there = set(asked.slot_levels().values())
    reached = min(there, key=lambda each: (abs(each - level), each)) if attribute == "relevance" else level
    assert after[attribute] == reached


def test_the_best_question_is_right_in_all_and_noise_in_nothing() -> None:
    asked = request(3)
    truth = json.dumps(asked.truth())
    assert verify("asking", written(best_plan(asked), asked), truth).score == 1.0
    worst = moved(best_plan(asked), asked, questions.ATTRIBUTES, LOW)
    assert verify("asking", written(worst, asked), truth).outcome == "wrong"
    for noise in ("", "What is the weather?", "Tell me more.", "?", "What is ?", asked.text()):
        assert verify("asking", noise, truth).outcome == "unparsable"


def test_gain_is_what_brute_force_says() -> None:
    for kind, each in KINDS.items():
        table = whole_table(kind)
        assert len(table.rows) == len(list(product(*each.slots.values())))
        for slot in table.slots:
            parts = [table.given({slot: value}) for value in table.values(slot)]
            assert sum(len(part.rows) for part in parts) == len(table.rows)
            expected = table.entropy - sum(len(p.rows) / len(table.rows) * p.entropy for p in parts)
            assert abs(table.gain(slot) - expected) < 1e-12 and table.gain(slot) >= -1e-12


def test_asking_for_the_best_slot_is_near_the_best_policy() -> None:
    table = FactTable(
        ("a", "b", "c"),
        ((("0", "0", "0"), "w"), (("0", "1", "0"), "x"), (("1", "0", "1"), "y"), (("1", "1", "1"), "z")),
    )
    assert questions_needed(table) == 2.0 and table.best() == "a"  # c says the same as a
    taken = [greedy_questions(table, dict(zip(table.slots, values, strict=True)), 9) for values, _ in table.rows]
    assert sum(taken) / 4 == 2.0
    assert questions_needed(table.given({"a": "0", "b": "1"})) == 0.0
    for kind, far in (("sort", 0.5), ("cost", 0.5), ("time", 0.5), ("pick", 1.0)):  # in "pick" two slots go together
        whole = whole_table(kind)
        taken = [greedy_questions(whole, dict(zip(whole.slots, values, strict=True)), 9) for values, _ in whole.rows]
        assert questions_needed(whole) - 1e-9 <= sum(taken) / len(taken) <= questions_needed(whole) + far


def test_rows_of_the_three_forms() -> None:
    problems = list(requests(1, 30, "problem", (0, 2), "unseen"))
    assert len({row["id"] for row in problems}) == 30
    assert all(split_of(row["messages"][0]["content"]) == "unseen" for row in problems)
    for row in problems:
        assert verify("asking", row["solution"], row["ground_truth"]).score == 1.0
        assert not UnderspecifiedRequest.read(row["case"]).table().decided
    talks = list(requests(1, 30, "conversation", (0, 2), "unseen"))
    assert [row["messages"][0] for row in talks] == [row["messages"][0] for row in problems]
    for row in talks:
        plan = QuestionPlan.read(row["plan"])
        assert written(plan, UnderspecifiedRequest.read(row["case"])) == row["messages"][1]["content"]
    assert all(row["text"].count("\n") == 1 for row in requests(1, 5, "text", (0, 2), "train"))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "x", '{"kind": "sort", "things": "a", "values": {}, "known": []}', "null"]
)
def test_what_is_no_request_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        UnderspecifiedRequest.read(text)
