"""How far packed and plain log-probabilities of a model are from each other, and from the truth in float64.

python -m tests.model.gap FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from bactrian.model import attention
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, plant

QUESTIONS = ("What is the capital of France?", "Compute 17 + 25.", "Tell me a story about a camel.")
ANSWERS = (
    "Paris.",
    "17 + 25 = 42\nAnswer: 42",
    "Once upon a time there was a camel with two humps, and it walked far.",
)


@dataclass(frozen=True)
class Gap:
    """Mean and largest absolute differences of log-probabilities over all answer tokens."""

    tokens: int
    packed_to_plain_mean: float
    packed_to_plain_max: float
    packed_to_truth_mean: float
    packed_to_truth_max: float
    plain_to_truth_mean: float
    plain_to_truth_max: float


def measure(folder: Path, kernel: str = "sdpa") -> Gap:
    """Every question with every answer: packed at once, and sequence by sequence with transformers' own attention."""
    model = LanguageModel.load(folder)
    encode = model.tokenizer.encode
    answers = tuple(tuple(encode(text)) for text in ANSWERS)
    groups = [Group(tuple(encode(f"System text that all share. {q}\n")), answers) for q in QUESTIONS]
    forest, spans = plant(groups)
    where = torch.cat([torch.arange(s.start, s.stop) for s in spans])
    with torch.no_grad():
        packed = model.logprobs(forest, where).double()
        plain = plain_logprobs(model, groups, kernel)
        model.network.double()
        truth = plain_logprobs(model, groups, kernel)
    a, b, c = ((x - y).abs() for x, y in ((packed, plain), (packed, truth), (plain, truth)))
    return Gap(len(where), *(float(v) for x in (a, b, c) for v in (x.mean(), x.max())))


def plain_logprobs(model: LanguageModel, groups: list[Group], kernel: str) -> torch.Tensor:
    """transformers' own forward, one sequence at a time, float64 [N]."""
    model.network.set_attn_implementation(kernel)
    found = []
    for group in groups:
        for answer in group.answers:
            ids = torch.tensor([[*group.prompt, *answer]])
            logits = model.network(input_ids=ids, use_cache=False).logits[0, -len(answer) - 1 : -1].double()
            found.append(logits.log_softmax(-1).gather(-1, ids[0, -len(answer) :, None])[:, 0])
    model.network.set_attn_implementation(attention.IMPLEMENTATION)
    return torch.cat(found)


if __name__ == "__main__":
    for each in ("eager", "sdpa"):
        print(each, measure(Path(sys.argv[1]), each))
