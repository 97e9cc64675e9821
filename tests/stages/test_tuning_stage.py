"""Adapters, frozen parts and dropped activations, from a stage's settings to its artifact."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bactrian.data.io.files import write_rows
from bactrian.model.language_model import LanguageModel
from bactrian.model.weight_files import rounded
from bactrian.stages.tune.dpo import DPO
from bactrian.stages.tune.sft import SFT
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from bactrian.train.options import AdapterSettings
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {"model": "start", "data": "rows", "batch_size": 4, "learning_rate": 1e-3}


def run(stage: SFT | DPO, folder: Path) -> Path:
    return work(stage, folder).output


def work(stage: SFT | DPO, folder: Path) -> Workspace:
    """The workspace of a stage that has run on `folder/start`."""
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
    return workspace


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


def in_bfloat16(folder: Path) -> Path:
    """A model folder whose files hold bfloat16, as most published ones do."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_an_artifact_is_in_the_dtype_of_what_it_was_trained_from(tmp_path: Path) -> None:
    """The masters stay in float32 while it is trained; what is written is them, rounded once."""
    in_bfloat16(write_tiny(tmp_path / "start"))
    made = {what: work(SFT(**NEEDED, checkpoints={"save_dtype": what}), tmp_path) for what in ("base", "float32")}
    narrow, exact = (load_file(each.output / "model.safetensors") for each in made.values())
    assert {w.dtype for w in narrow.values()} == {torch.bfloat16} and {w.dtype for w in exact.values()} == {
        torch.float32
    }
    assert all(torch.equal(weight, rounded(name, exact[name], "bfloat16")) for name, weight in narrow.items())
    for what, dtype in (("base", "bfloat16"), ("float32", "float32")):
        assert json.loads((made[what].output / "config.json").read_text())["dtype"] == dtype
    start = load_file(tmp_path / "start" / "model.safetensors")
    change = {n: exact[n].double() - start[n].double() for n in exact}
    kept = sum(float(((narrow[n].double() - start[n].double()) * each).sum()) for n, each in change.items())
    changed = sum(float(each.square().sum()) for each in change.values())
    assert made["base"].metrics["rounded_away"] == pytest.approx(1 - kept / changed, abs=1e-6)
    assert abs(made["base"].metrics["rounded_away"]) < 0.1 and "rounded_away" not in made["float32"].metrics


def test_small_steps_that_bfloat16_cannot_hold_are_not_lost(tmp_path: Path) -> None:
    """Steps as small as those of RL would be lost, all of them, in weights rounded to the nearest."""
    in_bfloat16(write_tiny(tmp_path / "start"))
    small = {**NEEDED, "learning_rate": 1e-6}
    workspace = work(SFT(**small), tmp_path)
    assert abs(workspace.metrics["rounded_away"]) < 0.3
    whole = load_file(work(SFT(**small, checkpoints={"save_dtype": "float32"}), tmp_path).output / "model.safetensors")
    for dtype in ("float32", "bfloat16"):
        again = LanguageModel.load(workspace.output, dtype, masters=True, exact=True)
        weights = {name: again.masters.get(name, w) for name, w in again.network.named_parameters()}
        assert all(torch.equal(weight, whole[name]) for name, weight in weights.items())
    start = load_file(tmp_path / "start" / "model.safetensors")
    written = load_file(workspace.output / "model.safetensors")
    moved = {name for name, weight in whole.items() if not torch.equal(weight, start[name].float())}
    nearest = sum(int((whole[name].bfloat16() != start[name]).sum()) for name in moved)
    chance = sum(int((written[name] != start[name]).sum()) for name in moved)
    assert chance > 2 * nearest  # to the nearest, few weights would be other than they were


def test_without_float32_there_is_one_file_and_a_loss_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bactrian.stages.tune.training.ROUNDED_AWAY", -1.0)  # rounding by chance loses next to nothing
    in_bfloat16(write_tiny(tmp_path / "start"))
    given = {**NEEDED, "learning_rate": 1e-6, "checkpoints": {"keep_float32": False}}
    output = work(SFT(**given), tmp_path).output
    assert not (output / "residue").exists()
    assert "and a next stage starts so" in capfd.readouterr().err


def test_peft_finds_the_base_of_an_adapter_by_itself(tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    output = run(SFT(**NEEDED, adapter=AdapterSettings(rank=2)), tmp_path)
    ids = torch.tensor([[3, 9, 14, 5, 20, 7]])
    with torch.no_grad():
        adapted = AutoPeftModelForCausalLM.from_pretrained(str(output / "adapter"), dtype=torch.float32)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)(ids).logits
    torch.testing.assert_close(adapted, merged, atol=0.05, rtol=0.05)  # the base was trained on in bfloat16


def test_a_base_of_the_hub_is_named_by_its_id_and_commit(tmp_path: Path) -> None:
    from bactrian.stages.tune.training import base_of

    commit = tmp_path / "models--owner--name" / "snapshots" / "abc123"
    assert base_of(Input("owner/name@main", commit, Kind.MODEL, "")) == ("owner/name", "abc123")
    commit.mkdir(parents=True)
    assert base_of(Input("sft", commit, Kind.MODEL, "")) == (str(commit.resolve()), None)


def test_where_the_base_lies_is_no_part_of_the_content(tmp_path: Path) -> None:
    from bactrian.store.hashes import hash_path

    hashes = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        output = run(SFT(**NEEDED, adapter=AdapterSettings(rank=2)), tmp_path / place)
        config = json.loads((output / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tmp_path / place / "start")
        hashes.append(hash_path(output))
    assert hashes[0] == hashes[1]
