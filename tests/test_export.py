"""A tiny model is trained, evaluated, exported: what others' loaders make of the folder, and what the card says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer

import bactrian as bt
from bactrian.cli import main as cli
from bactrian.data.synth.procedural import sums
from bactrian.errors import BactrianError
from bactrian.store.hashes import hash_file
from tests.model.gguf_models import byte_tokenizer, write_model

HOSTILE = "a|b <script>alert(1)</script> `x` [y](http://evil.example) *z*\n---\nlicense: mit"
IDS = torch.tensor([[5, 9, 14, 20, 33, 7]])
HARDWARE = {"dtype": "float32", "threads": 1, "device": "cpu"}


def rows(source: str) -> list[dict[str, Any]]:
    turns = [{"role": "user", "content": "the cat is"}, {"role": "assistant", "content": "yes one two"}]
    return [{"id": f"r{i}", "messages": turns, "source": source, "license": "CC-BY-NC-4.0"} for i in range(8)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Models in a store: `full` and `low` (adapters), trained on a base in bfloat16, and an evaluation of both."""
    root = tmp_path_factory.mktemp("export")
    base = write_model(root / "base", "llama", "smollm", context=1024)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    common = {"store": root / "runs", "hardware": HARDWARE, "model": str(base), "data": rows(HOSTILE)}
    full = bt.sft(**common, name="mine", batch_size=4, learning_rate=1e-3)
    low = bt.sft(**common, batch_size=4, learning_rate=1e-2, adapter={"rank": 2})
    problems = list(sums(0, 6, split="dev"))
    options = {"hardware": HARDWARE, "max_new_tokens": 3, "store": root / "runs"}
    bt.evaluate(models={"full": full, "low": low}, data=problems, **options)
    return {"root": root, "base": base, "full": full, "low": low}


def logits(folder: Path, kind: Any = AutoModelForCausalLM) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = kind.from_pretrained(folder, dtype=torch.float32)(IDS).logits
    return found


def header_of(folder: Path) -> dict[str, Any]:
    _, header, _ = (folder / "README.md").read_text().split("---\n", 2)
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(header)
    return found


def test_as_it_is_it_is_the_artifact_and_no_more(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["full"].export(tmp_path / "out")
    assert torch.equal(logits(folder), logits(made["full"].path))
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "export.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert hash_file(folder / "model.safetensors") == hash_file(made["full"].path / "model.safetensors")
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [byte_tokenizer().convert_tokens_to_ids("<|im_end|>"), 1]
    said = json.loads((folder / "export.json").read_text())
    assert said["content_hash"] == made["full"].manifest.content_hash
    assert all(hash_file(folder / name).sha256 == each["sha256"] for name, each in said["files"].items())
    assert AutoTokenizer.from_pretrained(folder).chat_template == (folder / "chat_template.jinja").read_text()


@pytest.mark.parametrize(("dtype", "name"), [("bf16", "bfloat16"), ("f16", "float16"), ("f32", "float32")])
def test_in_another_dtype(made: dict[str, Any], tmp_path: Path, dtype: str, name: str) -> None:
    folder = made["full"].export(tmp_path / "out", dtype=dtype)
    network = AutoModelForCausalLM.from_pretrained(folder)  # by what its config says
    assert network.dtype == getattr(torch, name)
    expected = logits(made["full"].path)
    if dtype == "f32":  # as it was trained, and not as it was rounded
        from bactrian.model.language_model import LanguageModel

        network = LanguageModel.load(made["full"].path, exact=True).network
        weights = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
        assert all(torch.equal(weight, weights[name]) for name, weight in network.named_parameters())
        assert not torch.equal(logits(folder), expected)
    else:
        torch.testing.assert_close(logits(folder), expected, atol=0.01, rtol=0.01)


def test_adapters_are_a_peft_adapter_or_merged(made: dict[str, Any], tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    alone = made["low"].export(tmp_path / "alone")
    whole = made["low"].export(tmp_path / "whole", merge=True)
    assert not (alone / "config.json").exists() and (alone / "adapter_model.safetensors").is_file()
    assert not list(whole.glob("adapter*"))
    expected = logits(made["low"].path)
    assert torch.equal(logits(whole), expected)
    torch.testing.assert_close(logits(alone, AutoPeftModelForCausalLM), expected, atol=0.05, rtol=0.05)
    assert not torch.allclose(expected, logits(made["base"]), atol=0.1, rtol=0.1)
    assert header_of(alone)["library_name"] == "peft"
    # somebody else's adapter, as peft writes them, merged into its base
    again = bt.load(alone).export(tmp_path / "again", merge=True)
    torch.testing.assert_close(logits(again), expected, atol=0.05, rtol=0.05)


def test_gguf_beside_it(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["low"].export(tmp_path / "mine", merge=True, gguf=["q8_0"])
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file="mine-Q8_0.gguf", dtype=torch.float32)
    with torch.no_grad():
        found = read(IDS).logits
    assert float((found - logits(folder)).norm() / logits(folder).norm()) < 0.05
    assert "mine\\-Q8" not in (folder / "README.md").read_text() and "Q8\\_0.gguf" in (folder / "README.md").read_text()


def test_the_card_says_what_the_manifest_says(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["full"].export(tmp_path / "out")
    header, text = header_of(folder), (folder / "README.md").read_text()
    assert header["license"] == "other" and header["tags"] == ["bactrian", "sft"]
    manifest = made["full"].manifest
    for said in (manifest.content_hash, manifest.key, "CC-BY-NC-4.0", "NC", "apache-2.0", "learning\\_rate"):
        assert said in text, said
    assert "not decontaminated" in text and "no unseen suite was asked" in text and "stage: sft" in text
    scores = [line for line in text.splitlines() if line.startswith("| ") and "greedy" in line]
    assert len(scores) == 1 and " % to " in scores[0] and "evaluate-" in scores[0]
    assert "Paired tests" not in text  # nothing came before it
    later = made["low"].export(tmp_path / "low")
    assert "| full |" in (later / "README.md").read_text().partition("Paired tests")[2]
    assert str(made["root"]) not in text.partition("The recipe:")[0]  # nobody's folders


def test_the_card_escapes_what_others_wrote(made: dict[str, Any], tmp_path: Path) -> None:
    text = (made["full"].export(tmp_path / "out") / "README.md").read_text()
    body = text.split("---\n", 2)[2]
    assert "a\\|b \\<script\\>alert\\(1\\)\\</script\\> \\`x\\` \\[y\\]" in body
    prose = body.partition("The recipe:")[0]
    assert "<script>" not in prose and "](http" not in prose and "http\\://evil" in prose
    assert "\n---\nlicense: mit" not in prose


def test_an_export_replaces_an_earlier_one_and_nothing_else(made: dict[str, Any], tmp_path: Path) -> None:
    model = made["full"]
    folder = model.export(tmp_path / "out", card=False)
    assert not (folder / "README.md").exists()
    assert (model.export(folder) / "README.md").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BactrianError, match="there is something that is no earlier export"):
        model.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(BactrianError, match="lies in the model that is exported"):
        model.export(model.path / "out")
    with pytest.raises(BactrianError, match="would be an adapter: add --merge"):
        made["low"].export(tmp_path / "x", gguf=["q8_0"])
    with pytest.raises(BactrianError, match="dtype: found 'fp8', expected one of as-is, bf16"):
        model.export(tmp_path / "x", dtype="fp8")
    with pytest.raises(BactrianError, match="found the type 'q3_k_l', expected one of f32"):
        model.export(tmp_path / "x", gguf=["q3_k_l"])
    assert not list(tmp_path.glob("*x*"))


def test_a_changed_artifact_is_not_exported(made: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "runs" / "artifacts" / made["full"].path.name
    shutil.copytree(made["full"].path, copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    with pytest.raises(BactrianError, match=r"changed file config\.json"):
        bt.load(copy).export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exported_twice_it_is_the_same_in_every_bit(made: dict[str, Any], tmp_path: Path) -> None:
    hashes = []
    for place in ("a", "b"):
        folder = made["low"].export(tmp_path / place / "out", merge=True, dtype="bf16", gguf=["q4_k_m"])
        hashes.append({path.name: hash_file(path) for path in folder.iterdir()})
    assert hashes[0] == hashes[1]


def test_somebody_else_s_model(made: dict[str, Any], tmp_path: Path) -> None:
    folder = bt.load(made["base"]).export(tmp_path / "out", dtype="f32")
    text = (folder / "README.md").read_text()
    assert "which did not make it" in text and "apache-2.0" in text and header_of(folder)["license"] == "apache-2.0"
    assert torch.equal(logits(folder), logits(made["base"]))


def test_from_the_command_line(made: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(made["root"] / "runs")]
    out = tmp_path / "out"
    assert cli.invoke(["export", "sft", str(out), "--run", "mine", "--dtype", "f16", *store]) == 0
    assert "out: a whole model" in capsys.readouterr().out and (out / "README.md").is_file()
    assert cli.invoke(["export", str(made["root"] / "runs" / "given"), str(tmp_path / "x"), *store]) == 2
    assert "found data in" in capsys.readouterr().err
