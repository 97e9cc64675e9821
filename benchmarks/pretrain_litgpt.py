"""One side of pretrain.py: litgpt. `pretrain_litgpt.py FOLDER ROWS LENGTH DTYPE`, in an environment that has litgpt.

Its OLMo 2 with the weights of FOLDER and its loop: compiled, chunked cross entropy, clip, fused AdamW; bfloat16 is its
bf16-mixed (autocast). Imports nothing of bactrian. Answers {"what": "step"} with processor seconds and the loss.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from duel import serve
from litgpt.config import Config
from litgpt.model import GPT
from litgpt.scripts.convert_hf_checkpoint import copy_weights_olmo2
from litgpt.utils import chunked_cross_entropy
from safetensors.torch import load_file


def load(folder: Path) -> GPT:
    """Its model with the weights of a Hugging Face folder."""
    about = json.loads((folder / "config.json").read_text())
    config = Config.from_name(
        "OLMo-2-1124-7B",
        vocab_size=about["vocab_size"],
        padded_vocab_size=about["vocab_size"],
        block_size=about["max_position_embeddings"],
        n_embd=about["hidden_size"],
        n_layer=about["num_hidden_layers"],
        n_head=about["num_attention_heads"],
        n_query_groups=about["num_key_value_heads"],
        head_size=about["hidden_size"] // about["num_attention_heads"],
        intermediate_size=about["intermediate_size"],
        norm_eps=about["rms_norm_eps"],
        rope_base=int(about["rope_parameters"]["rope_theta"]),
    )
    weights: dict[str, torch.Tensor] = {}
    copy_weights_olmo2(config, {}, weights, load_file(folder / "model.safetensors"))
    model = GPT(config)
    model.load_state_dict(weights)
    return model


def main() -> None:
    folder, rows, length, dtype, compiled = sys.argv[1:6]
    torch.set_num_threads(1)
    model = load(Path(folder))
    size = model.config.vocab_size
    ids = torch.randint(3, size, (int(rows), int(length)), generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    network: Any = torch.compile(model) if compiled == "compiled" else model

    def step(**_: Any) -> dict[str, Any]:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = network(ids)
        loss = chunked_cross_entropy(logits[:, :-1].float(), ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return {"seconds": time.process_time() - began, "loss": float(loss.detach())}

    serve({"step": step})


if __name__ == "__main__":
    main()
