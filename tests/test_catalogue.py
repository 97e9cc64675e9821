"""The catalogue of open recipes: they validate, plan without a network, name licences, and add up as published."""

import socket
from pathlib import Path
from typing import Any

import pytest

from bactrian.recipe.recipe import Recipe, load
from bactrian.run.plan import Plan, plan
from bactrian.stages.data.mix import Mix
from bactrian.stages.data.source import DataSource
from bactrian.store.artifact import Store
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Licence

CATALOGUE = Path(__file__).parents[1] / "recipes" / "catalogue"
RECIPES = sorted(file.stem for file in CATALOGUE.glob("*.yaml"))


def sources(recipe: Recipe) -> dict[str, DataSource]:
    return {step.name: step.stage for step in recipe.steps if isinstance(step.stage, DataSource)}


def mixture(recipe: Recipe, step: str = "mixture") -> Mix:
    stage = recipe.step(step).stage
    assert isinstance(stage, Mix)
    return stage


def recipe(name: str) -> Recipe:
    return load(CATALOGUE / f"{name}.yaml")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Plans a recipe on a machine without a network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan needs no network")

    def speed(hardware: Hardware) -> float:
        return 1e12

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("bactrian.run.plan.measure_speed", speed)
    return lambda name: plan(recipe(name), Store(tmp_path))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_validates_and_is_planned_offline_with_licence_and_count(name: str, planned: Any) -> None:
    made: Plan = planned(name)
    rows = {step.name: step.rows for step in made.steps}
    assert all(rows.values()), f"{name}: a plan without rows: {rows}"
    for step, source in sources(recipe(name)).items():
        assert source.hub and source.license and (source.rows or source.tokens), f"{name}, {step}"
        unclear = "unclear" in Licence.of(step, source.license).marks
        assert unclear == ("unclear" in source.license), f"{name}, {step}: {source.license}"


def test_there_is_a_recipe_for_each_published_set() -> None:
    assert RECIPES == ["coconot", "dolmino", "olmo2-mix", "s1-funnel", "tulu3-preference", "tulu3-rlvr", "tulu3-sft"]


def test_tulu_3_s_conversations_add_up(planned: Any) -> None:
    tulu = recipe("tulu3-sft")
    assert sum(source.rows or 0 for source in sources(tulu).values()) == 939_344
    assert sum(int(portion.amount or 0) for portion in mixture(tulu).sources) == 939_344
    assert {step.name: step.rows for step in planned("tulu3-sft").steps}["mixture"] == 939_344
    others = sources(recipe("tulu3-preference"))
    there = [*sources(tulu).values(), others["ultrafeedback"], others["if_augmented"]]
    assert sum(source.provenance.available or 0 for source in there) == 23_327_961
    marks = {step: Licence.of(step, source.license).marks for step, source in sources(tulu).items()}
    assert {step for step, found in marks.items() if found} == {"no_robots", "flan"} and marks["no_robots"] == ("NC",)
    assert {portion.capability for portion in mixture(tulu).sources} == {
        "general",
        "knowledge recall",
        "math",
        "coding",
        "safety",
        "multilingual",
        "precise instruction following",
    }


def test_tulu_3_s_preference_prompts_do_not_add_up_to_the_total_that_is_printed(planned: Any) -> None:
    total = sum(int(portion.amount or 0) for portion in mixture(recipe("tulu3-preference"), "prompts").sources)
    assert total == 424_605 and 425_145 - total == 540
    assert {step.name: step.rows for step in planned("tulu3-preference").steps}["prompts"] == total
    for portion in mixture(recipe("tulu3-preference"), "prompts").sources:  # none is drawn from more than there is
        assert int(portion.amount or 0) <= (sources(recipe("tulu3-preference"))[portion.data].rows or 0)


def test_tulu_3_s_verifiable_problems_add_up(planned: Any) -> None:
    counts = {step: source.rows for step, source in sources(recipe("tulu3-rlvr")).items()}
    assert counts == {"gsm8k": 7_473, "math": 7_500, "ifeval": 14_973}
    assert {step.name: step.rows for step in planned("tulu3-rlvr").steps}["problems"] == 29_946


def test_olmo_2_s_mixtures_add_up(planned: Any) -> None:
    olmo = sources(recipe("olmo2-mix")).values()
    assert sum(source.tokens or 0 for source in olmo) == pytest.approx(3.90e12, abs=0.005e12)
    assert sum(source.rows or 0 for source in olmo) == pytest.approx(3.08e9, abs=0.005e9)
    dolmino = recipe("dolmino")
    math = {portion.data for portion in mixture(dolmino, "math").sources}
    tokens = {step: source.tokens or 0 for step, source in sources(dolmino).items()}
    assert sum(count for step, count in tokens.items() if step in math) == pytest.approx(10.7e9, abs=0.05e9)
    assert sum(count for step, count in tokens.items() if step not in math) == pytest.approx(832.6e9, abs=0.05e9)
    assert len(math) == 7 and mixture(dolmino).total == 50_000_000_000
    assert sum(portion.weight or 0 for portion in mixture(dolmino).sources) == pytest.approx(100.01)


def test_s1_and_coconot_count_as_published() -> None:
    s1 = sources(recipe("s1-funnel"))
    assert s1["questions"].rows == 59_029 and s1["chosen"].rows == 1_000
    coconot = {step: source.rows for step, source in sources(recipe("coconot")).items()}
    assert coconot == {"original": 11_477, "preferences": 927, "original_test": 1_001, "contrast_test": 379}
    assert coconot["original"] + coconot["original_test"] == pytest.approx(12_500, abs=50)


@pytest.mark.parametrize(
    ("name", "step", "row"),
    [
        (
            "s1-funnel",
            "questions",
            {
                "question": "2 + 2?",
                "solution": "4",
                "attempt": "It is 4.",
                "cot": None,
                "thinking_trajectories": ["2 + 2 is 4"],
                "source_type": "x",
                "cot_type": "math",
            },
        ),
        ("coconot", "original_test", {"id": "1", "prompt": "Do it.", "response": "", "category": "c"}),
        (
            "tulu3-preference",
            "if_augmented",
            {
                "prompt": "2 + 2?",
                "chosen": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
                "rejected": [],
            },
        ),
        ("dolmino", "gsm8k", {"id": "1", "text": "2 + 2 = 4", "added": "2024", "metadata": {"a": 1}}),
        (
            "tulu3-rlvr",
            "math",
            {"messages": [{"role": "user", "content": "2 + 2?"}], "ground_truth": "4", "dataset": "MATH"},
        ),
    ],
)
def test_rows_as_the_sets_have_them_go_through(name: str, step: str, row: dict[str, Any]) -> None:
    from bactrian.data.io.adoption import Account, adopt
    from bactrian.data.io.formats import Fault
    from bactrian.data.io.rows import validate_row

    account = Account()
    (made,) = adopt([(row, "train, row 1")], sources(recipe(name))[step]._adoption(None), account)
    assert not isinstance(made, Fault) and account.kind is not None
    validate_row(made, account.kind, "here")
