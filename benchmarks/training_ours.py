"""One side of sft.py and dpo.py: ours. `training_ours.py TASK FOLDER WORKLOAD DTYPE [--check FILE]`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from paced import SharedPace
from safetensors.torch import save_file

from bactrian.chat import Rendered
from bactrian.model.language_model import LanguageModel
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import TrainingTask, train
from bactrian.train.losses import Objective
from bactrian.train.preference import Preference, PreferencePair, reference_logprobs
from bactrian.train.supervised import Supervised

MICRO_TOKENS = 4096


def make_task(name: str, model: LanguageModel, work: dict[str, Any]) -> TrainingTask:
    if name == "sft":
        rows = [Rendered(row["ids"], [float(w) for w in row["trained"]]) for row in work["rows"]]
        return Supervised(model, rows, batch_rows=work["batch"], epochs=1, seed=0, micro_tokens=MICRO_TOKENS)
    pairs = [PreferencePair(tuple(r["prompt"]), tuple(r["chosen"]), tuple(r["rejected"])) for r in work["rows"]]
    reference = reference_logprobs(model, pairs, MICRO_TOKENS)
    objective = Objective("dpo", work["beta"])
    return Preference(
        model, pairs, reference, objective, batch_pairs=work["batch"], epochs=1, seed=0, micro_tokens=MICRO_TOKENS
    )


class PacedLog:
    """Metrics go to the driver, one step at a time."""

    def __init__(self, pace: SharedPace, scratch: Path, extra: float) -> None:
        self.pace, self.scratch, self.extra, self.tokens = pace, scratch, extra, 0.0

    def log(self, step: int, **values: float) -> None:
        tokens, self.tokens = values["tokens"] - self.tokens, values["tokens"]
        self.pace.done(loss=values["loss"], tokens=tokens, reference_seconds=self.extra)

    def rewind(self, step: int) -> None:
        pass


def check(task: TrainingTask, model: LanguageModel, file: Path) -> None:
    """Loss and gradient of the first update, float32, to a file."""
    loss = 0.0
    for share in next(iter(task.updates(0))).micro_batches:
        part, _ = share()
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    gradient = {n: w.grad.float().contiguous() for n, w in model.network.named_parameters() if w.grad is not None}
    save_file({**gradient, "loss": torch.tensor(loss)}, file)


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("task", "folder", "workload", "dtype"):
        options.add_argument(name)
    options.add_argument("--check", type=Path)
    asked = options.parse_args()
    pace = SharedPace()
    work = json.loads(Path(asked.workload).read_text())
    model = LanguageModel.load(Path(asked.folder), asked.dtype)
    began = time.perf_counter()
    task = make_task(asked.task, model, work)
    # the reference is part of the work: its time is shared out over the steps
    reference = (time.perf_counter() - began) / task.steps
    pace.wait()
    if asked.check:
        check(task, model, asked.check)
        pace.answer(ready=True)
        return
    log = PacedLog(pace, Path(asked.workload).parent / "ours", reference)
    train(asked.task, model, task, LoopSettings(learning_rate=1e-6, checkpoint_seconds=1e9), log)


if __name__ == "__main__":
    main()
