"""From completions to scores: outcomes are told apart, and numbers add up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import ChatTemplate, ThinkingReader
from bactrian.errors import BactrianError
from bactrian.evaluate.answering import Answered, kept, written
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.grading import grade, refuse_failures
from bactrian.evaluate.problem_task import Asking, problem_tasks
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging, measure, score
from bactrian.evaluate.statistics import Comparison, wilson
from bactrian.generate.engine import Completion, Request
from bactrian.model.blank import word_tokenizer
from bactrian.verify import OUTCOMES, Pool, at_limit
from tests.model.tiny import TEXT

READER = ThinkingReader(ChatTemplate.load(word_tokenizer([TEXT], 64), "tulu"))


def compare(before: list[Record], after: list[Record]) -> Comparison:
    return compare_task("t", Averaging(), before, after).comparison


def answers(*right: bool, samples: int = 1) -> list[Record]:
    return [
        Record(f"q{i // samples}", i % samples, "?", "!", "1", None, float(r), "right" if r else "wrong", 5, "stop")
        for i, r in enumerate(right)
    ]


def test_each_outcome_is_told_apart() -> None:
    rows = [
        {
            "id": str(i),
            "messages": [{"role": "user", "content": "?"}],
            "dataset": "gsm8k",
            "ground_truth": "5" if i < 6 else "five",
        }
        for i in range(7)
    ]
    said = ["#### 5", "#### 6", "no idea", "#### 6", "no idea yet", "#### 5", "#### 5"]
    finish = ["stop", "stop", "stop", "length", "length", "length", "stop"]
    (loaded,) = problem_tasks("t", rows, "here", Asking(failures=1.0))
    answered = Answered(loaded, "multiturn", prompts=["?"] * 7)
    for text, end in zip(said, finish, strict=True):
        completion = Completion((1, 2, 3), text, (), end)  # type: ignore[arg-type]
        answered.written.append([written(kept(completion, Request((1,)), READER), ())])
    graded = grade(answered, Pool())
    expected = ["right", "wrong", "unparsable", "truncated", "truncated", "right", "crashed"]
    assert [answer.outcome for answer in graded] == expected
    found = measure(loaded, "m", graded)
    counts = {"right": 2, "wrong": 1, "unparsable": 1, "truncated": 2, "crashed": 1}
    assert found.counts == dict.fromkeys(OUTCOMES, 0) | counts
    assert found.score == pytest.approx(2 / 7) and found.interval == pytest.approx(wilson(2, 7))
    assert found.mean_tokens == 3


def test_a_right_answer_and_a_failure_of_the_verifier_do_not_become_truncated() -> None:
    for name in OUTCOMES:
        assert at_limit(name, "stop") == name
        assert at_limit(name, "length") == (name if name in ("right", "timed_out", "crashed") else "truncated")


def test_sampled_score_and_pass_at_k() -> None:
    found = score("m", "t", "sampled", answers(True, False, False, False, False, False, samples=3), at=[1, 2, 3])
    assert (found.questions, found.samples, found.score) == (2, 3, pytest.approx(1 / 6))
    assert found.pass_at_k == pytest.approx({"1": 1 / 6, "2": 1 / 3, "3": 1 / 2})


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40))
def test_counts_add_up(outcomes: list[str]) -> None:
    given_answers = [replace(answer, outcome=o) for answer, o in zip(answers(*[False] * 40), outcomes, strict=False)]
    found = score("m", "t", "greedy", given_answers)
    assert sum(found.counts.values()) == found.questions == len(outcomes)
    assert found.interval[0] <= found.score <= found.interval[1]
    assert found.score == found.counts["right"] / len(outcomes)


def test_comparison_picks_its_test_and_its_pairs() -> None:
    before, after = answers(*[False] * 10), answers(*[True] * 8, False, False)
    found = compare(before, list(reversed(after)))
    assert found.test == "mcnemar" and (found.gained, found.lost) == (8, 0) and found.p == pytest.approx(2 / 2**8)
    sampled = compare(answers(*[False] * 20, samples=2), answers(*[True, False] * 10, samples=2))
    assert sampled.test == "paired bootstrap" and sampled.difference == 0.5 and sampled.gained == 10
    assert compare(before, after[:9]).difference == pytest.approx(8 / 9), "on the questions that both answered"


def test_uneven_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="same number"):
        score("m", "t", "sampled", answers(True, False, True, samples=2))
    with pytest.raises(ValueError, match="expected answers"):
        score("m", "t", "greedy", [])


def test_a_broken_verifier_is_no_result() -> None:
    good = answers(*[True] * 97)
    broken = [replace(answer, question=f"b{i}", outcome="crashed") for i, answer in enumerate(answers(*[False] * 3))]
    refuse_failures("base on sums", good + broken[:1], 0.02)
    with pytest.raises(BactrianError, match="base on sums: the verifier failed on 3 of 100 answers"):
        refuse_failures("base on sums", good + broken, 0.02)
