"""What a plan says of synthesis: tokens of all requests, operations of own models alone, money at the user's prices."""

from pathlib import Path
from typing import Any

import pytest

from bactrian.run.rehearsal import rehearse
from bactrian.stages.stage import Facts, answer_tokens
from bactrian.stages.synth.synthesise import PROMPT_TOKENS, Synthesise

SERVER = {"server": {"url": "http://localhost/v1", "model": "m"}, "price_in": 2.0, "price_out": 8.0, "weight": 3.0}


def test_money_and_operations_are_shared_by_weight() -> None:
    how = {
        "seeds": "s",
        "prompt": "{{ text }}",
        "gates": {"decontaminate": False},
        "per_seed": 2,
        "max_new_tokens": 400,
    }
    inputs = {"s": Facts(rows=1000, tokens_per_row=50), "own": Facts(parameters=10**6)}
    paid = Synthesise(**how, generators=[SERVER]).forecast(inputs)
    tokens = 2000 * (PROMPT_TOKENS + 50 + answer_tokens(400))
    assert paid.tokens == tokens and paid.flops == 0
    assert paid.money == 2000 * ((PROMPT_TOKENS + 50) * 2.0 + answer_tokens(400) * 8.0) / 1e6
    both = Synthesise(**how, generators=[SERVER, {"model": "own"}]).forecast(inputs)
    assert both.tokens == tokens and both.money == pytest.approx(paid.money * 0.75)
    assert both.flops == 2.0 * 1e6 * tokens / 4
    assert Synthesise(**how, generators=[{"model": "own"}], limit=10).forecast(inputs).makes.rows == 20


def test_a_rehearsal_has_no_server_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_weights(folder: Path, *_: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(rehearse, "write_toy", no_weights)
    made = rehearse.prepare(Path(__file__).parents[2] / "recipes" / "self-instruct.yaml", tmp_path)
    [stage] = [step.stage for step in made.recipe.steps if step.stage.name == "self_instruct"]
    assert [each.server for each in stage.generators] == [None] and stage.count <= rehearse.ROWS  # type: ignore[attr-defined]
    assert any("behind a server" in line for line in made.stand_ins)
