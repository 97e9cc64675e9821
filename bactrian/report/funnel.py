"""The funnel of a step whose rows models wrote: how many came how far, why the rest was dropped, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report.charts import stacked
from bactrian.report.formatting import count, finite, number, percent

MOST_BARS = 24


@dataclass(frozen=True)
class FunnelBar:
    """One line of the chart; `aside` compares it with the line above, or is its share of the whole."""

    label: str
    count: str
    aside: str
    bar: Markup


@dataclass(frozen=True)
class Funnel:
    """bars: how far answers came, in order. reasons: why they were dropped, the most frequent first. facts: costs.

    more: reasons that are not drawn.
    """

    bars: list[FunnelBar]
    reasons: list[FunnelBar]
    facts: list[tuple[str, str]]
    more: int = 0


def funnel(account: Mapping[str, Any]) -> Funnel | None:
    """What an account of rows (rows.json) says of it; None where it has neither a funnel nor costs."""
    counted, cost = _numbers(account.get("funnel")), _numbers(account.get("cost"))
    if not counted and not cost:
        return None
    dropped = account.get("dropped")
    cases = dropped.items() if isinstance(dropped, Mapping) else ()
    found = {str(reason): finite(case.get("count")) for reason, case in cases if isinstance(case, Mapping)}
    reasons = dict(sorted(((name, value) for name, value in found.items() if value), key=lambda item: -item[1]))
    return Funnel(_steps(counted), _reasons(reasons), _facts(cost, account), max(0, len(reasons) - MOST_BARS))


def _numbers(found: Any) -> dict[str, float]:
    items = found.items() if isinstance(found, Mapping) else ()
    return {str(name): value for name, given in items if (value := finite(given)) is not None and value >= 0}


def _steps(counted: Mapping[str, float]) -> list[FunnelBar]:
    most = max(counted.values(), default=0) or 1
    bars, before = [], None
    for label, value in list(counted.items())[:MOST_BARS]:
        bar = stacked([("reached", value / most)])
        bars.append(FunnelBar(label.replace("_", " "), count(value), _compared(value, before), bar))
        before = value
    return bars


def _compared(value: float, before: float | None) -> str:
    """The share of the line above; where a request asks for several things there may be more of them."""
    if not before:
        return ""
    return f"{percent(value / before)} of these" if value <= before else f"× {number(value / before)}"


def _reasons(reasons: Mapping[str, float]) -> list[FunnelBar]:
    most, total = max(reasons.values(), default=0) or 1, sum(reasons.values())
    drawn = list(reasons.items())[:MOST_BARS]
    return [
        FunnelBar(name, count(value), f"{percent(value / total)} of the dropped", stacked([("lost", value / most)]))
        for name, value in drawn
    ]


def _facts(cost: Mapping[str, float], account: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [(name.replace("_", " ").capitalize(), number(value)) for name, value in cost.items()]
    kept = (finite(account.get("kept")) or 0) + _mended(account.get("repaired"))
    written, money = cost.get("tokens_written"), cost.get("money")
    if kept:
        facts.append(("Rows kept", count(kept)))
        if answers := cost.get("answers"):
            facts.append(("Kept of 100 answers", number(100 * kept / answers)))
        if written:
            facts.append(("Tokens written for a kept row", number(written / kept)))
        if money:
            facts.append(("Money for 1,000 kept rows", number(1000 * money / kept)))
    return facts


def _mended(cases: Any) -> float:
    found = cases.values() if isinstance(cases, Mapping) else ()
    return sum(finite(case.get("count")) or 0 for case in found if isinstance(case, Mapping))
