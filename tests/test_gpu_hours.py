"""GPU-hours beside what published runs took, and how they follow from what goes through the models."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.recipe import references
from bactrian.recipe.recipe import Compute, PublishedRun, load
from bactrian.run.gpu_hours import GPUS, PRODUCTS, cache_bytes, fewest_gpus, gpu_time
from bactrian.run.plan import Plan, plan
from bactrian.stages.stage import Facts, Forecast, ModelPass, SamplingLoad
from bactrian.stages.tune.sft import SFT
from bactrian.store.artifact import Store

RECIPES = Path(__file__).parents[1] / "recipes"
H100 = Compute(gpu="h100")
PUBLISHED = [  # recipe, step, GPU-hours, share of the recipe's steps that they were for
    ("tulu3-8b", "sft", 192, 1.0),
    ("tulu3-8b", "rlvr", 520, 1.0),
    ("tulu3-70b", "sft", 3200, 1.0),
    ("tulu3-70b", "rlvr", 2880, 1.0),
    ("tulu3-405b", "rlvr", 11_776, 109 / 216),
]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """Of the large recipes, without a network and without measuring this machine."""

    def no_network(repository: str, *rest: object) -> str:
        raise references.Unreachable(repository)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "_hub_commit", no_network)
        patch.setattr("bactrian.run.plan.measure_speed", lambda hardware: 1e12)
        store = Store(tmp_path_factory.mktemp("store"))
        names = {name for name, *_ in PUBLISHED}
        return {name: plan(load(RECIPES / f"{name}.yaml"), store) for name in names}


@pytest.mark.parametrize(("name", "step", "hours", "share"), PUBLISHED)
def test_published_runs_are_forecast_within_a_factor_of_two(
    plans: dict[str, Plan], name: str, step: str, hours: float, share: float
) -> None:
    made = plans[name]
    planned = next(each for each in made.steps if each.name == step)
    assert hours / 2 < share * made.gpu_time(planned).hours < 2 * hours


@pytest.mark.parametrize(("rows", "tokens", "hours"), [(1000, 5500, 7), (59_029, 4100, 394)])
def test_runs_that_set_no_constant_are_forecast_too(rows: int, tokens: float, hours: float) -> None:
    """s1 on Qwen2.5-32B, 5 epochs: its thousand rows, and all [Muennighoff et al. 2025]."""
    stage = SFT(model="m", data="d", epochs=5, max_length=32_768, memory={"recompute": "layer"})
    facts = {"m": Facts(parameters=32_763_876_352), "d": Facts(rows=rows, tokens_per_row=tokens)}
    assert hours / 1.5 < gpu_time(stage.forecast(facts), H100).hours < 1.5 * hours


def test_the_parts_of_the_largest_run_s_step(plans: dict[str, Plan]) -> None:
    """Published of Tülu 3 405B: 550 s of sampling on 16 GPUs and 1,500 s of training on 240 in a step."""
    made = plans["tulu3-405b"]
    time = made.gpu_time(next(step for step in made.steps if step.name == "rlvr"))
    assert 550 / 2 < time.sampling / 216 / 16 < 2 * 550
    assert 1500 / 2 < time.learning / 216 / 240 < 2 * 1500


TRAINED = ModelPass(8e9, tokens=1e6, rows=2000, flops_a_token=6)
ROLLOUTS = SamplingLoad(8e9, answers=4000, tokens=300, longest=1024, prompts=4000, prompt_tokens=400, rounds=10)


def hours(*passes: ModelPass, sampling: tuple[SamplingLoad, ...] = (), run: PublishedRun | None = None) -> float:
    return gpu_time(Forecast(passes=passes, sampling=sampling), H100, run).hours


def test_a_model_that_fits_one_gpu_gathers_nothing() -> None:
    small = replace(TRAINED, parameters=1e9)
    assert hours(small) == pytest.approx(small.flops / GPUS["h100"].flops / PRODUCTS / 3600)
    assert hours(TRAINED) > 2 * TRAINED.flops / GPUS["h100"].flops / PRODUCTS / 3600


def test_packed_rows_gather_less_often() -> None:
    packed = gpu_time(Forecast(passes=(TRAINED,)), Compute(gpu="h100", packed=True)).hours
    assert packed < hours(TRAINED) / 2
    assert packed > TRAINED.flops / GPUS["h100"].flops / PRODUCTS / 3600


def test_one_side_waits_for_the_other() -> None:
    forecast = Forecast(passes=(TRAINED,), sampling=(ROLLOUTS,))
    turns = gpu_time(forecast, H100)
    assert turns.waiting == 0
    for samplers in range(1, 8):
        split = gpu_time(forecast, H100, PublishedRun(hours=1, gpus=8, samplers=samplers))
        assert (split.learning, split.sampling) == (turns.learning, turns.sampling)
        assert split.waiting >= -1e-9
    most = gpu_time(forecast, H100, PublishedRun(hours=1, gpus=800, samplers=1))
    assert most.hours * 3600 == pytest.approx(800 * turns.sampling)  # all wait for the one that samples


@settings(max_examples=25)
@given(st.floats(1.01, 8), st.sampled_from(["tokens", "longest", "prompt_tokens", "parameters"]))
def test_more_to_sample_takes_longer(factor: float, field: str) -> None:
    more = replace(ROLLOUTS, **{field: getattr(ROLLOUTS, field) * factor})
    assert hours(sampling=(more,)) > hours(sampling=(ROLLOUTS,))


def test_decoding_waits_for_memory_and_not_for_products() -> None:
    products = ROLLOUTS.flops / GPUS["h100"].flops / PRODUCTS / 3600
    assert hours(sampling=(ROLLOUTS,)) > 3 * products
    at_once = replace(ROLLOUTS, rounds=1)  # fewer ends to wait for
    assert hours(sampling=(at_once,)) < hours(sampling=(ROLLOUTS,))


@pytest.mark.parametrize(
    ("parameters", "layers", "heads", "width"),
    [(135e6, 30, 3, 64), (8.03e9, 32, 8, 128), (70.6e9, 80, 8, 128), (405.9e9, 126, 8, 128)],
)
def test_cached_bytes_are_about_those_of_real_shapes(parameters: float, layers: int, heads: int, width: int) -> None:
    assert cache_bytes(parameters) == pytest.approx(2 * 2 * layers * heads * width, rel=0.35)


def test_how_many_gpus_hold_a_step() -> None:
    assert [fewest_gpus(size, H100) for size in (0, 80e9, 81e9, 1.1e12)] == [1, 1, 2, 14]


def test_the_document_s_table_is_what_a_plan_says(plans: dict[str, Plan]) -> None:
    told = (RECIPES.parent / "docs" / "large-recipes.md").read_text()
    for name, step, published, share in PUBLISHED:
        made = plans[name]
        forecast = made.gpu_time(next(each for each in made.steps if each.name == step)).hours
        assert f"| {forecast:,.0f} | {published:,} (" in told
        assert f"| {share * forecast / published:.2f} |" in told
