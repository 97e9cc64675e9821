"""Calibrations and cascades as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bactrian.evaluate.score_tables import print_table
from bactrian.judge.plans import PlannedCascade


def cascade_lines(plans: Sequence[PlannedCascade]) -> list[list[str]]:
    """A line for each judge of each plan, and one for the whole."""
    lines = []
    for plan in plans:
        if plan.cascade is None:
            lines.append([f"{plan.alpha:g}", "none", "", "", plan.fault])
            continue
        composition = plan.expected["composition"]
        for member in plan.cascade.members:
            found = member.threshold
            trusted = f"{found.value:.4f}" if found.calibrated else "never"
            told = f"{found.errors} of {found.n} wrong, risk ≤ {found.bound:.3f}" if found.calibrated else found.stopped
            lines.append([f"{plan.alpha:g}", member.name, trusted, f"{composition[member.name]:.1%}", told])
        agreement, cost = plan.expected["agreement"], plan.expected["relative_cost"]
        told = "abstains on all" if agreement is None else f"agreement {agreement:.1%}"
        told += "" if cost is None else f", cost {cost:.3f} of asking the last judge alone"
        lines.append([f"{plan.alpha:g}", "the cascade", "", f"{plan.expected['coverage']:.1%}", told])
    return lines


def print_cascades(title: str, lines: list[list[str]], judges: Sequence[str]) -> None:
    """The table, and what its numbers are."""
    print_table(title, ["alpha", "judge", "trusted from", "decides", ""], lines)
    click.echo(
        f"judges in the order of asking: {', '.join(judges)}; decides: share of these very pairs, whose labels "
        f"calibrated the thresholds"
    )
