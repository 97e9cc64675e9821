"""A choice is declared once: settings, help and dispatch follow from it."""

from collections.abc import Iterator

import pytest
import torch
from click.testing import CliRunner

from bactrian.cli.stage_command import stage_command
from bactrian.errors import BactrianError
from bactrian.stages.tune.dpo import DPO
from bactrian.train.losses import PREFERENCE_LOSSES, Objective, PairLosses, PairSums
from bactrian.train.registry import Registry
from bactrian.train.schedules import SCHEDULES, learning_rate


@pytest.fixture
def hinge() -> Iterator[str]:
    """A loss that this test adds, in a line and a function."""

    @PREFERENCE_LOSSES.declare("hinge", "a hinge on sums", needs_reference=True)
    def hinge(pairs: PairSums, objective: Objective) -> PairLosses:
        chosen, rejected = pairs.log_ratios("hinge")
        each = (1 - objective.beta * (chosen - rejected)).clamp(min=0)
        return PairLosses(each, chosen, rejected)

    yield "hinge"
    del PREFERENCE_LOSSES.choices["hinge"]


def test_what_is_declared_is_a_setting(hinge: str) -> None:
    assert DPO(model="m", data="d", loss=hinge).loss == "hinge"
    command = stage_command(DPO, [], lambda recipe, store: None)
    assert "[dpo|dpo_norm|simpo|ipo|sft|ga|npo|hinge]" in CliRunner().invoke(command, ["--help"]).output
    sums = PairSums(*(torch.tensor([x]) for x in (-10.0, -30.0, 10.0, 20.0, -10.2, -30.0)))
    assert PREFERENCE_LOSSES.find(hinge).needs_reference
    assert float(PREFERENCE_LOSSES.use(hinge)(sums, Objective(hinge, 2.0)).loss) == pytest.approx(0.6)


def test_a_name_is_one_function_s() -> None:
    registry: Registry[object] = Registry("thing")  # type: ignore[type-var]

    def one() -> None: ...
    def other() -> None: ...

    other.__module__ = "elsewhere"
    registry.declare("a", "one")(one)
    registry.declare("a", "one, imported again")(one)
    with pytest.raises(BactrianError, match=r"two .*'a'.*test_registry.*elsewhere"):
        registry.declare("a", "another")(other)


def test_a_name_that_is_none_is_answered_with_those_that_are() -> None:
    with pytest.raises(BactrianError, match=r'found "cosin", expected a schedule: linear, .*did you mean "cosine"'):
        SCHEDULES.find("cosin")


def test_only_a_schedule_that_takes_a_warm_up_has_one() -> None:
    rises = {name: learning_rate(0, 10, 1.0, name, warmup=0.5) < 1 for name in SCHEDULES.choices}
    assert rises == {name: "warmup" in choice.takes for name, choice in SCHEDULES.choices.items()}


def test_the_schema_of_recipes_has_the_choices(hinge: str) -> None:
    properties = DPO.model_json_schema()["properties"]
    assert properties["loss"]["enum"] == ["dpo", "dpo_norm", "simpo", "ipo", "sft", "ga", "npo", "hinge"]
    assert (
        properties["schedule"]["enum"] == list(SCHEDULES.choices)
        and "margin gamma" in properties["loss"]["description"]
    )
