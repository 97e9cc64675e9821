"""recipes/nano.yaml, shortened: the whole chain for real, from a corpus to a report, on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SHORTER = {
    "corpus.count": 3000,
    "demonstrations.tasks": "[{source: word_problems, count: 5000, operations: [1, 1], largest: 9}]",
    "practice.tasks": "[{source: word_problems, count: 400, operations: [1, 1], largest: 9}]",
    "unseen.tasks": "[{source: word_problems, count: 200, operations: [1, 1], largest: 9, split: unseen}]",
    "pairs.limit": 100,
    "rlvr.steps": 2,
    "rlvr.problems_per_step": 12,
    "scores.samples": 1,
}


def bactrian(*arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bactrian", *arguments, "--store", str(store)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def overrides() -> list[str]:
    return [part for key, value in SHORTER.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    bactrian("run", "recipes/nano.yaml", *overrides(), store=folder)
    return folder


def artifact(store: Path, name: str) -> Path:
    """The folder of a step's artifact; run.json names it from the store's folder."""
    run = json.loads((store / "nano" / "run.json").read_text())
    return next(store / step["path"] for step in run["steps"] if step["name"] == name)


@pytest.mark.slow
def test_sft_teaches_and_the_comparison_is_paired(store: Path) -> None:
    results: dict[str, Any] = json.loads((artifact(store, "scores") / "results.json").read_text())
    scores = {(s["model"], s["mode"]): s for s in results["scores"]}
    assert list(results["models"]) == ["base", "sft", "dpo", "rlvr"]
    assert all(s["interval"][0] <= s["score"] <= s["interval"][1] for s in scores.values())
    assert all(sum(s["counts"].values()) == s["questions"] * s["samples"] for s in scores.values())
    compared = {(c["before"], c["after"], c["mode"]): c for c in results["comparisons"]}
    learnt = compared["base", "sft", "greedy"]
    assert learnt["difference"] > 0
    assert learnt["p"] < 0.01
    assert all(task["overlap"] == 0 for task in results["tasks"].values())


@pytest.mark.slow
def test_training_left_its_curves(store: Path) -> None:
    curves = {}
    for name in ("base", "sft", "dpo", "rlvr"):
        lines = (artifact(store, name) / "metrics.jsonl").read_text().splitlines()
        curves[name] = [json.loads(line) for line in lines]
    assert curves["base"][-1]["loss"] < 0.6 * curves["base"][0]["loss"]
    assert curves["sft"][-1]["loss"] < 0.6 * curves["sft"][0]["loss"]
    assert [line["step"] for line in curves["rlvr"]] == [1, 2]
    for line in curves["rlvr"]:
        assert 0 <= line["reward"] <= 1
        assert line["logprob_gap_max"] <= 1e-4
        assert line["ratio"] == pytest.approx(1, abs=0)


@pytest.mark.slow
def test_manifests_carry_licences_and_hashes(store: Path) -> None:
    manifest = json.loads((artifact(store, "rlvr") / "manifest.json").read_text())
    assert {licence["licence"] for licence in manifest["licences"]} == {"Apache-2.0"}
    assert "model.safetensors" in manifest["files"]
    assert manifest["inputs"]["dpo"]["key"]


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_the_report_is_there(store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (store / "artifacts").rglob("*") if path.is_file()}
    done = bactrian("run", "recipes/nano.yaml", *overrides(), store=store)
    after = {path: path.stat().st_mtime_ns for path in (store / "artifacts").rglob("*") if path.is_file()}
    assert before == after
    assert "nothing" in done.stderr + done.stdout
    page = (store / "nano" / "report.html").read_text()
    assert "rlvr" in page
    assert "src=" not in page


@pytest.mark.slow
def test_the_result_is_an_ordinary_model(store: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = artifact(store, "rlvr")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": "Tom has 3 apples. He buys 4 more. How many apples does he have?"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=60, do_sample=False)
    assert "####" in tokenizer.decode(out[0][ids["input_ids"].shape[1] :])
    assert not torch.isnan(model.get_input_embeddings().weight).any()
