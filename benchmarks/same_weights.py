"""Whether two source trees train alike: the same few steps of every training stage in both, final weights bit for bit.

    python benchmarks/same_weights.py --before ../before --after .

A tiny model with random weights, made once, is what every stage starts from. Settings are written as the newer tree
spells them; where a stage of a tree has no such group, the group's settings are given as settings of the stage itself.
Prints a table; the exit status is 1 where a bit differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Settings = dict[str, Any]

SMALL: Settings = {"template": "raw", "batch_size": 4, "epochs": 2, "memory": {"micro_tokens": 64}}
RL: Settings = {
    "template": "raw",
    "steps": 3,
    "problems_per_step": 3,
    "max_new_tokens": 6,
    "learning_rate": 3e-3,
    "memory": {"micro_tokens": 64},
}
KEEPS: Settings = {"gap_limit": 9}  # the tiny model's log-probs in bfloat16 are far apart
OPEN: Settings = {"no_end_reward": None}
WATCHED: Settings = {"watch": {"held_out": "apart", "look_every": 2, "keep": "best"}}
STEPS: dict[str, Settings] = {
    "sft": {"stage": "sft", "model": "start", "data": "chats", "learning_rate": 1e-3, **SMALL},
    "sft, adapter": {
        **{"stage": "sft", "model": "start", "data": "chats", "learning_rate": 1e-2, "adapter": {"rank": 2}},
        **SMALL,
        "optimiser": {"weight_decay": 0.1, "betas": [0.9, 0.95], "max_grad_norm": 0.5},
    },
    "sft, frozen and split": {
        **{"stage": "sft", "model": "start", "data": "chats", "learning_rate": 1e-3},
        **{"max_length": 12, "too_long": "split"},
        **SMALL,
        "optimiser": {"freeze": ["model.layers.0.*"]},
        "memory": {"micro_tokens": 64, "recompute": "layer", "recompute_every": 2},
    },
    "pretrain": {
        **{"stage": "pretrain", "data": "texts", "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48},
        **{"context": 32, "epochs": 2, "batch_size": 4, "memory": {"micro_tokens": 64}},
    },
    "dpo_norm": {"stage": "dpo", "model": "start", "data": "pairs", "learning_rate": 1e-3, **SMALL},
    "dpo": {
        **{"stage": "dpo", "model": "start", "data": "pairs", "learning_rate": 1e-3, "loss": "dpo", "beta": 0.1},
        **{"label_smoothing": 0.1, "sft_weight": 0.3},
        **SMALL,
    },
    "simpo": {
        **{"stage": "dpo", "model": "start", "data": "pairs", "learning_rate": 1e-3, "loss": "simpo", "gamma": 0.5},
        **SMALL,
    },
    "ipo": {"stage": "dpo", "model": "start", "data": "pairs", "learning_rate": 1e-3, "loss": "ipo", **SMALL},
    "kto": {"stage": "kto", "model": "start", "data": "labelled", "learning_rate": 1e-3, **SMALL},
    "reward": {
        **{"stage": "reward", "model": "start", "data": "pairs", "learning_rate": 1e-3},
        **{"margin": "scores", "centring": 0.01},
        **SMALL,
    },
    "process_reward": {
        **{"stage": "process_reward", "model": "start", "data": "traces", "learning_rate": 1e-3, "format": "tags"},
        **SMALL,
    },
    "rlvr": {"stage": "rlvr", "model": "start", "data": "rows", "samples": 4, **RL, "sampling": KEEPS, "reward": OPEN},
    "rlvr, cispo": {
        **{"stage": "rlvr", "model": "start", "data": "rows", "samples": 4, **RL, "reward": OPEN},
        **{"objective": "cispo", "advantage": "rloo", "aggregate": "response", "kl": 0.05},
        "sampling": {**KEEPS, "importance_cap": 2.0, "refills": 1},
        "update": {"updates_per_step": 2, "kl_estimator": "k2", "clip_high": 0.3},
    },
    "rlvr, old answers, watched": {
        **{"stage": "rlvr", "model": "start", "data": "rows", "samples": 4, **RL, **WATCHED},
        **{"objective": "gspo", "advantage": "none", "aggregate": "constant", "kl": 0.05, "schedule": "cosine"},
        "reward": {"no_end_reward": 0.1, "overlong_zone": 2},
        "sampling": {**KEEPS, "importance_cap": 2.0, "staleness": 1},
        "update": {"kl_in": "reward", "kl_estimator": "k1"},
    },
    "ppo": {
        **{"stage": "ppo", "model": "start", "data": "rows", "samples": 2, "epochs": 2, **RL},
        **{"reward": OPEN, "sampling": KEEPS},
    },
    "ppo, in parts, watched": {
        **{"stage": "ppo", "model": "start", "data": "rows", "samples": 2, "epochs": 2, **RL, **WATCHED},
        "reward": {"no_end_reward": -1.0},
        "sampling": {**KEEPS, "importance_cap": 2.0, "staleness": 1},
        "update": {"parts": 2, "kl_estimator": "k3", "whiten": False},
        "critic": {"value_learning_rate": 1e-2, "value_warmup": 1},
    },
    "ppo, adapter": {
        **{"stage": "ppo", "model": "start", "data": "rows", "samples": 2, "epochs": 1, **RL, "adapter": {"rank": 2}},
        **{"reward": OPEN, "sampling": KEEPS},
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--only", default="", help="steps whose names hold this text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_tree(arguments.before, "write", folder)
        found = [in_tree(tree, "train", folder, arguments.only) for tree in (arguments.before, arguments.after)]
    return table(*found)


def table(before: dict[str, str], after: dict[str, str]) -> int:
    print(f"| {'step':36} | {'before':12} | {'after':12} | |\n|{'-' * 38}|{'-' * 14}|{'-' * 14}|---|")
    for name in before:
        same = before[name] == after[name]
        print(f"| {name:36} | {before[name][:12]} | {after[name][:12]} | {'same' if same else 'DIFFERENT'} |")
    different = sum(before[name] != after[name] for name in before)
    print(f"{len(before)} steps, {different} with other weights, metrics or looks")
    return int(different > 0)


def in_tree(tree: Path, what: str, folder: Path, only: str = "") -> Any:
    """Run a part of this file with a tree's own packages."""
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "BACTRIAN_NO_REEXEC": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), what, str(folder), str(tree.resolve()), only]
    done = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write(folder: Path) -> dict[str, str]:
    """The model and the rows that all stages of both trees start from."""
    from bactrian.data.io.files import write_rows
    from bactrian.data.io.problem_rows import problem
    from tests.model import tiny

    tiny.TEXT += " < > </ think"  # the tags of a thought are words, or they would be unknown
    tiny.write_tiny(folder / "start")
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "what", "is", "no", "yes", "one", "two", "three"]
    common = {"source": "test", "license": "CC0-1.0"}

    def said(i: int, count: int) -> str:
        return " ".join(words[(i * 7 + 3 * place) % len(words)] for place in range(count))

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows: dict[str, list[dict[str, Any]]] = {
        "chats": [
            {"messages": turn("user", said(i, 3 + i % 4)) + turn("assistant", said(i + 1, 2 + 3 * (i % 5)))}
            for i in range(14)
        ],
        "texts": [{"text": said(i, 5 + 4 * (i % 9))} for i in range(14)],
        "pairs": [
            {
                "prompt": turn("user", said(i, 4)),
                "chosen": turn("assistant", said(i + 1, 3 + i % 5)),
                "rejected": turn("assistant", said(i + 2, 2 + i % 4)),
                "chosen_score": 0.9,
                "rejected_score": 0.1 * (i % 8),
            }
            for i in range(14)
        ],
        "labelled": [
            {"messages": turn("user", said(i, 4)) + turn("assistant", said(i + 1, 3 + i % 5)), "label": i % 3 > 0}
            for i in range(14)
        ],
    }
    for name, some in rows.items():
        write_rows([{"id": f"{name}{i}", **row, **common} for i, row in enumerate(some)], folder / name)
    # right is an answer with a digit in it: some are
    problems = [problem(f"say {i} + {i}", "1", "1", "gsm8k", "test", "CC0-1.0") for i in range(10)]
    write_rows(problems[:7], folder / "rows")
    write_rows(problems[7:], folder / "apart")
    traces = [
        {**row, "steps": [said(i, 2), said(i + 3, 3)], "values": [0.5, float(i % 2)]} for i, row in enumerate(problems)
    ]
    write_rows(traces, folder / "traces")
    return {}


def train(folder: Path, tree: Path, only: str) -> dict[str, str]:
    """Each step's hash: of the weights that it leaves, of what it logged but for times, and of its looks."""
    import torch

    from bactrian.stages import all_stages
    from bactrian.store.artifact import Input, Workspace
    from bactrian.store.hardware import Hardware
    from bactrian.store.manifest import Kind

    torch.set_num_threads(1)
    kinds = {path.name: Kind.MODEL if path.name == "start" else Kind.DATA for path in folder.iterdir()}
    inputs = {name: Input(name, folder / name, kind, f"hash of {name}") for name, kind in kinds.items()}
    found = {}
    for name, settings in STEPS.items():
        if only not in name:
            continue
        for dtype in ("float32", "bfloat16"):
            stage = all_stages()[settings["stage"]]
            out = folder / f"{hashlib.sha256(str(tree).encode()).hexdigest()[:8]}-out-{name}-{dtype}"
            workspace = Workspace.temporary(out, inputs, 5, Hardware(dtype=dtype, threads=1))
            stage.model_validate(spelled(settings, stage)).run(workspace)
            found[f"{name}, {dtype}" if dtype != "float32" else name] = outcome(workspace.output)
    return found


def spelled(settings: Settings, stage: Any) -> Settings:
    """The settings as this tree's stage takes them."""
    given: Settings = {}
    for name, value in settings.items():
        field = stage.model_fields.get(name)
        if name == "stage":
            continue
        if not isinstance(value, dict) or name == "adapter":
            given[name] = value
        elif field is None:
            given |= value
        else:
            mine = field.annotation.model_fields
            given[name] = {key: inner for key, inner in value.items() if key in mine}
            given |= {key: inner for key, inner in value.items() if key not in mine}
    return given


def outcome(output: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(output.rglob("*.safetensors")):
        digest.update(f"{file.relative_to(output)}".encode() + file.read_bytes())
    for line in (output / "metrics.jsonl").read_text().splitlines():
        values = {key: value for key, value in json.loads(line).items() if not key.endswith("per_second")}
        digest.update(json.dumps(dict(sorted(values.items()))).encode())
    if (output / "looks.json").exists():
        digest.update((output / "looks.json").read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        print(json.dumps(write(Path(sys.argv[2]))))
    elif sys.argv[1:2] == ["train"]:
        print(json.dumps(train(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])))
    else:
        sys.exit(main())
