"""Agreement and the alt-test: gold answers, other people's code, published examples, and invariants."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.metrics import cohen_kappa_score

from bactrian.errors import BactrianError
from bactrian.judge.people.agreement import cohen_kappa, krippendorff_alpha
from bactrian.judge.people.alt_test import alt_test

DATA = Path(__file__).parents[4] / "shared" / "data"
PUBLISHED = [  # Krippendorff 2011, section C: twelve units, four observers, gaps; alpha is 0.743
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
Labels = dict[str, str]


def ratings(lines: list[str]) -> dict[str, Labels]:
    return {
        str(number): {str(at): label for at, label in enumerate(line.split()) if label != "."}
        for number, line in enumerate(lines)
    }


tables = st.lists(st.lists(st.sampled_from([*"abcd", None]), min_size=14, max_size=14), min_size=2, max_size=5).map(
    lambda rows: {str(n): {str(i): x for i, x in enumerate(row) if x} for n, row in enumerate(rows)}
)


def as_numbers(people: Mapping[str, Labels], items: int = 14) -> Any:
    return [["abcd".index(of[str(i)]) if str(i) in of else np.nan for i in range(items)] for of in people.values()]


def test_alpha_of_the_published_example() -> None:
    found = krippendorff_alpha(ratings(PUBLISHED))
    assert found.value == pytest.approx(0.743, abs=5e-4) and found.items == 11
    assert found.interval and found.interval[0] < 0.743 < found.interval[1]


@given(tables)
@settings(max_examples=30, deadline=None)
def test_alpha_is_that_of_another_library(people: dict[str, Labels]) -> None:
    found = krippendorff_alpha(people)
    paired = {i for of in people.values() for i in of if sum(i in other for other in people.values()) > 1}
    used = {of[i] for of in people.values() for i in of if i in paired}
    if len(used) < 2:
        assert found.value is None or found.value == 1
        return
    theirs = krippendorff.alpha(as_numbers(people), level_of_measurement="nominal", value_domain=[0, 1, 2, 3])
    assert found.value == pytest.approx(theirs, abs=1e-9) and found.items == len(paired)


@given(tables)
@settings(max_examples=30, deadline=None)
def test_kappa_is_that_of_another_library(people: dict[str, Labels]) -> None:
    one, other = people["0"], people["1"]
    shared = sorted(one.keys() & other.keys())
    found = cohen_kappa(one, other)
    assert found.items == len(shared)
    if shared and len({side[i] for side in (one, other) for i in shared}) > 1:
        theirs = cohen_kappa_score([one[i] for i in shared], [other[i] for i in shared])
        assert found.value == pytest.approx(theirs, abs=1e-9)
        assert found.value == pytest.approx(cohen_kappa(other, one).value, abs=1e-12)
    else:
        assert found.value is None


def test_intervals_take_the_pairs_of_a_prompt_together() -> None:
    """Each item ten times over is no more evidence, where they share their prompt."""
    draw = np.random.default_rng(4)
    one = {str(i): "ab"[draw.integers(2)] for i in range(40)}
    other = {i: x if draw.random() < 0.7 else "ab"[draw.integers(2)] for i, x in one.items()}
    many = [{f"{i}-{n}": x for i, x in side.items() for n in range(10)} for side in (one, other)]
    groups = {name: name.partition("-")[0] for name in many[0]}
    once, together, apart = cohen_kappa(one, other), cohen_kappa(*many, groups), cohen_kappa(*many)
    assert once.value == pytest.approx(together.value) == pytest.approx(apart.value)

    def width(found: Any) -> float:
        return float(found.interval[1] - found.interval[0])

    assert width(together) == pytest.approx(width(once), rel=0.1) and width(apart) < 0.5 * width(once)


def test_the_interval_covers_what_is_true() -> None:
    """Of two annotators who are each right three times in four, by many samples of 60 items."""
    draw = np.random.default_rng(5)
    truth = 0.75**2 + 0.25**2  # the share that agrees; kappa = 2 · share − 1 with two labels as frequent
    inside = 0
    for sample in range(100):
        labels = draw.random((2, 60)) < 0.75
        right = draw.random(60) < 0.5
        one, other = ({str(i): str(bool(x)) for i, x in enumerate(side == right)} for side in labels)
        low, high = cohen_kappa(one, other, seed=sample).interval or (0.0, 0.0)
        inside += low <= 2 * truth - 1 <= high
    assert 87 <= inside <= 99  # 95 expected


def test_few_items_have_no_interval_and_none_no_value() -> None:
    few = {str(i): "ab"[i % 2] for i in range(9)}
    assert cohen_kappa(few, few).value == 1 and cohen_kappa(few, few).interval is None
    assert krippendorff_alpha({}) == krippendorff_alpha({"ann": few}) == cohen_kappa({}, few)
    alike = krippendorff_alpha({"ann": {"1": "a"}, "bert": {"1": "a"}})
    assert alike.value is None and alike.observed == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here")
def test_agreement_of_published_annotations() -> None:
    rows = [json.loads(line) for line in (DATA / "xstest_labelled_completions_llama2orig.jsonl").open()]
    one, other = ({row["id"]: row[name] for row in rows} for name in ("annotation_1", "annotation_2"))
    found = cohen_kappa(one, other)
    assert found.observed == sum(row["agreement"] == "True" for row in rows) / len(rows)
    assert found.value == pytest.approx(cohen_kappa_score(list(one.values()), list(other.values())))


# --- the alt-test


def crowd(n: int, noise: float, annotators: int, seed: int) -> tuple[dict[str, Labels], Labels, Any]:
    draw = np.random.default_rng(seed)
    truth = {str(i): "ab"[draw.integers(2)] for i in range(n)}

    def noisy(share: float) -> Labels:
        return {i: x if draw.random() > share else "ab"[draw.integers(2)] for i, x in truth.items()}

    return {f"p{number}": noisy(noise) for number in range(annotators)}, truth, noisy


def test_a_better_judge_passes_a_worse_one_does_not() -> None:
    people, truth, noisy = crowd(100, 0.3, 3, 1)
    good, bad = alt_test(people, truth, 0.1), alt_test(people, noisy(1.0), 0.1)
    assert good.passes and good.winning_rate == 1 and not bad.passes and bad.winning_rate == 0
    assert good.advantage > 0.8 > bad.advantage
    assert {each.test for each in good.annotators} == {"t"}


def test_the_formula_item_by_item() -> None:
    people, _, noisy = crowd(60, 0.4, 4, 2)
    judge = noisy(0.5)
    found = alt_test(people, judge, 0.15)
    ps = []
    for each in found.annotators:
        wins_judge, wins_person = [], []
        for item, own in people[each.annotator].items():
            others = [of[item] for name, of in people.items() if name != each.annotator]
            score_judge, score_own = (sum(x == label for x in others) / 3 for label in (judge[item], own))
            wins_judge.append(float(score_judge >= score_own))
            wins_person.append(float(score_own >= score_judge))
        assert (each.judge, each.person) == pytest.approx((np.mean(wins_judge), np.mean(wins_person)))
        ps.append(ttest_1samp(np.subtract(wins_person, wins_judge), 0.15, alternative="less").pvalue)
        assert each.p == pytest.approx(ps[-1])
    ranked, harmonic = sorted(ps), sum(1 / k for k in range(1, 5))
    least = max((k for k, p in enumerate(ranked, 1) if p <= 0.05 * k / (4 * harmonic)), default=0)
    assert found.winning_rate == least / 4


def test_a_judge_that_is_worse_by_epsilon_seldom_wins() -> None:
    """At the edge of the hypothesis each comparison is lost but for 5 % of the samples."""
    wins = 0
    for sample in range(40):
        draw = np.random.default_rng(sample)
        reference = {str(i): "a" for i in range(80)}
        person = dict(reference)
        judge = {i: "a" if draw.random() < 0.8 else "b" for i in reference}  # loses on one item in five
        wins += alt_test({"p": person, "q": reference}, judge, 0.2).annotators[0].p <= 0.05
    assert wins <= 6


def test_few_items_are_ranked_and_items_of_a_prompt_count_once() -> None:
    people, truth, _ = crowd(20, 0.3, 3, 3)
    found = alt_test(people, truth, 0.2)
    assert {each.test for each in found.annotators} == {"Wilcoxon"} and {each.n for each in found.annotators} == {20}
    many = {name: {f"{i}-{n}": x for i, x in of.items() for n in range(9)} for name, of in people.items()}
    groups = {f"{i}-{n}": i for i in truth for n in range(9)}
    grouped = alt_test(many, {f"{i}-{n}": x for i, x in truth.items() for n in range(9)}, 0.2, groups)
    assert grouped.annotators == found.annotators


def test_one_item_proves_nothing_and_one_annotator_is_refused() -> None:
    alone = {"ann": {"1": "a"}, "bert": {"1": "a"}}
    assert not alt_test(alone, {"1": "a"}, 0.2).passes
    assert alt_test(alone, {"1": "a"}, 0.0).annotators[0].p == 1
    with pytest.raises(BactrianError, match="expected at least two annotators"):
        alt_test({"ann": {"1": "a"}}, {"1": "a"}, 0.2)
    assert alt_test({**alone, "cleo": {"2": "b", "1": "b"}}, {"1": "a"}, 0.2).without_judge == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here")
def test_recorded_judges_against_three_people() -> None:
    """PandaLM's test set (dev half): people agree so well that neither recorded judge may replace one."""
    rows = [json.loads(line) for line in (DATA / "pandalm_test_3annotators.dev.jsonl").open()]
    people = {f"annotator{n}": {str(r["idx"]): str(r[f"annotator{n}"]) for r in rows} for n in (1, 2, 3)}
    groups = {str(r["idx"]): r["instruction"] + r["input"] for r in rows}
    gpt = {str(r["idx"]): {"Tie": "0"}.get(r["gpt35_result"], r["gpt35_result"]) for r in rows}
    panda = {str(r["idx"]): str(r["pandalm7b_result"]) for r in rows}
    constant = dict.fromkeys(gpt, "1")
    judges = {"gpt": gpt, "panda": panda, "constant": constant}
    found = {name: alt_test(people, judge, 0.1, groups) for name, judge in judges.items()}
    assert not any(each.passes for each in found.values())
    shares = {name: round(each.advantage, 3) for name, each in found.items()}
    assert shares == {"gpt": 0.716, "panda": 0.686, "constant": 0.472}
    alpha = krippendorff_alpha(people, groups)
    assert alpha.value == pytest.approx(0.854, abs=5e-4)
    assert alpha.interval and 0.78 < alpha.interval[0] < alpha.value < alpha.interval[1] < 0.92
