"""Diversity of a set of texts, and one set beside another: lines of a table, and bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report.charts import axis, ruler, stacked, whisker
from bactrian.report.formatting import ABSENT, count, percent

DIRECTIONS = 64
"""Dimensions of the vectors (data/likeness/vectors.py)."""
MOST = 40  # topics that are drawn


@dataclass(frozen=True)
class TopicBar:
    """A topic: its words, its share of each side with a bar, an example."""

    words: str
    shares: list[tuple[str, Markup]]
    example: str


@dataclass(frozen=True)
class LengthBar:
    """Texts of a length, as shares of each side."""

    label: str
    shares: list[tuple[str, Markup]]
    example: str = ""


@dataclass(frozen=True)
class DiversityView:
    """lines: (measure, value, what it is)."""

    caption: str
    lines: list[tuple[str, str, str]]
    topics: list[TopicBar]


@dataclass(frozen=True)
class AgainstView:
    """lines: (measure, A, B, what it is). area: the AUC with its interval, drawn; None where there is none."""

    a: str
    b: str
    caption: str
    verdict: str
    lines: list[tuple[str, str, str, str]]
    area: tuple[Markup, Markup] | None
    lengths: list[LengthBar]
    topics: list[TopicBar]
    tells: list[tuple[str, str]]
    examples: list[dict[str, str]]


def diversity_view(told: Any, of: str = "prompts") -> DiversityView | None:
    """What `bag_diversity` told, or None where that is not what it is (an older artifact has no topics)."""
    if not isinstance(told, Mapping) or not isinstance(found := told.get("topics"), Mapping):
        return None
    try:
        caption = (
            f"Of the {of} of {count(told['texts'])} rows, {count(told['different'])} of them different{drawn(told)}."
        )
        return DiversityView(caption, diversity_lines(told), _topics(found["clusters"], ("share",)))
    except (KeyError, TypeError, ValueError):
        return None


def diversity_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(measure, value, what it is).

    Raises:
        KeyError, TypeError, ValueError: it is not what `bag_diversity` tells.
    """
    sample, found = f"of a sample of {told['sample']:,}", told["topics"]
    low, high = told["dispersion_interval"]
    return [
        *((f"distinct-{n}", _figure(told[f"distinct_{n}"]), sample) for n in (1, 2, 3)),
        ("self-BLEU", _figure(told["self_bleu"]), f"{sample}; 1: all the same"),
        ("copies", percent(told["copies"]), "rows that say what another row says"),
        ("dispersion", _figure(told["dispersion"]), f"mean cosine distance, {low:.3f} to {high:.3f}; 0: all the same"),
        ("directions", f"{told['directions']:.1f}", f"of {DIRECTIONS} that are used if all are used alike"),
        ("topics' entropy", f"{found['entropy']:.2f}", f"bits; {found['k']} equal topics have {found['most']:.2f}"),
    ]


def against_view(told: Mapping[str, Any], names: Mapping[str, str], of: str) -> AgainstView:
    """What `against` told."""
    sides = (f"{count(told[s]['rows'])} texts, {count(told[s]['different'])} different{drawn(told[s])}" for s in "ab")
    caption = f"The {of}. A: {'; B: '.join(sides)}."
    test = told["two_sample"]
    area = None
    if test["auc"] is not None:
        scale = axis(min(0.4, test["interval"][0]), 1.0)
        area = whisker(scale, test["auc"], tuple(test["interval"]), "full"), ruler(scale, lambda tick: f"{tick:.1f}")
    tells = [(side.upper(), tells_text(told, side)) for side in "ab" if test[f"tells_{side}"]]
    examples = [
        {"a": each["a"], "b": each["b"], "said": f"ROUGE-L {each['rouge_l']:.2f}, distance {each['distance']:.2f}"}
        for each in told["copies"]["examples"]
    ]
    topics = _topics(told["topics"]["clusters"], ("a", "b"))
    lengths = _lengths(told["lengths"]["words"]["shares"])
    lines = against_lines(told)
    return AgainstView(names["a"], names["b"], caption, verdict(told), lines, area, lengths, topics, tells, examples)


def verdict(told: Mapping[str, Any]) -> str:
    """The test and the copies in a sentence."""
    test, copies = told["two_sample"], told["copies"]
    if test["auc"] is None:
        first = f"Too few different texts to tell the sets apart ({test['a']} and {test['b']})."
    elif test["interval"][0] <= 0.5:
        first = "A simple classifier cannot tell the two sets apart."
    else:
        first = (
            f"Of one text from each set, a simple classifier says rightly which is which in {percent(test['auc'], 0)}."
        )
    return f"{first} {percent(copies['exact']['share'])} of A's texts stand in B word for word."


def against_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """(measure, A, B, what it is)."""
    return [*_length_lines(told["lengths"]), *_spread_lines(told), *_distance_lines(told)]


def _length_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    lines = []
    for unit in ("characters", "words"):
        each = told[unit]
        a, b = (f"{each[s]['q05']:,.0f} · {each[s]['q50']:,.0f} · {each[s]['q95']:,.0f}" for s in "ab")
        note = f"5 %, median and 95 %; the shares up to a length differ by at most {percent(each['gap'])}"
        lines.append((unit, a, b, note))
    return lines


def _spread_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    distinct, topics, lines = told["distinct"], told["topics"], []
    for n in (1, 2, 3):
        each = distinct[f"distinct_{n}"]
        ranges = " and ".join(f"{each[s]['least']:.3f} to {each[s]['most']:.3f}" for s in "ab")
        note = f"{distinct['draws']} draws of {distinct['words']:,} words: {ranges}"
        lines.append((f"distinct-{n}", _figure(each["a"]["mean"]), _figure(each["b"]["mean"]), note))
    bleu, spread = distinct["self_bleu"], told["dispersion"]
    lines.append(("self-BLEU", _figure(bleu["a"]), _figure(bleu["b"]), f"of {bleu['texts']:,} texts each"))
    ranges = " and ".join("{:.3f} to {:.3f}".format(*spread[s]["interval"]) for s in "ab")
    lines.append(("dispersion", _figure(spread["a"]["value"]), _figure(spread["b"]["value"]), f"95 %: {ranges}"))
    a, b = (f"{told['directions'][s]:.1f}" for s in "ab")
    lines.append(("directions", a, b, f"of {DIRECTIONS}"))
    a, b = (f"{topics['entropy'][s]:.2f}" for s in "ab")
    lines.append(("topics' entropy", a, b, f"bits, of {topics['k']} topics of both sets together"))
    low, high = map(percent, topics["by_chance"])
    note = f"share of topics in common; two draws from one source have {low} to {high}"
    return [*lines, ("topic overlap", percent(topics["overlap"]), "", note)]


def _distance_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    test, copies = told["two_sample"], told["copies"]
    low, high = test["interval"]
    note = f"95 %: {low:.3f} to {high:.3f}; 0.5: cannot be told apart"
    note = note if test["auc"] is not None else "fewer than 10 different texts on a side"
    exact, near, nearer = copies["exact"], copies["near"], copies["nearer"]
    lines = [
        ("told apart (AUC)", _figure(test["auc"]), "", note),
        ("word for word in B", percent(exact["share"]), "", f"{exact['texts']:,} texts of A"),
        (
            "nearly in B",
            percent(near["share"]),
            "",
            f"{near['texts']:,} texts of A: ROUGE-L above 0.7 with the nearest",
        ),
    ]
    a, b = (_figure(copies[s]["q50"]) if copies[s] else ABSENT for s in ("a_to_b", "b_to_b"))
    lines.append(("distance to nearest", a, b, "median; from A to B, and from B to the rest of B"))
    if nearer:
        low, high = map(percent, nearer["interval"])
        note = f"95 %: {low} to {high}; as near to B as only {percent(nearer['usual'])} of B's texts are to one another"
        lines.append(("nearer than usual", percent(nearer["share"]), "", note))
    return lines


def tells_text(told: Mapping[str, Any], side: str) -> str:
    """What a side is told by, in words."""
    other = "b" if side == "a" else "a"
    return ", ".join(
        f"{each['feature']} {each[side]:+.2f} ({each[other]:+.2f})"
        if each["feature"] == "(length)"
        else f"{each['feature']} {percent(each[side], 0)} ({percent(each[other], 0)})"
        for each in told["two_sample"][f"tells_{side}"]
    )


def drawn(about: Mapping[str, Any]) -> str:
    """A remark where not all texts were looked at."""
    return " (a draw)" if about.get("drawn") else ""


def _topics(clusters: Any, sides: tuple[str, ...]) -> list[TopicBar]:
    most = max((float(each[side]) for each in clusters for side in sides), default=0) or 1
    return [
        TopicBar(
            ", ".join(map(str, each["words"])) or "(no telling word)",
            [(percent(each[side]), stacked([(f"side-{side}", each[side] / most)])) for side in sides],
            str(each.get("example", "")),
        )
        for each in clusters[:MOST]
    ]


def _lengths(shares: Any) -> list[LengthBar]:
    most = max((each[side] for each in shares for side in "ab"), default=0) or 1
    return [
        LengthBar(
            f"{each['least']:,}" if each["least"] < 2 else f"{each['least']:,} – {2 * each['least'] - 1:,}",
            [(percent(each[side]), stacked([(f"side-{side}", each[side] / most)])) for side in "ab"],
        )
        for each in shares
    ]


def _figure(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"
