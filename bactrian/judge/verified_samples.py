"""A model's answers to problems: sampled, kept as they come, and verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.chat import prompt_ids
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.generate.kept import generate_kept
from bactrian.progress import progress
from bactrian.verify import Item, Judge, Pool, Verdict

Row = Mapping[str, Any]
SEED_STRIDE = 1_000_003
"""Between the first seeds of two seeds of a step, so that no two prompts share a random stream."""


@dataclass(frozen=True)
class SampleSettings:
    """How each problem is answered; temperature 0 is greedy."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


def sampled_answers(
    engine: Engine, rows: Sequence[Row], how: SampleSettings, seed: int, kept: Path, title: str, name: str
) -> list[list[Completion]]:
    """The completions of each problem, in order.

    Args:
        kept: where completions are as they come, so that a kill loses none that were finished.
        title: of the progress bar.
        name: begins messages about a prompt.

    Raises:
        BactrianError: a prompt leaves too little of the model's context.
    """
    requests = [
        Request(
            tuple(prompt_ids(row["messages"], engine.template, f"prompt {row['id']}", row.get("tools"))),
            n=how.samples,
            seed=seed * SEED_STRIDE + number,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
        )
        for number, row in enumerate(rows)
    ]
    names = [f"{name}: prompt {row['id']}" for row in rows]
    engine.check_fits([request.prompt for request in requests], how.max_new_tokens, names)
    with progress(title, unit="token") as bar:
        return generate_kept(engine, requests, kept, bar.advance)


def verdicts_of(
    rows: Sequence[Row], completions: Sequence[Sequence[Completion]], judges: Mapping[str, Judge]
) -> list[list[Verdict]]:
    """The verdict on each completion by its row's verifier; `judges`: the models behind those that are models."""
    items = [Item.of(row, each.text) for row, group in zip(rows, completions, strict=True) for each in group]
    with Pool(judges=judges) as pool:
        verdicts = iter(pool.verify_all(items))
    return [[next(verdicts) for _ in group] for group in completions]
