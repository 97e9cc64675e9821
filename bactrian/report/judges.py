"""What `calibrate` steps found of judges, and what calibrated cascades decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import count, finite, known, number, percent
from bactrian.report.preferences import reliability
from bactrian.report.run_record import ReportedRun, ReportedStep
from bactrian.report.svg import join, tag

CALIBRATION, JUDGED = "calibration.json", "judged.json"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360.0, 260.0, 46.0, 10.0, 10.0, 34.0
COLOURS = ("right", "truncated", "refused", "unparsable", "timed_out")
"""Of the first judges in a bar; what a cascade abstains on has none."""
ABSTAINS = "abstains"


@dataclass(frozen=True)
class JudgeView:
    """One judge of a calibration: what may be trusted of it, and two drawings where there is something to draw."""

    name: str
    said: str
    diagram: Markup | None
    curve: Markup | None


@dataclass(frozen=True)
class JudgingView:
    """One step: a calibration, with its judges, or pairs that a cascade decided."""

    step: str
    said: str
    bar: Markup | None
    legend: list[tuple[str, str, str]]  # class, name, share
    table: SideTable | None
    judges: list[JudgeView]


def judging_views(run: ReportedRun) -> list[JudgingView]:
    """Every step that left calibration.json or judged.json, in order."""
    found = []
    for step in run.steps:
        if calibration := read_json(step, CALIBRATION):
            found.append(_calibrated(step, calibration))
        elif judged := read_json(step, JUDGED):
            found.append(_judged(step, judged))
    return found


def sentences(run: ReportedRun) -> list[Markup]:
    """What the last calibration promises, in plain words; empty where there is none."""
    for step in reversed(run.steps):
        if not (found := read_json(step, CALIBRATION)):
            continue
        cascade, decided = _at(found, "cascade"), finite(_at(found, "expected").get("coverage"))
        if not decided:
            return [
                Markup("None of the judges may be trusted at any confidence: <strong>all</strong> is left to people.")
            ]
        return [
            Markup(
                "Judges decide <strong>{}</strong> of the labelled pairs; with probability {} at most {} of what they "
                "decide is not what people would have said."
            ).format(
                percent(decided, 0),
                percent(_less(1, cascade.get("delta")), 0),
                percent(finite(cascade.get("alpha")), 0),
            )
        ]
    return []


def _calibrated(step: ReportedStep, data: Mapping[str, Any]) -> JudgingView:
    cascade, labels, expected = _at(data, "cascade"), _at(data, "labels"), _at(data, "expected")
    pairs, prompts, ties, divided = (count(finite(labels.get(key))) for key in ("pairs", "prompts", "ties", "divided"))
    sure, alpha = percent(_less(1, cascade.get("delta")), 0), percent(finite(cascade.get("alpha")), 0)
    said = (
        f"{pairs} labelled pairs of {prompts} prompts ({ties} ties and {divided} divided votes left out). With "
        f"probability {sure} at most {alpha} of what the cascade decides is not what people would have said, on pairs "
        f"like these. Of these very pairs it decides {percent(finite(expected.get('coverage')), 0)}."
    )
    members = {str(each.get("name", "")): _at(each, "threshold") for each in _records(cascade.get("members"))}
    judges = [
        _judge(str(each.get("name", "")), _at(each, "about"), members.get(str(each.get("name", "")), {}))
        for each in _records(data.get("judges"))
    ]
    bar, legend = _composition(_at(expected, "composition"), 1.0)
    cost = finite(expected.get("relative_cost"))
    if cost is not None:
        said += f" Its calls cost {number(cost)} of asking the last judge about everything."
    return JudgingView(step.name, said, bar, legend, None, judges)


def _judge(name: str, about: Mapping[str, Any], threshold: Mapping[str, Any]) -> JudgeView:
    agreement, changed, failed = (finite(about.get(key)) for key in ("agreement", "order_changed", "faults"))
    told = [f"agrees with people on {percent(agreement)} of all pairs"]
    if changed is not None:
        told.append(f"changes its mind with the order of the answers on {percent(changed)}")
    if failed:
        told.append(f"failed on {count(failed)}")
    quality = _at(about, "quality")
    figures = [
        f"{label} {number(value)}"
        for key, label in (("ece", "ECE"), ("brier", "Brier"), ("auroc", "AUROC"), ("auprc", "AUPRC"))
        if (value := finite(_at(quality, key).get("value"))) is not None
    ]
    told += [", ".join(figures)] if figures else []
    value = finite(threshold.get("value"))
    if value is None:
        told.append(f"never trusted: {threshold.get('stopped', '')}")
    else:
        told.append(
            f"trusted from a confidence of {number(value)}: {count(finite(threshold.get('errors')))} of "
            f"{count(finite(threshold.get('n')))} wrong, risk at most {percent(finite(threshold.get('bound')))}"
        )
    bins = [drawn for each in _records(quality.get("bins")) if (drawn := _bin(each)) is not None]
    return JudgeView(name, "; ".join(told) + ".", reliability(bins) if bins else None, bound_curve(threshold))


def _bin(each: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """As `reliability` draws it; None where no pair is in it."""
    agreement = _at(each, "agreement")
    values = [finite(each.get("confidence")), *(finite(agreement.get(key)) for key in ("value", "low", "high"))]
    if not finite(each.get("n")) or not all(map(known, values)):
        return None
    return {"pairs": each.get("n"), "confidence": values[0], "accuracy": values[1], "interval": values[2:]}


def bound_curve(threshold: Mapping[str, Any]) -> Markup | None:
    """Thresholds across, the bound on the risk up: full dots were trusted; the line is the risk that is tolerated."""
    alpha = finite(threshold.get("alpha"))
    tests = [
        (x, y, bool(each.get("trusted")), each)
        for each in _records(threshold.get("curve"))
        if (x := finite(each.get("value"))) is not None and (y := finite(each.get("bound"))) is not None
    ]
    if alpha is None or not tests:
        return None
    across = charts.axis(min(0.5, *(x for x, *_ in tests)), 1.0)
    up = charts.axis(0.0, max(alpha * 1.5, *(y for _, y, *_ in tests)), 4)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + across.share(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up.share(y) * (HEIGHT - TOP - BOTTOM),
        )

    parts = []
    for tick in up.ticks:
        y = place(0, tick)[1]
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y, "class": "grid"}))
        parts.append(tag("text", {"x": LEFT - 6, "y": y + 4, "text-anchor": "end"}, percent(tick, 0)))
    for tick in across.ticks:
        parts.append(tag("text", {"x": place(tick, 0)[0], "y": HEIGHT - 16, "text-anchor": "middle"}, number(tick)))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", {"x": middle, "y": HEIGHT - 2, "text-anchor": "middle"}, "confidence from which accepted"))
    y = place(0, alpha)[1]
    parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y, "class": "zero"}))
    for value, bound, trusted, each in tests:
        x, y = place(value, bound)
        errors, n = count(finite(each.get("errors"))), count(finite(each.get("n")))
        verdict = "trusted" if trusted else "not trusted"
        told = f"from {number(value)}: {errors} of {n} wrong, risk at most {percent(bound)}, {verdict}"
        dot: dict[str, str | float] = {"cx": x, "cy": y, "r": 4.5, "class": f"dot {'full' if trusted else 'hollow'}"}
        parts.append(tag("circle", dot, tag("title", {}, told)))
    box = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "class": "curve", "role": "img", "aria-label": "Bound by threshold"}
    return tag("svg", box, join(parts))


def _judged(step: ReportedStep, data: Mapping[str, Any]) -> JudgingView:
    pairs, abstained = finite(data.get("pairs")), finite(data.get("abstained"))
    decided = percent(finite(data.get("coverage")))
    said = (
        f"{count(pairs)} pairs: {decided} decided, {count(abstained)} abstained on and kept apart in abstained.jsonl, "
        f"guessed by nobody."
    )
    if (labelled := finite(data.get("labelled"))) and (agreed := finite(data.get("agreed"))) is not None:
        said += f" Where rows had labels, {count(agreed)} of {count(labelled)} verdicts agree with them."
    composition, bills, faults = _at(data, "composition"), _at(data, "bills"), _at(data, "faults")
    bar, legend = _composition(composition, pairs)
    lines = [
        [
            str(name),
            count(finite(_at(bills, name).get("comparisons"))),
            count(finite(composition.get(name))),
            count(finite(faults.get(name))),
            *(count(finite(_at(bills, name).get(key))) for key in ("calls", "tokens_in", "tokens_out")),
            number(finite(_at(bills, name).get("cost"))),
        ]
        for name in bills
    ]
    heads = ["judge", "asked about", "decided", "failed on", "calls", "tokens read", "tokens written", "cost"]
    table = SideTable("What each judge was asked, escalated pairs included", heads, lines, 0)
    return JudgingView(step.name, said, bar, legend, table, [])


def _composition(shares: Mapping[str, Any], total: float | None) -> tuple[Markup | None, list[tuple[str, str, str]]]:
    """Who decides how much, as a bar and its legend."""
    judges = [name for name in shares if name != ABSTAINS]
    classes = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(judges)} | {ABSTAINS: ABSTAINS}
    found = [
        (classes[str(name)], str(name), value / total)
        for name in (*judges, ABSTAINS)
        if (value := finite(shares.get(name))) is not None and total
    ]
    bar = charts.stacked([(mark, share) for mark, _, share in found if mark != ABSTAINS])
    return (bar if found else None), [(mark, name, percent(share)) for mark, name, share in found]


def _at(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _less(whole: float, part: Any) -> float | None:
    value = finite(part)
    return None if value is None else whole - value


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
