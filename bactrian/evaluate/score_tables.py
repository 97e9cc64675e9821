"""Results as tables: for the terminal, and as Markdown, LaTeX or HTML for papers and pages."""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bactrian.errors import BactrianError
from bactrian.evaluate.scoring import BITS
from bactrian.progress import printable

FORMATS = ("markdown", "latex", "html", "json")
Lines = list[list[str]]


def shown(metric: str, value: float) -> str:
    """A value of a metric: percent; bits per byte as they are."""
    return f"{value:.3f}" if metric == BITS else f"{100 * value:.1f}"


def change_shown(metric: str, value: float) -> str:
    """A difference of two such values with its sign: points; of bits per byte, bits."""
    return f"{value:+.3f}" if metric == BITS else f"{100 * value:+.1f}"


def metric_shown(metric: str) -> str:
    """Its name where changes are told, and which way is better where that is not up."""
    return f"{metric}, less is better" if metric == BITS else metric


def score_lines(results: Mapping[str, Any]) -> tuple[list[str], Lines]:
    """Heads and one line for each score."""
    heads = [
        "task",
        "mode",
        "model",
        "n",
        "metric",
        "score",
        "95 % interval",
        "also",
        "failures",
        "tokens",
        "clean",
        "looks",
        "flags",
    ]
    lines = []
    sampled = any(score["mode"] != "greedy" for score in results["scores"])
    for score in results["scores"]:
        low, high = score["interval"]
        failures = ", ".join(
            f"{n} {name}" for name, n in score["counts"].items() if n and name not in ("right", "wrong")
        )
        looks = results["tasks"].get(score["task"], {}).get("looks")
        flags = "; ".join(f"{flag['name']}: {flag['text']}" for flag in score["flags"])
        name = f"{score['metric']}{', macro' if score['macro'] else ''}"
        lines.append(
            [
                score["task"],
                score["mode"] if sampled else "",
                score["model"],
                f"{score['questions']:,}",
                name,
                shown(score["metric"], score["score"]),
                f"{shown(score['metric'], low)} to {shown(score['metric'], high)}",
                also_text(score),
                failures,
                tokens_text(score),
                clean_text(score),
                str(looks or ""),
                flags,
            ]
        )
    return heads, _without_empty(heads, lines)


def also_text(score: Mapping[str, Any]) -> str:
    """The task's other numbers, those aside that say the score once more."""
    known = {"tokens", "right", "score", score["metric"], "prompt_loose"}
    numbers = [(name.replace("_", " "), value) for name, value in score["numbers"].items() if name not in known]
    return ", ".join(f"{name} {_number_shown(score['metric'], name, value)}" for name, value in numbers)


def _number_shown(metric: str, name: str, value: float) -> str:
    """Lengths of common subsequences are counts, another mean has the score's unit, all else is a share."""
    if name.startswith("lcs "):
        return f"{value:.0f}"
    return shown(metric if name == "mean over questions" else "", value)


def tokens_text(score: Mapping[str, Any]) -> str:
    """Mean tokens, of a model that thinks of thinking and of answer; of ranked answers there are none."""
    if not score.get("mean_thinking_tokens"):
        return f"{score['mean_tokens']:.0f}" if score.get("mean_tokens") else ""
    return f"{score['mean_thinking_tokens']:.0f} thinking + {score['mean_answer_tokens']:.0f}"


def clean_text(score: Mapping[str, Any]) -> str:
    """The score on the questions that training data do not hold, where that is known."""
    clean = score.get("clean")
    if clean is None:
        return ""
    if not clean["questions"]:
        return f"all {clean['held']} are in the training data"
    return f"{shown(score['metric'], clean['score'])} on {clean['questions']:,} ({clean['held']:,} held)"


def _without_empty(heads: list[str], lines: Lines) -> Lines:
    """Take out columns in which no line says anything; `heads` is shortened in place."""
    kept = [place for place in range(len(heads)) if any(line[place] for line in lines)]
    heads[:] = [heads[place] for place in kept]
    return [[line[place] for place in kept] for line in lines]


def average_line(results: Mapping[str, Any], model: str) -> str | None:
    """The plain mean over tasks, as the papers print it; None where there is only one, or bits among them."""
    first: dict[str, Any] = {}  # of a set that was asked in two ways
    for score in results["scores"]:
        if score["model"] == model and score["metric"] != BITS:
            first.setdefault(score["task"], score)
    mine = list(first.values())
    safety = [score for score in mine if score["skill"] == "safety"]
    others = [score["score"] for score in mine if score["skill"] != "safety"]
    if safety:  # the six safety tasks are one row of the average
        others.append(sum(score["score"] for score in safety) / len(safety))
    if len(others) < 2:
        return None
    return f"{model}: mean of {len(others)} rows {100 * sum(others) / len(others):.1f}"


def difference_lines(results: Mapping[str, Any]) -> tuple[list[str], Lines]:
    """Heads and one line for each comparison."""
    comparisons = results["comparisons"]
    heads = ["task", "mode", "from", "to", "difference", "95 % interval", "p", "p (Holm)", "gained", "lost", "test"]
    lines = []
    sampled = any(each["mode"] != "greedy" for each in comparisons)
    for each in comparisons:
        metric = str(results["tasks"].get(each["task"], {}).get("metric", ""))
        low, high = (change_shown(metric, bound) for bound in each["interval"])
        lines.append(
            [
                each["task"],
                each["mode"] if sampled else "",
                each["before"],
                each["after"],
                change_shown(metric, each["difference"]),
                f"{low} to {high}",
                f"{each['p']:.2g}",
                f"{each.get('p_holm', each['p']):.2g}",
                str(each["gained"]),
                str(each["lost"]),
                each["test"],
            ]
        )
    return heads, _without_empty(heads, lines)


ROWS = 50
"""Bad rows of a task that are printed."""


def gold_lines(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], Lines]:
    """Of `gold_check.check_all` heads and a line for each task."""
    heads = [
        "task",
        "questions",
        "gold",
        "right",
        "share",
        "wrong",
        "unparsable",
        "crashed",
        "timed out",
        "wrong answers",
        "called right",
        "s",
        "",
    ]
    lines = []
    for name, each in found.items():
        if state := next((word for word in ("absent", "refused") if word in each), ""):
            lines.append([name, *[""] * (len(heads) - 2), state])
            continue
        counts = each["counts"] or {}
        share = "" if each["share"] is None else f"{each['share']:.1%}"
        failed = [counts.get(outcome, 0) for outcome in ("wrong", "unparsable", "crashed", "timed_out")]
        shown = [f"{n:,}" if n else "" for n in (*failed, each["wrong"], len(each["fooled"]))]
        state = "unfit" if each["fault"] else "no gold" if each["none"] else "some without" if each["without"] else ""
        lines.append(
            [
                name,
                *(f"{each[field]:,}" for field in ("questions", "tried", "right")),
                share,
                *shown,
                f"{each['seconds']:.0f}",
                state,
            ]
        )
    return heads, lines


def gold_rows(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with each task, row by row; what has no gold answer or is no question, and why."""
    lines = []
    for name, each in found.items():
        lines += [f"{name}: {each[word]}" for word in ("absent", "refused") if word in each]
        lines += [f"{name}: {n:,} rows are no question of it: {why}" for why, n in each.get("left_out", {}).items()]
        if each.get("none"):
            lines.append(f"{name}: no gold answers: {each['none']}")
        elif each.get("without"):
            lines.append(f"{name}: {each['without']:,} questions have no gold answer")
        for what, rows in (
            ("a gold answer is not right", each.get("bad", ())),
            ("a wrong answer is called right", each.get("fooled", ())),
        ):
            lines += [
                f"{name}: {what}: question {row['question']}: {row['outcome']}: {row['reason']}: answer "
                f"{row['answer'][-80:]!r}, gold {row['truth'][:80]!r}"
                for row in rows[:ROWS]
            ]
            lines += [f"{name}: and {len(rows) - ROWS:,} more; --json has all"] if len(rows) > ROWS else []
    return [printable(line) for line in lines]


def print_results(results: Mapping[str, Any]) -> None:
    """The scores, differences, absent tasks and averages on standard error."""
    console = Console(stderr=True, markup=False, highlight=False, width=None if sys.stderr.isatty() else 160)
    _print(console, "Scores", *score_lines(results), red="flags")
    if results["comparisons"]:
        _print(console, "Differences", *difference_lines(results))
    for model in results["models"]:
        if (line := average_line(results, model)) is not None:
            console.print(Text(printable(line)))
    for name, why in results.get("absent", {}).items():
        console.print(Text(printable(f"not asked: {name}: {why}")), soft_wrap=True)


def _print(console: Console, title: str, heads: list[str], lines: Lines, red: str = "") -> None:
    table = Table(*heads, title=title, box=SIMPLE)
    for line in lines:
        cells = [Text(printable(cell)) for cell in line]
        if red in heads and line[heads.index(red)]:
            for cell in cells:
                cell.stylize("red")
        table.add_row(*cells)
    console.print(table)


def print_table(title: str, heads: list[str], lines: Lines) -> None:
    """One table on standard output."""
    _print(Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160), title, heads, lines)


def as_text(form: str, heads: Sequence[str], lines: Lines, value: object = None) -> str:
    """A table in one of FORMATS; for "json" the value itself.

    Raises:
        BactrianError: for another format.
    """
    if form == "json":
        return json.dumps(value, indent=1, ensure_ascii=False)
    if form == "markdown":
        written: list[Sequence[str]] = [heads, ["---"] * len(heads), *lines]
        return "\n".join("| " + " | ".join(_markdown(cell) for cell in row) + " |" for row in written)
    if form == "latex":
        body = " \\\\\n".join(" & ".join(map(_latex, row)) for row in lines)
        head = " & ".join(map(_latex, heads))
        return (
            f"\\begin{{tabular}}{{{'l' * len(heads)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
            f"\\bottomrule\n\\end{{tabular}}"
        )
    if form == "html":
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(printable(c))}</td>" for c in row) + "</tr>\n" for row in lines
        )
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    raise BactrianError(f"format: found {form!r}, expected one of {', '.join(FORMATS)}")


def _markdown(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _latex(text: str) -> str:
    return "".join(SPECIAL.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in printable(text).replace("\n", " "))
