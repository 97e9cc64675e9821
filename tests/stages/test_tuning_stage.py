"""Adapters, frozen parts and dropped activations, from a stage's settings to its artifact."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bactrian.data.io.files import write_rows
from bactrian.stages.tune.dpo import DPO
from bactrian.stages.tune.sft import SFT
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from bactrian.train.options import AdapterSettings
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {"model": "start", "data": "rows", "batch_size": 4, "learning_rate": 1e-3}


def run(stage: SFT | DPO, folder: Path) -> Path:
    model = folder / "start"
    if not model.exists():
        write_tiny(model)
    if not (folder / "sft").exists():
        common = {"source": "test", "license": "CC0-1.0"}
        asked = [{"role": "user", "content": "the cat is"}]
        answers = [[{"role": "assistant", "content": text}] for text in ("yes one", "no two three", "12 + 34 = 46")]
        chats = [{"id": f"c{i}", "messages": asked + answers[i % 3], **common} for i in range(8)]
        pairs = [
            {"id": f"p{i}", "prompt": asked, "chosen": answers[i % 3], "rejected": answers[(i + 1) % 3], **common}
            for i in range(8)
        ]
        write_rows(chats, folder / "sft")
        write_rows(pairs, folder / "dpo")
    inputs = {
        "start": Input("start", model, Kind.MODEL, "hash of start"),
        "rows": Input("rows", folder / stage.name, Kind.DATA, "hash of rows"),
    }
    out = folder / f"out-{len(list(folder.iterdir()))}"
    workspace = Workspace.temporary(out, inputs, 1, Hardware(dtype="bfloat16"))
    stage.run(workspace)
    return workspace.output


@pytest.mark.parametrize("kind", [SFT, DPO])
def test_an_adapter_is_saved_beside_the_merged_model(tmp_path: Path, kind: type[SFT] | type[DPO]) -> None:
    output = run(kind(**NEEDED, adapter=AdapterSettings(rank=2, targets=["q_proj", "v_proj"])), tmp_path)
    adapter = load_file(output / "adapter" / "adapter_model.safetensors")
    assert (output / "adapter" / "adapter_config.json").is_file()
    assert len(adapter) == 3 * 2 * 2 and all("q_proj" in name or "v_proj" in name for name in adapter)
    before, after = load_file(tmp_path / "start" / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in after.items():
        if "q_proj" in name or "v_proj" in name:
            key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
            change = 16 / 2 * adapter[f"{key}B.weight"].float() @ adapter[f"{key}A.weight"].float()
            assert change.abs().max() > 0
            torch.testing.assert_close(weight, before[name].bfloat16().float() + change, atol=1e-6, rtol=1e-2)
        else:
            assert torch.equal(weight.float(), before[name].bfloat16().float())


def test_beside_4_bits_the_artifact_is_a_plain_model(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    write_tiny(tmp_path / "start", **sizes)
    output = run(SFT(**NEEDED, adapter=AdapterSettings(rank=2, targets=["q_proj"], weights="nf4")), tmp_path)
    assert "quantization_config" not in (output / "config.json").read_text()
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    before, after = load_file(tmp_path / "start" / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys() and {w.dtype for w in after.values()} <= {torch.float32, torch.bfloat16}
    for name, weight in after.items():
        apart = float((weight.float() - before[name]).norm() / before[name].norm())
        assert (0.03 < apart < 0.15) if "_proj" in name else apart < 0.01, name


def test_frozen_parts_are_as_they_were_in_every_bit(tmp_path: Path) -> None:
    output = run(SFT(**NEEDED, optimiser={"freeze": ["model.layers.0.*"]}, memory={"recompute": "layer"}), tmp_path)
    before, after = load_file(tmp_path / "start" / "model.safetensors"), load_file(output / "model.safetensors")
    for name, weight in after.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, before[name]) == name.startswith("model.layers.0."), name


def test_dropping_activations_leaves_the_artifact_the_same(tmp_path: Path) -> None:
    plain, dropped = (run(SFT(**NEEDED, memory={"recompute": what}), tmp_path) for what in ("none", "mlp"))
    assert (plain / "model.safetensors").read_bytes() == (dropped / "model.safetensors").read_bytes()


def test_rows_that_are_too_long_go_on_as_rows_if_they_may(tmp_path: Path) -> None:
    """Only where told to: by default they are cut, and what comes after is lost."""
    trained = {}
    for what in ("cut", "split"):
        output = run(SFT(**NEEDED, max_length=19, too_long=what, epochs=1), tmp_path)
        steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        trained[what] = sum(step["trained_tokens"] for step in steps)
    whole = run(SFT(**NEEDED, epochs=1), tmp_path)
    steps = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert trained["cut"] < trained["split"] == sum(step["trained_tokens"] for step in steps)
