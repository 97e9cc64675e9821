"""Settings of stages that contradict each other are refused before anything runs."""

import pytest
from pydantic import ValidationError

from bactrian.stages.tune.dpo import DPO


def test_a_target_margin_is_simpo_s_alone() -> None:
    assert DPO(model="m", data="d", loss="simpo", gamma=0.5).gamma == 0.5
    with pytest.raises(ValidationError, match="only simpo has a target margin"):
        DPO(model="m", data="d", loss="dpo_norm", gamma=0.5)


def test_a_time_limit_is_in_minutes() -> None:
    assert DPO(model="m", data="d", checkpoints={"time_limit_minutes": 2}).seconds_limit() == 120
    assert DPO(model="m", data="d").seconds_limit() is None
