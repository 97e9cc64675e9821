"""Preference loss `hinge`: max(0, 1 - margin), the margin a difference of log-ratios [SLiC-HF, Zhao et al. 2023]."""

from bactrian.train.losses import PREFERENCE_LOSSES, Objective, PairLosses, PairSums


@PREFERENCE_LOSSES.declare("hinge", "max(0, 1 - margin) on sums [Zhao et al. 2023]", needs_reference=True)
def hinge(pairs: PairSums, objective: Objective) -> PairLosses:
    """Pairs whose margin is 1 or more no longer count."""
    chosen, rejected = (objective.beta * ratio for ratio in pairs.log_ratios("hinge"))
    return PairLosses((1 - (chosen - rejected)).clamp(min=0), chosen, rejected)
