"""Generated problems: right, distinct, in a closed vocabulary, and never shared between splits."""

import re
from functools import partial
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.io.problem_rows import Row, question_hash, question_keys, questions_of, split_of, trained_keys
from bactrian.data.synth.procedural import corpus, pieces, sums, vocabulary, word_problems
from bactrian.errors import BactrianError
from bactrian.verify import verify

STEP = re.compile(r"(-?\d+) ([-+*/]) (\d+) = (-?\d+)")
WORK = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__truediv__}


def question(row: Row) -> str:
    return questions_of(row)[-1]


@pytest.mark.parametrize("generator", [sums, word_problems])
def test_solutions_are_worked_right_and_verify(generator) -> None:
    for row in generator(7, 3000):
        assert verify(row["dataset"], row["solution"], row["ground_truth"]).outcome == "right"
        # the published pattern loses the sign of whole numbers
        strict = "wrong" if row["ground_truth"].startswith("-") else "right"
        assert verify("gsm8k_strict", row["solution"], row["ground_truth"]).outcome == strict
        steps = STEP.findall(row["solution"])
        assert steps and steps[-1][3] == row["ground_truth"]
        assert all(WORK[op](int(a), int(b)) == int(c) for a, op, b, c in steps)


def test_sums_agree_with_python() -> None:
    for row in sums(3, 500, terms=(2, 6), digits=(1, 4)):
        assert eval(question(row).removeprefix("Compute ")) == int(row["ground_truth"])  # noqa: S307


def test_word_problem_numbers_keep_to_their_range() -> None:
    for row in word_problems(5, 3000, largest=20):
        assert all(1 <= int(number) <= 20 for number in re.findall(r"\d+", question(row)))
        assert 1 <= int(row["ground_truth"]) <= 100


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(4, 200), st.integers(1, 4))
def test_any_settings_tell_a_story(seed: int, largest: int, operations: int) -> None:
    for row in word_problems(seed, 10, largest=largest, operations=(operations, operations)):
        assert len(row["solution"].splitlines()) == operations + 1
        assert "{" not in question(row) + row["solution"]


@pytest.mark.parametrize("generator", [sums, word_problems, corpus])
def test_rows_follow_from_seed_and_index(generator) -> None:
    long = list(generator(1, 60))
    assert list(generator(1, 60)) == long
    assert list(generator(1, 20)) == long[:20]
    assert list(generator(2, 20)) != long[:20]


@pytest.mark.parametrize("generator", [sums, word_problems])
def test_splits_never_meet(generator) -> None:
    sets = {split: {row["id"] for row in generator(0, 500, split=split)} for split in ("train", "dev", "unseen")}
    assert all(len(ids) == 500 for ids in sets.values())
    assert not sets["train"] & sets["dev"] and not sets["train"] & sets["unseen"] and not sets["dev"] & sets["unseen"]
    assert all(split_of(question(row)) == "dev" for row in generator(9, 50, split="dev"))


@pytest.mark.parametrize("generator", [partial(sums, terms=(4, 4)), word_problems])
def test_millions_of_problems(generator) -> None:
    """Two seeds drawing 4,000 each would share 16 of a million questions."""
    first, second = ({row["id"] for row in generator(seed, 4000)} for seed in (1, 2))
    assert len(first & second) <= 16


def test_vocabulary_is_closed_and_used() -> None:
    emitted: set[str] = set()
    for row in [*sums(0, 200), *word_problems(0, 6000)]:
        emitted |= set(pieces(question(row) + "\n" + row["solution"]))
    for row in corpus(0, 6000):
        emitted |= set(pieces(row["text"]))
    assert emitted == set(vocabulary())
    assert len(vocabulary()) < 300


def test_corpus_tells_no_held_out_problem() -> None:
    held_out = {question(row) for row in word_problems(0, 500, split="dev", operations=(1, 1))}
    texts = " ".join(row["text"] for row in corpus(4, 3000))
    assert not any(problem in texts for problem in held_out)
    assert "####" not in texts and "Answer:" not in texts
    assert all(split_of(line) == "train" for line in texts.splitlines() if line.startswith("How many"))


def test_too_many_questions_asked_for() -> None:
    with pytest.raises(BactrianError, match=r"sums: found only \d+ distinct dev questions of the 1000"):
        list(sums(0, 1000, terms=(2, 2), digits=(1, 1), split="dev"))
    with pytest.raises(BactrianError, match="terms is 3 to 2"):
        sums(0, 1, terms=(3, 2))


def test_question_keys_meet_in_spite_of_an_instruction() -> None:
    row = next(islice(sums(0, 1), 1))
    asked = {**row, "messages": [{"role": "user", "content": question(row) + "\nThink step by step."}]}
    assert question_keys(row) & question_keys(asked)
    other = {"id": "somewhere-else", "prompt": [{"role": "user", "content": question(row).upper() + "  "}]}
    assert question_keys(row) & question_keys(other)
    turns = [*row["messages"], {"role": "assistant", "content": "5"}, {"role": "user", "content": "And now?"}]
    assert question_keys(row) & trained_keys({"messages": turns})
    assert not question_keys(row) & question_keys({"messages": turns})
    assert trained_keys({"text": "a"}) == set()
    assert question_hash("a  b\nC") == question_hash("A b c")
