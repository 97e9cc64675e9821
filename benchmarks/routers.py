"""What the routers of mixtures of experts do: loads, saturation, and how far experts are for one kind of text.

    python benchmarks/routers.py STORE/experts-nano [--models moe no_balance …] [--texts everyday_unseen numbers_unseen]

On held-out texts, of each model and layer:
- load: share of the slots (a token, one of its experts) that each expert has, over an even share; the largest, the
  smallest, and how many experts have less than a tenth of an even share.
- saturation [OLMoE, Muennighoff et al. 2024]: of the experts that a token chooses after `STEP` steps, the share that
  it still chooses at the end. Chance is active / experts.
- specialisation: of the slots of each kind of text, the largest share of any one expert, over an even share.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bactrian.data.io.files import read_rows
from bactrian.model.experts import routing_noted
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.train.options import CHECKPOINTS

AT_ONCE = 50
"""Texts of one forward."""


@torch.no_grad()
def chosen(folder: Path, texts: Sequence[str]) -> torch.Tensor:
    """The experts that each token of the texts chooses, long [layers, tokens, k]."""
    model = LanguageModel.load(folder)
    tokenizer, found = model.tokenizer, []
    rows = [(tokenizer.bos_token_id, *ids) for ids in tokenizer(list(texts), add_special_tokens=False).input_ids]
    for at in range(0, len(rows), AT_ONCE):
        with routing_noted() as routing:
            model.forward(Forest.of([Segment(row) for row in rows[at : at + AT_ONCE]]))
        found.append(torch.stack([each.chosen for each in routing]))
    return torch.cat(found, 1)


def loads(choices: torch.Tensor, experts: int) -> torch.Tensor:
    """Of each layer and expert its share of the slots over an even one, [layers, experts]."""
    counts = torch.stack([torch.bincount(layer.reshape(-1), minlength=experts) for layer in choices]).float()
    return counts / counts.mean(1, keepdim=True)


def saturation(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """Of each layer, the share of a token's choices before that are among those after."""
    same = (before[..., :, None] == after[..., None, :]).any(-1).float()
    return [round(float(layer.mean()), 3) for layer in same]


def study(folder: Path, kinds: dict[str, list[str]]) -> dict[str, Any]:
    """Of one model what is said above."""
    experts = json.loads((folder / "config.json").read_text())["num_experts"]
    each = {kind: chosen(folder, texts) for kind, texts in kinds.items()}
    whole = torch.cat(list(each.values()), 1)
    share = loads(whole, experts)
    texts = [text for texts in kinds.values() for text in texts]
    steps = sorted(int(path.name) for path in (folder / CHECKPOINTS).glob("*") if path.name.isdecimal())
    return {
        "load_most": [round(float(layer.max()), 2) for layer in share],
        "load_least": [round(float(layer.min()), 3) for layer in share],
        "idle_experts": [int((layer < 0.1).sum()) for layer in share],
        "histogram": [[round(float(load), 2) for load in layer.sort(descending=True).values] for layer in share],
        "saturation": {step: saturation(chosen(folder / CHECKPOINTS / str(step), texts), whole) for step in steps},
        "specialisation": {
            kind: [round(float(layer.max()), 2) for layer in loads(choices, experts)] for kind, choices in each.items()
        },
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path)
    options.add_argument("--models", nargs="+", default=["moe", "no_balance", "no_router_z", "neither"])
    options.add_argument("--texts", nargs="+", default=["everyday_unseen", "numbers_unseen"])
    asked = options.parse_args()
    kinds = {name: [row["text"] for row in read_rows(asked.run / name, "text")] for name in asked.texts}
    print(json.dumps({name: study(asked.run / name, kinds) for name in asked.models}, indent=1))


if __name__ == "__main__":
    main()
