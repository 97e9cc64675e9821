"""Pairwise preference from scores: which answer is chosen and which rejected [Tülu 3, Lambert et al. 2024]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer's text and score; `origin`: whatever else is known of it, carried along."""

    text: str
    score: float
    origin: Any = None


Preferences = list[tuple[ScoredAnswer, ScoredAnswer]]
"""(chosen, rejected)."""


def preferences(answers: Sequence[ScoredAnswer], random: Random, pairs: int = 1, margin: float = 0.0) -> Preferences:
    """Chosen is drawn from the best answers; rejected at random from those below it by at least `margin`.

    At most `pairs`, each with another rejected text. A difference is needed even with margin 0; texts that are empty
    or the same as the chosen one are never rejected. No pair where no answer qualifies.
    """
    usable = [answer for answer in answers if answer.text.strip()]
    if not usable:
        return []
    top = max(answer.score for answer in usable)
    chosen = random.choice([answer for answer in usable if answer.score == top])
    worse = {a.text: a for a in usable if a.score < top and top - a.score >= margin and a.text != chosen.text}
    rejected = random.sample(sorted(worse.values(), key=lambda answer: answer.text), min(pairs, len(worse)))
    return [(chosen, each) for each in rejected]


def pair_row(
    row: Mapping[str, Any], number: int, chosen: ScoredAnswer, rejected: ScoredAnswer, **columns: Any
) -> dict[str, Any]:
    """A pair as a row: both answers, who wrote them (`origin["model"]`), their scores, and further columns."""
    return {
        "id": f"{row['id']}-{number}",
        "prompt": row["messages"],
        "chosen": [{"role": "assistant", "content": chosen.text}],
        "rejected": [{"role": "assistant", "content": rejected.text}],
        "chosen_model": chosen.origin["model"],
        "rejected_model": rejected.origin["model"],
        "chosen_score": float(chosen.score),
        "rejected_score": float(rejected.score),
        **columns,
        **({"tools": row["tools"]} if row.get("tools") else {}),
        "source": row["source"],
        "license": row["license"],
    }
