"""How many comparisons tell two models apart."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from scipy.stats import norm

from bactrian.errors import BactrianError


@dataclass(frozen=True)
class Separation:
    """How many more comparisons would separate two models, and from what that is reckoned.

    further: None where the two are equal so far: no number would do. share: of the first model's wins, ties half.
    prompts: further comparisons in prompts, with as many comparisons a prompt as before.
    """

    share: float
    needed: int | None
    further: int | None
    prompts: int | None


def comparisons_to_separate(
    wins: float,
    losses: float,
    ties: float = 0.0,
    prompts: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    clustering: float = 1.0,
) -> Separation:
    """If the first model goes on winning as often as so far, how many comparisons find that it is not ½.

    n = ((z_α σ₀ + z_β σ) / (share − ½))², where a comparison is worth 1, ½ (a tie) or 0, σ² its variance, and σ₀² the
    same if wins and losses were equally likely: ties carry no information but a smaller variance.

    Args:
        wins, losses, ties: of the first model, so far. prompts: on how many prompts that was.
        alpha: of a two-sided test. power: the chance to find the difference.
        clustering: factor on the variance of the mean if comparisons of one prompt are alike (design effect).

    Raises:
        BactrianError: nothing was compared so far, or a count is negative.
    """
    total = wins + losses + ties
    if min(wins, losses, ties) < 0 or total <= 0:
        raise BactrianError(
            f"separation: found {wins:g} wins, {losses:g} losses and {ties:g} ties, expected no negative one, and at "
            f"least one comparison"
        )
    share = (wins + ties / 2) / total
    if abs(share - 0.5) < 1e-12:
        return Separation(share, None, None, None)
    decided = (wins + losses) / total
    equal = decided / 4
    actual = max(decided / 4 - (share - 0.5) ** 2, 0.0)
    high, low = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    needed = ceil(clustering * ((high * sqrt(equal) + low * sqrt(actual)) / abs(share - 0.5)) ** 2)
    further = max(0, needed - round(total))
    return Separation(share, needed, further, None if prompts is None else ceil(further * prompts / total))
