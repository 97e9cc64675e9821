"""An exported folder in lm-evaluation-harness, where that is installed: its `hf` model gives our log-likelihoods."""

import json
from pathlib import Path
from typing import Any

import pytest

import bactrian as bt
from bactrian.cli import main as cli
from tests.model.gguf_models import byte_tokenizer, write_model

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is in no extra; docs/export.md says how it was run")

QUESTIONS = [
    {
        "question": f"Which one is a {thing}?",
        "choices": {"text": ["the cat", "a mat of two", str(number)], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[number % 3],
        "id": f"q{number}",
    }
    for number, thing in enumerate(["pet", "floor", "number", "thing", "toy", "word"])
]


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_an_export_has_our_log_likelihoods(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("sets").mkdir()
    Path("sets/arc-easy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    # with a peft adapter lm-eval cuts the vocabulary to the tokenizer's: rows that pad it are gone from the softmax
    base = write_model(tmp_path / "base", context=512, vocab_size=len(byte_tokenizer()))
    rows = [{"prompt": f"what is {n} + 1", "response": f"{n + 1}"} for n in range(8)]
    how: dict[str, Any] = {"hardware": {"dtype": "float32", "threads": 1, "device": "cpu"}}
    tuned = bt.sft(
        model=str(base), data=rows, epochs=1, batch_size=4, learning_rate=0.01, adapter={"rank": 2}, name="tuned", **how
    )
    folder = tuned.export(tmp_path / "out", merge=form == "merged")
    model = {"pretrained": str(folder)} if form == "merged" else {"pretrained": str(base), "peft": str(folder)}

    ours = bt.evaluate(
        models={"tuned": tuned}, tasks=["arc_easy"], folders=["sets"], format="plain", name="ours", **how
    )
    asked = {row["question"]: json.loads(row["values"]) for row in answers(ours)}
    assert cli.invoke(["eval", str(base), "--tasks", "arc_easy", "--data", "sets", "--harness", "tasks"]) == 0
    found = lm_eval.simple_evaluate(
        "hf",
        model_args={**model, "dtype": "float32", "device": "cpu"},
        tasks=["bactrian_arc_easy"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    samples = found["samples"]["bactrian_arc_easy"]
    assert len(samples) == len(asked) == len(QUESTIONS)
    for sample in samples:
        theirs = [float(pair[0]) for pair in sample["filtered_resps"]]
        mine = [asked[sample["doc"]["id"]][f"ll_{option}"] for option in range(3)]
        assert theirs == pytest.approx(mine, abs=2e-4) and min(mine) < -1
    assert found["results"]["bactrian_arc_easy"]["acc,none"] == pytest.approx(ours.score("tuned"))


def answers(results: Any) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(results.path / "questions.parquet").to_pylist())
