"""Peak memory of a training step, setting by setting: activations, optimiser states, adapters, weights in 4 bits.

    python benchmarks/memory.py [--model embedded:smollm2-135m] [--rows 8] [--length 256]

Two steps of SFT on `--rows` rows of `--length` tokens in one micro-batch, bfloat16, each setting in a process of its
own with the malloc settings of the command line; peak resident memory of the process, and processor time of the second
step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from duel import MALLOC, machine, peak_gigabytes
from versus import draw_ids, model_folder

SETTINGS: dict[str, dict[str, Any]] = {
    "all kept": {},
    "recompute: mlp": {"memory": {"recompute": "mlp"}},
    "recompute: layer, every 2nd": {"memory": {"recompute": "layer", "recompute_every": 2}},
    "recompute: layer": {"memory": {"recompute": "layer"}},
    "optimiser: 8bit": {"optimiser": {"states": "8bit"}},
    "adapter: rank 16": {"adapter": {"rank": 16}},
    "adapter: rank 16, nf4": {"adapter": {"rank": 16, "weights": "nf4"}},
    "adapter: rank 16, nf4, layer": {"adapter": {"rank": 16, "weights": "nf4"}, "memory": {"recompute": "layer"}},
}


def measure(settings: dict[str, Any], folder: Path, rows: int, length: int) -> dict[str, float]:
    """Two steps as the stage `sft` would take them."""
    from bactrian.chat import Rendered
    from bactrian.stages.tune.sft import SFT
    from bactrian.stages.tune.training import load_model, loop_settings
    from bactrian.store.artifact import Input, Workspace
    from bactrian.store.hardware import Hardware
    from bactrian.store.manifest import Kind
    from bactrian.train.supervised import Supervised

    inputs = {"start": Input("start", folder, Kind.MODEL, "")}
    workspace = Workspace.temporary(Path(mkdtemp()), inputs, 0, Hardware(dtype="bfloat16"))
    stage = SFT.model_validate({"model": "start", "data": "none", **settings})
    model = load_model(workspace, stage, "start")
    random = np.random.default_rng(0)
    data = [Rendered(draw_ids(random, length), [1.0] * length) for _ in range(2 * rows)]
    task = Supervised(model, data, batch_rows=rows, epochs=1, seed=0, micro_tokens=rows * length)
    ends: list[float] = []

    class Clock:
        steps, updates_per_step = task.steps, 1

        def updates(self, step: int) -> Any:
            yield from task.updates(step)
            ends.append(time.process_time())

    from bactrian.train.loop import train

    train("memory", model, Clock(), replace(loop_settings(stage, {}), checkpoint_seconds=1e9), workspace)
    return {"peak_gib": peak_gigabytes(), "seconds": ends[1] - ends[0]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--rows", type=int, default=8)
    options.add_argument("--length", type=int, default=256)
    options.add_argument("--one", help=argparse.SUPPRESS)
    asked = options.parse_args()
    folder = model_folder(asked.model)
    if asked.one is not None:
        print(json.dumps(measure(SETTINGS[asked.one], folder, asked.rows, asked.length)))
        return
    print(f"{machine()}; {asked.model}, {asked.rows} rows of {asked.length} tokens")
    print(f"{'setting':>30} {'peak GiB':>9} {'processor s':>12}")
    result: dict[str, Any] = {"benchmark": "memory"}
    for name in SETTINGS:
        command = [
            sys.executable,
            __file__,
            "--model",
            str(folder),
            "--rows",
            str(asked.rows),
            "--length",
            str(asked.length),
            "--one",
            name,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | MALLOC)
        found = result[name] = json.loads(ran.stdout.splitlines()[-1])
        print(f"{name:>30} {found['peak_gib']:>9.2f} {found['seconds']:>12.1f}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
