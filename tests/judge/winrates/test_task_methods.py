"""Each family of tasks is compared in the way that agrees best with people: chosen, applied, refused where blind."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.judge.winrates.task_methods import (
    FAMILIES,
    METHODS,
    Compare,
    MethodName,
    TaskPair,
    check_unseen,
    choose_methods,
    compared,
    family,
    judge_methods,
    methods_for,
    read_task_pairs,
    reference_methods,
)
from bactrian.stages.judge.winrate import ASKS, TaskMethodSettings
from tests.judge.cascade_recipes import write

WORDS = ["cat", "dog", "sat", "ran", "mat", "hill"]


def pair(name: str, first: str, second: str, reference: str = "") -> AnswerPair:
    return AnswerPair(name, ({"role": "user", "content": f"prompt {name}"},), first, second, reference)


def bag(texts: Sequence[str]) -> np.ndarray:
    """Words as unit vectors."""
    counts = np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=float) + 1e-9
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def always(value: float | None) -> Compare:
    return lambda pairs: [value] * len(pairs)


def test_the_table_of_families_is_hrefs_and_names_known_ways() -> None:
    assert len(FAMILIES) == 11 and all(set(ways) <= set(METHODS) for ways in FAMILIES.values())
    assert all({"judge", "judge_reference"} <= set(ways) for ways in FAMILIES.values())
    assert methods_for("Closed QA", [*METHODS]) == [*METHODS]
    assert methods_for("brainstorm", ["exact", "judge"]) == ["judge"]  # no two lists of ideas are the same
    assert methods_for("riddles", ["judge", "exact"]) == ["exact", "judge"]
    assert family("Multi-Document  synthesis") == "multi_document_synthesis"
    # the stage's setting, which is typed without loading any of this
    listed = typing.get_args(typing.get_args(TaskMethodSettings.model_fields["methods"].annotation)[0])
    assert listed == typing.get_args(MethodName) and set(ASKS) < set(listed)


@pytest.mark.parametrize(
    ("way", "first", "second", "reference", "expected"),
    [
        ("exact", "The Paris.", "Lyon", "paris", 1.0),
        ("exact", "Paris, in France", "Lyon", "Paris", 0.5),  # neither is the same: no preference
        ("exact", "Paris", "paris!", "Paris", 0.5),
        ("words", "Paris, in France", "Lyon", "Paris", 1.0),
        ("words", "Lyon and much besides", "in Paris", "Paris", 0.0),
        ("meaning", "cat sat", "dog ran", "cat mat", 1.0),
        ("meaning", "dog ran", "cat cat", "cat", 0.0),
    ],
)
def test_ways_that_look_at_the_persons_answer(
    way: MethodName, first: str, second: str, reference: str, expected: float
) -> None:
    there = pair("x", first, second, reference)
    back = pair("x", second, first, reference)
    found = reference_methods(bag)[way]([there, back])
    assert found == [expected, 1 - expected]
    with pytest.raises(BactrianError, match=r"pair y: reference: found none, expected a person's answer"):
        reference_methods(bag)[way]([pair("y", first, second)])


def test_a_judge_sees_the_persons_answer_in_one_way_and_not_in_the_other() -> None:
    seen: list[str] = []

    def ask(pairs: Sequence[AnswerPair]) -> list[Opinion]:
        seen.extend(each.reference for each in pairs)
        return [Opinion((0.9, 0.1)) if each.id != "odd" else Opinion(fault="prose") for each in pairs]

    ways = judge_methods(ask)
    given = [pair("a", "x", "y", "gold"), pair("odd", "x", "y", "gold")]
    assert ways["judge"](given) == ways["judge_reference"](given) == [0.9, None]
    assert seen == ["", "", "gold", "gold"]
    with pytest.raises(BactrianError, match="expected a person's answer, for judge_reference"):
        ways["judge_reference"]([pair("b", "x", "y")])


def labelled(task: str, count: int, label: int = 0) -> list[TaskPair]:
    return [TaskPair(task, pair(f"{task} {n}", f"a{n}", f"b{n}", "r"), label) for n in range(count)]


def test_each_family_gets_its_best_way_and_a_tie_goes_to_the_cheaper() -> None:
    def ran(pairs: Sequence[AnswerPair]) -> list[float | None]:
        """Right on closed questions, wrong on summaries."""
        return [1.0 if "closed" in each.id else 0.0 for each in pairs]

    ways: dict[MethodName, Compare] = {"words": ran, "judge": always(0.8), "judge_reference": always(0.9)}
    found = choose_methods([*labelled("closed qa", 30), *labelled("summarisation", 30)], ways)
    assert (found["closed qa"].method, found["summarisation"].method) == ("words", "judge")
    assert found["summarisation"].agreements == {"words": 0.0, "judge": 1.0, "judge_reference": 1.0}
    assert found["closed qa"].interval == (1.0, 1.0) and not found["closed qa"].pooled
    asked = [TaskPair("closed qa", pair("new closed", "x", "y", "r")), TaskPair("summarisation", pair("new", "x", "y"))]
    assert compared(asked, found, ways) == [1.0, 0.8]
    with pytest.raises(BactrianError, match="found no labelled pair of poems, expected some of each family"):
        compared([TaskPair("poems", pair("p", "x", "y"))], found, ways)


def test_failures_agree_with_nobody_and_ties_by_half() -> None:
    found = choose_methods(labelled("poems", 25), {"exact": always(0.5), "words": always(None), "judge": always(0.2)})
    assert found["poems"].agreements == {"exact": 0.5, "words": 0.0, "judge": 0.0} and found["poems"].method == "exact"


def test_few_labels_take_the_way_that_is_best_over_all() -> None:
    def ran(pairs: Sequence[AnswerPair]) -> list[float | None]:
        return [float("rare" in each.id) for each in pairs]

    pairs = [*labelled("common", 40), *labelled("rare", 3)]
    found = choose_methods(pairs, {"words": ran, "judge": always(0.9)}, least=20)
    assert found["rare"].method == "judge" and found["rare"].pooled and found["rare"].labels == 3
    assert choose_methods(pairs, {"words": ran, "judge": always(0.9)}, least=3)["rare"].method == "words"


def test_pairs_of_one_prompt_count_as_one() -> None:
    """Ten pairs of one prompt, on which words are right, do not outvote twenty prompts."""
    crowd = [TaskPair("t", pair("same", f"a{n}", f"b{n}", "r"), 0) for n in range(40)]

    def ran(pairs: Sequence[AnswerPair]) -> list[float | None]:
        return [float(each.id == "same") for each in pairs]

    found = choose_methods([*crowd, *labelled("t", 20)], {"words": ran, "judge": lambda p: [1 - v for v in ran(p)]})
    assert found["t"].method == "judge" and found["t"].labels == 21


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1)), min_size=4, max_size=30),
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=30, max_size=30), min_size=3, max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_no_other_way_agrees_better_than_the_chosen_one(
    given_pairs: list[tuple[str, int]], said: list[list[float | None]]
) -> None:
    pairs = [TaskPair(task, pair(str(n), "x", "y", "r"), label) for n, (task, label) in enumerate(given_pairs)]

    def way(values: list[float | None]) -> Compare:
        return lambda asked: [values[int(each.id)] for each in asked]

    names: tuple[MethodName, ...] = ("exact", "words", "judge")
    found = choose_methods(pairs, {name: way(values) for name, values in zip(names, said, strict=True)}, least=1)
    for each in found.values():
        assert each.agreement == max(each.agreements.values()) == each.agreements[each.method]
        cheaper = [name for name in each.agreements if [*METHODS].index(name) < [*METHODS].index(each.method)]
        assert all(each.agreements[name] < each.agreement for name in cheaper)


def test_labelled_prompts_that_are_scored_too_are_refused() -> None:
    with pytest.raises(BactrianError, match=r"task methods: labelled pairs: found 1 of 2 whose prompts are among"):
        check_unseen(labelled("t", 2), [pair("t 1", "other", "answers")])


def test_labels_need_a_family(tmp_path: Path) -> None:
    row = {"prompt": "p", "first": "x", "second": "y", "label": 2, "reference": "gold", "task": "open qa"}
    write(tmp_path / "l.jsonl", [row, {**row, "prompt": "q", "label": 0}])
    (only,) = read_task_pairs(tmp_path / "l.jsonl", "task")
    assert (only.task, only.label, only.pair.reference) == ("open qa", 1, "gold")
    write(tmp_path / "l.jsonl", [{**row, "task": None}])
    with pytest.raises(BactrianError, match=r"line 1: task: found None, expected the family of the task"):
        read_task_pairs(tmp_path / "l.jsonl", "task")
