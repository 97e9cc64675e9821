"""A byte-level model with random weights and a long context: the whole path of an evaluation in a blink."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bactrian.evaluate.task import Loaded, Question, Task, TaskSource
from bactrian.evaluate.task_rows import identified
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind


def byte_tokenizer() -> PreTrainedTokenizerFast:
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def write_small(folder: Path, seed: int = 0, context: int = 4096) -> Path:
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loaded(task: Task, questions: Sequence[Question]) -> Loaded:
    return Loaded(task, tuple(identified(questions)), {}, "nowhere", len(questions))


def task(name: str = "t", **changes: object) -> Task:
    plain = Task(name, ("more",), "maths", TaskSource(("t",)), lambda row: [], verifier="gsm8k", max_new_tokens=8)
    return replace(plain, **changes)  # type: ignore[arg-type]


SETS: dict[str, list[dict[str, Any]]] = {
    "gsm8k_test.jsonl": [
        {"question": " ".join(f"word{i}{j}" for j in range(12)) + "?", "answer": f"#### {2 * i}"} for i in range(6)
    ],
    "arc-easy.jsonl": [
        {
            "id": f"q{i}",
            "question": f"{i} + {i}?",
            "answerKey": "AB"[i % 2],
            "choices": {"label": ["A", "B"], "text": [f"not {2 * i}", str(2 * i)]},
        }
        for i in range(5)
    ],
    "mmlu_test.jsonl": [
        {"subject": f"s{i % 3}", "question": f"{i}?", "choices": list("wxyz"), "answer": i % 4} for i in range(9)
    ],
    "mmlu_dev.jsonl": [
        {"subject": f"s{i % 3}", "question": f"dev {i}?", "choices": list("wxyz"), "answer": "A"} for i in range(15)
    ],
    "gpqa.jsonl": [
        {
            "Question": "Why?",
            "Correct Answer": "so",
            "Incorrect Answer 1": "a",
            "Incorrect Answer 2": "b",
            "Incorrect Answer 3": "c",
            "High-level domain": "Physics",
        }
    ],
}


def write_sets(folder: Path) -> Path:
    """Small evaluation sets, in the layouts and under the names of the real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in SETS.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(folder: Path, models: dict[str, Path], data: Path, train: list[Path] | None = None, **settings: Any) -> Any:
    inputs = {str(path): Input(name, path, Kind.MODEL, f"hash of {name}") for name, path in models.items()}
    inputs |= {str(path): Input(path.name, path, Kind.DATA, "") for path in train or []}
    workspace = Workspace.temporary(folder, inputs)
    settings = {"max_new_tokens": 4, "tasks": ["gsm8k", "arc_easy", "mmlu"], "format": "plain"} | settings
    given = {"models": {name: str(path) for name, path in models.items()}, "folders": [str(data)]}
    Evaluate(**given, train=[str(path) for path in train or []], **settings).run(workspace)
    shutil.rmtree(workspace.scratch)  # as when a step has ended
    return json.loads((workspace.output / "results.json").read_text())
