"""How far packed and plain log-probabilities of a model are from each other, and from the truth in float64.

    python -m tests.model.gap FOLDER

On SmolLM2-135M (one thread; log-probs from 0 to -15.7) it says, over 108 tokens:

    one sequence a pack - sdpa     mean 7.6e-07  largest 8.4e-06
    many sequences a pack - sdpa   mean 1.4e-06  largest 1.7e-05
    tree - sdpa                    mean 3.6e-06  largest 2.4e-05
    eager - sdpa                   mean 3.5e-06  largest 2.3e-05
    tree - float64                 mean 3.9e-06  largest 2.1e-05
    sdpa - float64                 mean 3.1e-06  largest 2.5e-05
    tree in float64 - float64      mean 2.7e-15  largest 1.0e-14

"eager" and "sdpa" are transformers' own two attentions, "float64" is sdpa with all weights in float64. So a gap of more
than 1e-5 on single tokens is float32's own rounding: transformers is that far from the truth, and its two kernels from
each other. In float64 packed and plain are the same. A pack of one sequence gives hidden states that are sdpa's bit for
bit; the 8e-6 come from projecting only the answer's tokens onto the vocabulary, a matrix product of another shape.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bactrian.model import attention
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Group, Segment, plant

QUESTIONS = ("What is the capital of France?", "Compute 17 + 25.", "Tell me a story about a camel.")
ANSWERS = (
    "Paris.",
    "17 + 25 = 42\nAnswer: 42",
    "Once upon a time there was a camel with two humps, and it walked far.",
)
Gaps = dict[str, tuple[float, float]]


def measure(folder: Path) -> Gaps:
    """{what is compared: (mean, largest) absolute difference} of the log-probs of all answers to all questions."""
    model = LanguageModel.load(folder)
    encode = model.tokenizer.encode
    answers = tuple(tuple(encode(text)) for text in ANSWERS)
    groups = [Group(tuple(encode(f"System text that all share. {q}\n")), answers) for q in QUESTIONS]
    rows = [((*g.prompt, *a), len(a)) for g in groups for a in g.answers]
    with torch.no_grad():
        tree, many = packed_tree(model, groups), packed_rows(model, rows)
        alone = [packed_rows(model, [row]) for row in rows]
        eager, sdpa = plain(model, rows, "eager"), plain(model, rows, "sdpa")
        model.network.double()
        truth, tree64 = plain(model, rows, "sdpa"), packed_tree(model, groups)
    compared = {
        "one sequence a pack - sdpa": (torch.cat(alone), sdpa),
        "many sequences a pack - sdpa": (many, sdpa),
        "tree - sdpa": (tree, sdpa),
        "eager - sdpa": (eager, sdpa),
        "tree - float64": (tree, truth),
        "sdpa - float64": (sdpa, truth),
        "tree in float64 - float64": (tree64, truth),
    }
    return {name: (float((a - b).abs().mean()), float((a - b).abs().max())) for name, (a, b) in compared.items()}


def packed_tree(model: LanguageModel, groups: Sequence[Group]) -> torch.Tensor:
    forest, spans = plant(groups)
    return model.logprobs(forest, torch.cat([torch.arange(s.start, s.stop) for s in spans])).double()


def packed_rows(model: LanguageModel, rows: Sequence[tuple[tuple[int, ...], int]]) -> torch.Tensor:
    forest = Forest.of([Segment(ids) for ids, _ in rows])
    where = [torch.arange(s.stop - n, s.stop) for s, (_, n) in zip(forest.spans, rows, strict=True)]
    return model.logprobs(forest, torch.cat(where)).double()


def plain(model: LanguageModel, rows: Sequence[tuple[tuple[int, ...], int]], kernel: str) -> torch.Tensor:
    """transformers' own forward, one sequence at a time, float64 [N]."""
    model.network.set_attn_implementation(kernel)
    found = []
    for ids, answer in rows:
        logits = model.network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -answer - 1 : -1].double()
        found.append(logits.log_softmax(-1).gather(-1, torch.tensor(ids[-answer:])[:, None])[:, 0])
    model.network.set_attn_implementation(attention.IMPLEMENTATION)
    return torch.cat(found)


if __name__ == "__main__":
    for name, (mean, largest) in measure(Path(sys.argv[1])).items():
        print(f"{name:30} mean {mean:.1e}  largest {largest:.1e}")
