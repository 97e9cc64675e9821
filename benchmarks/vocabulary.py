"""Memory where the vocabulary is large: ours beside TRL on a model shaped like Gemma 3 270M (262,144 pieces).

    python benchmarks/vocabulary.py --peer-python /path/to/trl/bin/python [--runs 3]

Random weights in that shape; SFT, 4 rows of 512 tokens of which the last 20 % are trained; peak memory of the process,
states of the optimiser included. Otherwise as in sft.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from duel import Side
from versus import HERE, arguments, assert_same, draw_ids, model_folder, race, report, write_work

SHAPE = {
    "vocab_size": 262_144,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "sliding_window": 512,
    "max_position_embeddings": 32_768,
    "query_pre_attn_scalar": 256,
}


def write_model(tokenizer_from: Path) -> Path:
    """A random model of Gemma 3 270M's shape; any tokenizer will do, ids are drawn."""
    import torch
    from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    folder = Path(mkdtemp(prefix="bactrian-gemma-"))
    torch.manual_seed(0)
    Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_from).save_pretrained(folder)
    return folder


def workload(steps: int, batch: int = 4, length: int = 512) -> dict[str, object]:
    random = np.random.default_rng(3)
    marks = [0] * int(0.8 * length) + [1] * (length - int(0.8 * length))
    rows = [{"ids": draw_ids(random, length, 260_000), "trained": marks} for _ in range(steps * batch)]
    return {"rows": rows, "batch": batch, "packed_batch": batch, "max_length": length}


def main() -> None:
    asked = arguments(__doc__).parse_args()
    folder = write_model(model_folder(asked.model))
    apart = assert_same("sft", folder, workload(1, 2, 40), asked.peer_python, asked.threads)
    files = write_work(workload(asked.runs + 2), "vocabulary")
    found: dict[str, dict[str, float]] = {}
    for name, python in (("ours", sys.executable), ("trl", asked.peer_python)):
        script = HERE / ("training_ours.py" if name == "ours" else "training_trl.py")
        file = files["ours" if name == "ours" else "peer"]
        with Side(name, python, script, "sft", str(folder), str(file), "bfloat16", threads=asked.threads) as side:
            found |= race([side], asked.runs)
    report("vocabulary", found, 6 * (100e6 + 0.2 * 168e6), asked.threads, apart)


if __name__ == "__main__":
    main()
