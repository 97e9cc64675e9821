"""One side of sft.py and dpo.py: TRL 1.16. `training_trl.py TASK FOLDER WORKLOAD DTYPE [--packed] [--check FILE]`.

Runs in an environment that has trl; imports nothing of bactrian. Neutralised: gradient checkpointing (TRL's default)
off, no reports, no saving, no logging of its own but what its loss computes anyway (entropy, accuracy), rows in the
order given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from paced import SharedPace
from safetensors.torch import save_file
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

PACE = SharedPace()
REAL = [0]  # tokens of the running step that are not padding


class CountingTrl:
    """A trainer that takes rows in order and counts the real tokens of each step."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[attr-defined]

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        mask = inputs.get("attention_mask")
        REAL[0] += int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
        return super().training_step(model, inputs, *rest, **more)  # type: ignore[misc]


class TrlSFT(CountingTrl, SFTTrainer):  # type: ignore[misc]
    pass


class TrlDPO(CountingTrl, DPOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # tokens already


class Reins(TrainerCallback):  # type: ignore[misc]
    def on_train_begin(self, *_: Any, **__: Any) -> None:
        PACE.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        tokens, REAL[0] = REAL[0], 0
        PACE.done(tokens=tokens)


def make(name: str, folder: str, work: dict[str, Any], dtype: str, packed: bool) -> Any:
    common = {
        "output_dir": str(Path(folder).parent / "unused"),
        "per_device_train_batch_size": work["packed_batch"] if packed else work["batch"],
        "gradient_checkpointing": False,
        "bf16": dtype == "bfloat16",
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "learning_rate": 1e-6,
        "max_length": work["max_length"],
        "num_train_epochs": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if name == "sft":
        rows = [
            {"input_ids": r["ids"], "labels": [t if w else -100 for t, w in zip(r["ids"], r["trained"], strict=True)]}
            for r in work["rows"]
        ]
        settings = SFTConfig(**common, packing=packed)
        return TrlSFT(model, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    rows = [{f"{key}_ids": row[key] for key in ("prompt", "chosen", "rejected")} for row in work["rows"]]
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = DPOConfig(**common, beta=work["beta"])
    return TrlDPO(model, reference, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def check(trainer: Any, file: Path) -> None:
    """Loss and gradient of the first batch, float32, to a file."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradient = {n: w.grad.contiguous() for n, w in trainer.model.named_parameters() if w.grad is not None}
    save_file({**gradient, "loss": loss.detach().float()}, file)


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("task", "folder", "workload", "dtype"):
        options.add_argument(name)
    options.add_argument("--packed", action="store_true")
    options.add_argument("--check", type=Path)
    asked = options.parse_args()
    work = json.loads(Path(asked.workload).read_text())
    trainer = make(asked.task, asked.folder, work, asked.dtype, asked.packed)
    if asked.check:
        PACE.wait()
        check(trainer, asked.check)
        PACE.answer(ready=True)
        return
    trainer.add_callback(Reins())
    trainer.train()


if __name__ == "__main__":
    main()
