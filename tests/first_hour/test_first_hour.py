"""What a new user does first, each in one command from an empty folder with the built wheel, at the first try."""

import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bactrian.data.io.files import read_rows
from tests.first_hour.conftest import User

pytestmark = pytest.mark.slow
SHORT = ("--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-3")


def test_the_wheel_has_all_that_is_read_at_run_time(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        *("bactrian/generate/decode.c", "bactrian/model/layers.c", "bactrian/model/numbers.h", "bactrian/py.typed"),
        *("bactrian/report/page.html.j2", "bactrian/evaluate/pins.json"),
        *("bactrian/recipes/quickstart.yaml", "bactrian/recipes/recipe.schema.json"),
    ):
        assert name in held
    assert not [name for name in held if name.startswith(("tests", "docs", "benchmarks"))]
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "tests/conftest.py",
        "docs/design.md",
        "recipes/nano.yaml",
        "LICENSE",
        "CHANGELOG.md",
    } <= packed


def test_from_an_empty_folder(newcomer: Callable[[], User]) -> None:
    user = newcomer()
    done = subprocess.run([str(user.command), "--version"], cwd=user.folder, capture_output=True, text=True, timeout=60)
    assert "0.1.0" in done.stdout  # the command itself; below, forks of a process of the same Python
    assert "quickstart" in user.types("recipes")
    assert re.search(r"(\d+) of \1 to make", " ".join(user.types("plan", "quickstart").split()))
    (user.folder / "mine.yaml").write_text(user.types("recipes", "nano"))
    assert "make" in user.types("plan", "mine.yaml")


def test_lora_on_sharegpt(user: User) -> None:
    user.types("sft", "--model", "model", "--data", "sharegpt.json", "--adapter.rank", "4", *SHORT, "--name", "chats")
    made = user.folder / "runs" / "chats" / "sft"
    assert (made / "adapter" / "adapter_config.json").is_file()
    manifest = json.loads((made / "manifest.json").read_text())
    assert "unclear" in json.dumps(manifest["licences"])


def test_sft_on_alpaca(user: User) -> None:
    user.types("sft", "--model", "model", "--data", "alpaca.jsonl", *SHORT, "--name", "alpaca")
    assert (user.folder / "runs" / "alpaca" / "sft" / "config.json").is_file()


def test_sft_on_a_csv_with_odd_columns(user: User) -> None:
    mapped = ("--columns", "prompt=frage,response=erwiderung")
    user.types("sft", "--model", "model", "--data", "odd.csv", *mapped, *SHORT, "--name", "odd")
    assert (user.folder / "runs" / "odd" / "sft" / "model.safetensors").is_file()
    (source,) = (user.folder / "runs" / "odd").glob("*/data.parquet")
    rows = read_rows(source.parent)
    assert [turn["content"] for turn in rows[0]["messages"]] == ["what is 12 + 34", "Answer : 46"] and len(rows) == 16


def test_dpo_on_pairs_with_prompts_as_text(user: User) -> None:
    user.types("dpo", "--model", "model", "--data", "pairs.jsonl", *SHORT, "--name", "pairs")
    made = user.folder / "runs" / "pairs" / "dpo"
    losses = [json.loads(line)["loss"] for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)


def test_grpo_with_a_reward_in_a_file(user: User) -> None:
    short = ("--steps", "2", "--problems-per-step", "2", "--samples", "4", "--max-new-tokens", "8", "--name", "own")
    user.types("rlvr", "--model", "model", "--data", "prompts.jsonl", "--reward", "reward.py:says_yes", *short)
    metrics = (user.folder / "runs" / "own" / "rlvr" / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == 2


def test_a_benchmark_from_a_csv_on_a_folder_of_others(user: User) -> None:
    said = user.types("eval", "model", "--data", "exam.csv", "--max-new-tokens", "8")
    assert "16" in said and "%" in said


def test_export_for_transformers_and_peft(user: User) -> None:
    from peft import PeftModel

    words = ("--model", "model", "--data", "sharegpt.json", "--adapter.rank", "4", *SHORT, "--name", "leaving")
    user.types("sft", *words)
    user.types("export", "sft", "adapter", "--run", "leaving")
    user.types("export", "sft", "whole", "--run", "leaving", "--merge", "--gguf", "q8_0")
    folder = user.folder
    tokenizer = AutoTokenizer.from_pretrained(folder / "whole")
    ids = torch.tensor([tokenizer("what is 12 + 34")["input_ids"]])
    whole = AutoModelForCausalLM.from_pretrained(folder / "whole", dtype=torch.float32)
    # in bfloat16, where that is fast: the base was rounded when it was read
    trained_in = next(iter(load_file(folder / "adapter" / "adapter_model.safetensors").values())).dtype
    base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=trained_in).float()
    adapted = PeftModel.from_pretrained(base, folder / "adapter")
    with torch.no_grad():
        assert torch.allclose(whole(ids).logits, adapted(ids).logits, atol=1e-4)
    assert list((folder / "whole").glob("*.gguf"))
    card = (folder / "whole" / "README.md").read_text()
    assert card.startswith("---\n") and "sharegpt" in card


def test_export_for_lm_eval(user: User) -> None:
    """Where it is installed (docs/export.md); tests/test_lm_eval.py has a whole task."""
    pytest.importorskip("lm_eval", reason="lm-eval is in no extra")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    user.types("sft", "--model", "model", "--data", "sharegpt.json", *SHORT, "--name", "measured")
    user.types("export", "sft", "measured", "--run", "measured")
    asked = Instance("loglikelihood", {}, ("what is 12 + 34", " Answer : 46"), 0)
    lm = HFLM(pretrained=str(user.folder / "measured"), device="cpu", dtype="float32")
    ((likelihood, _),) = lm.loglikelihood([asked])
    model = AutoModelForCausalLM.from_pretrained(user.folder / "measured", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(user.folder / "measured")
    before, whole = (tokenizer(text)["input_ids"] for text in ("what is 12 + 34", "what is 12 + 34 Answer : 46"))
    with torch.no_grad():
        said = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    ours = sum(float(said[place - 1, whole[place]]) for place in range(len(before), len(whole)))
    assert likelihood == pytest.approx(ours, abs=1e-3)


def test_without_a_compiler(user: User, tmp_path: Path) -> None:
    """Everything works, more slowly, and says so. No compiler, and nothing that was compiled before."""
    without = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = user.types("eval", "model", "--data", "exam.csv", "--max-new-tokens", "4", "--store", "other", **without)
    assert "no C compiler (cc, gcc, clang) on this machine" in said
