"""How `choose` steps picked a model: averages over tasks, and the chosen model's lead over each of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import finite, interval, percent, points
from bactrian.report.run_record import ReportedRun, ReportedStep

CHOICE = "choice.json"


@dataclass(frozen=True)
class ChoiceView:
    """One `choose` step."""

    step: str
    chosen: str
    doubt: str
    table: SideTable


def choice_views(run: ReportedRun) -> list[ChoiceView]:
    """Every step that left choice.json, in order."""
    found = ((step, read_json(step, CHOICE)) for step in run.steps)
    return [_view(step, choice) for step, choice in found if choice]


def _view(step: ReportedStep, choice: Mapping[str, Any]) -> ChoiceView:
    given = choice.get("candidates")
    candidates = [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
    tasks = list(dict.fromkeys(task for each in candidates for task in _scores(each)))
    chosen = str(choice.get("chosen", ""))
    lines = [
        [
            str(each.get("model", "")),
            percent(finite(each.get("average"))),
            *_over(each, chosen),
            *(percent(finite(_scores(each).get(task))) for task in tasks),
        ]
        for each in candidates
    ]
    close = [str(each.get("model", "")) for each in candidates if not _surely_worse(each, chosen)]
    doubt = f"Not surely better than {', '.join(close)}: the interval of the difference holds 0." if close else ""
    heads = ["candidate", "average", "chosen one has more", "95 % interval", *tasks]
    return ChoiceView(step.name, chosen, doubt, SideTable("Candidates, the chosen one first", heads, lines, 0))


def _over(each: Mapping[str, Any], chosen: str) -> list[str]:
    if each.get("model") == chosen:
        return ["–", "–"]
    return [points(finite(each.get("difference"))), interval(each.get("interval"), points)]


def _surely_worse(each: Mapping[str, Any], chosen: str) -> bool:
    ends = each.get("interval")
    low = finite(ends[0]) if isinstance(ends, list) and len(ends) == 2 else None
    return each.get("model") == chosen or (low is not None and low > 0)


def _scores(each: Mapping[str, Any]) -> Mapping[str, Any]:
    scores = each.get("scores")
    return scores if isinstance(scores, Mapping) else {}
