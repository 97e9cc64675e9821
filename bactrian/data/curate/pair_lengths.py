"""How much longer chosen answers are than rejected ones: what length alone could tell is a preference for length."""

from collections.abc import Callable, Iterable, Mapping
from statistics import mean, median
from typing import Any

from bactrian.data.curate.quality import Flaw
from bactrian.data.io.texts import answer_text, estimated_tokens
from bactrian.errors import BactrianError

Count = Callable[[str], int]
"""Tokens of a text."""


def side_lengths(row: Mapping[str, Any], count: Count = estimated_tokens) -> tuple[int, int]:
    """Tokens of the chosen answer and of the rejected one.

    Raises:
        BactrianError: the row is no pair.
    """
    if not isinstance(row.get("chosen"), list) or not isinstance(row.get("rejected"), list):
        raise BactrianError(
            f"row {row.get('id')}: found the fields {', '.join(row)}, expected a pair: chosen and rejected"
        )
    return count(answer_text({"messages": row["chosen"]})), count(answer_text({"messages": row["rejected"]}))


def apart_flaw(row: Mapping[str, Any], most: int, count: Count = estimated_tokens) -> Flaw | None:
    """For a pair whose answers differ in length by more than `most` tokens [Olmo 3: 100, for chat].

    Raises:
        BactrianError: the row is no pair.
    """
    chosen, rejected = side_lengths(row, count)
    if abs(chosen - rejected) <= most:
        return None
    return Flaw(f"answers more than {most:,} tokens apart", f"{chosen:,} chosen, {rejected:,} rejected")


def length_summary(rows: Iterable[Mapping[str, Any]], count: Count = estimated_tokens) -> dict[str, float]:
    """Of pairs: how many, mean lengths, mean and median of chosen less rejected, share whose chosen one is longer.

    Equal lengths count half. 0.5 is what length says nothing at.

    Raises:
        BactrianError: a row is no pair.
    """
    sides = [side_lengths(row, count) for row in rows]
    if not sides:
        return {"pairs": 0}
    apart = [chosen - rejected for chosen, rejected in sides]
    return {
        "pairs": len(sides),
        "mean_chosen": mean(chosen for chosen, _ in sides),
        "mean_rejected": mean(rejected for _, rejected in sides),
        "mean_difference": mean(apart),
        "median_difference": median(apart),
        "chosen_longer": mean((each > 0) + (each == 0) / 2 for each in apart),
    }


def summary_line(name: str, found: Mapping[str, float]) -> str:
    """A summary in words; `name`: of what."""
    if not found["pairs"]:
        return f"{name}: no pairs"
    return (
        f"{name}: {found['pairs']:,} pairs; chosen {found['mean_chosen']:.0f} tokens, rejected "
        f"{found['mean_rejected']:.0f}, median difference {found['median_difference']:+.0f}; chosen longer in "
        f"{found['chosen_longer']:.1%}"
    )
