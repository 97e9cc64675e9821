"""Length-controlled win rates: what must hold of them whatever the data, and the published ones of two models."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from bactrian.errors import BactrianError
from bactrian.judge.winrates.length_control import (
    control_length,
    joint_difficulty,
    length_feature,
    resampled_difficulty,
)
from bactrian.judge.winrates.logistic import ClusterDraws, fit_logistic, percentile_interval
from bactrian.judge.winrates.published import PublishedModel, recover_difficulty

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def test_the_baseline_against_itself_is_50() -> None:
    lengths = np.arange(100, 900)
    feature = length_feature(lengths, lengths)
    fit = control_length(np.full(800, 0.5), feature, np.linspace(-2, 2, 800))
    assert fit.win_rate == pytest.approx(0.5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 2))
def test_equal_lengths_and_no_difficulty_leave_the_raw_win_rate(seed: int, quality: float) -> None:
    outcomes = expit(quality + np.random.default_rng(seed).standard_normal(300))
    fit = control_length(outcomes, np.zeros(300), np.zeros(300))
    assert fit.win_rate == pytest.approx(outcomes.mean(), abs=1e-6)


@pytest.mark.parametrize("liking", [0.5, 1.0])
def test_padding_raises_the_raw_win_rate_and_hardly_the_controlled_one(liking: float) -> None:
    """The judge likes every 1,000 characters by `liking`, without the bend of the model's tanh."""
    random = np.random.default_rng(5)
    baseline, chars = random.integers(400, 2400, 800), random.integers(300, 2500, 800)
    difficulty = random.standard_normal(800)
    found = []
    for padding in (0, 900):
        longer = chars + padding
        outcomes = expit(-0.5 + difficulty + liking * (longer - baseline) / 1000)
        fit = control_length(outcomes, length_feature(baseline, longer), difficulty)
        found.append((outcomes.mean(), fit.win_rate))
    (raw, controlled), (raw_padded, controlled_padded) = found
    assert raw_padded - raw > 0.06
    assert abs(controlled_padded - controlled) < 0.25 * (raw_padded - raw)


def test_a_better_answer_is_no_padding() -> None:
    """The controlled win rate still follows quality: control is not shrinkage to nothing."""
    random = np.random.default_rng(1)
    baseline, chars = random.integers(400, 2400, 800), random.integers(400, 2400, 800)
    length, difficulty = length_feature(baseline, chars), random.standard_normal(800)
    low, high = (
        control_length(expit(quality + difficulty - length), length, difficulty).win_rate for quality in (-1, 1)
    )
    assert high - low > 0.3


def test_difficulty_from_models_alone_is_the_true_one() -> None:
    random = np.random.default_rng(2)
    true = random.standard_normal(400)
    levels = np.linspace(-2, 1, 8)
    outcomes = expit(levels[:, None] + true + 0.3 * random.standard_normal((8, 400)))
    outcomes[3, :20] = np.nan
    found = joint_difficulty(outcomes)
    assert np.corrcoef(found, true)[0, 1] > 0.97
    assert found.mean() == pytest.approx(0, abs=1e-9)
    assert found.std() == pytest.approx(1)


def test_four_models_say_too_little_of_difficulty() -> None:
    with pytest.raises(BactrianError, match="needs 5 models, found 4"):
        joint_difficulty(np.full((4, 10), 0.5))


def test_difficulties_fitted_on_a_draw_are_those_of_repeated_instructions() -> None:
    """An instruction that is drawn twice counts as two; its difficulty is theirs, on the scale of the draw."""
    random = np.random.default_rng(2)
    outcomes = expit(random.standard_normal((6, 1)) + random.standard_normal(50) + random.standard_normal((6, 50)))
    outcomes[2, 7] = np.nan
    draws = ClusterDraws.of([str(n) for n in range(50)])
    found = resampled_difficulty(outcomes, draws, 3, seed=4)
    for times, gamma in zip(draws.drawn(3, 4), found, strict=True):
        places = np.repeat(np.arange(50), times.astype(int))
        assert gamma[places] == pytest.approx(joint_difficulty(outcomes[:, places]), abs=1e-5)
        assert np.average(gamma, weights=times) == pytest.approx(0, abs=1e-9)
    assert np.abs(found[0] - found[1]).max() > 1e-3  # the draws differ
    with pytest.raises(BactrianError, match="needs 5 models, found 4"):
        resampled_difficulty(outcomes[:4], draws, 3, seed=4)


def test_lengths_of_other_instructions_are_refused() -> None:
    with pytest.raises(BactrianError, match="3 lengths of the baseline and 2"):
        length_feature([1, 2, 3], [1, 2])


def test_soft_outcomes_are_split_rows() -> None:
    """A soft outcome p is p wins and 1 − p losses: the fit on split and weighted rows is the same."""
    random = np.random.default_rng(0)
    features, outcomes = random.standard_normal((50, 3)), random.random(50)
    twice = np.concatenate([features, features])
    labels = np.concatenate([np.ones(50), np.zeros(50)])
    split = fit_logistic(twice, labels, np.concatenate([outcomes, 1 - outcomes]))
    assert fit_logistic(features, outcomes) == pytest.approx(split, abs=1e-8)


def test_whole_weights_are_repeated_rows() -> None:
    random = np.random.default_rng(3)
    features, outcomes = random.standard_normal((40, 2)), random.random(40)
    times = random.integers(0, 4, 40)
    again = fit_logistic(np.repeat(features, times, axis=0), np.repeat(outcomes, times))
    assert fit_logistic(features, outcomes, times.astype(float)) == pytest.approx(again, abs=1e-7)


def test_prompts_are_drawn_whole() -> None:
    """Rows of one prompt count alike: copies of every row change no interval, as they would if rows were drawn."""
    values = np.random.default_rng(0).random(60)
    once, four = ClusterDraws.of([str(n) for n in range(60)]), ClusterDraws.of([str(n // 4) for n in range(240)])
    many = np.repeat(values, 4)
    drawn = once.refitted(lambda times: np.array([np.average(values, weights=times)]), 400, 7)
    copies = four.refitted(lambda times: np.array([np.average(many, weights=times)]), 400, 7)
    assert copies == pytest.approx(drawn)
    low, high = percentile_interval(drawn[:, 0])
    assert low < values.mean() < high


@pytest.fixture(scope="module")
def published() -> list[PublishedModel]:
    path = DATA / "alpaca_eval2_model_preferences.dev.jsonl"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    baseline = [len(json.loads(line)["output"]) for line in (DATA / "alpaca_eval_gpt4turbo_baseline.jsonl").open()]
    with (DATA / "alpaca_eval2_lc_baseline_gpt4_1106.csv").open() as file:
        weights = {row[0]: np.array(row[1:], dtype=float) for row in list(csv.reader(file))[1:]}
    models = []
    for row in map(json.loads, path.open()):
        if row["leaderboard_lc_win_rate"] is None or None in row["preferences"]:
            continue
        said = np.array(row["preferences"])
        models.append(
            PublishedModel(
                row["generator"],
                np.where(said == 0, 1.5, said) - 1,
                length_feature(baseline, row["output_chars"]),
                np.arange(len(said)),
                weights[row["generator"]],
                row["leaderboard_lc_win_rate"],
            )
        )
    return models


def test_published_win_rates_follow_from_the_other_models(published: list[PublishedModel]) -> None:
    """The difficulties that twenty models reveal give the win rates of two that were left out, to 0.1 points."""
    left_out = [model for model in published if model.name in ("vicuna-13b-v1.5", "humpback-llama2-70b")]
    known = recover_difficulty([model for model in published if model not in left_out])
    for model in left_out:
        assert known.win_rate(model.weights) == pytest.approx(model.win_rate, abs=0.1)
        # and not because every model's is: the raw win rate is points away
        assert abs(100 * model.outcomes.mean() - model.win_rate) > 3
