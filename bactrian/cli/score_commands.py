"""What is said of evaluations that are there: `compare` holds two against each other, `scores` shows them as a table,
`power` says how many questions a difference needs, `ledger` who looked at what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bactrian.cli.shared_options import FiniteRange, store_option
from bactrian.errors import BactrianError


@click.command("compare")
@click.argument("before")
@click.argument("after")
@click.option("--flips", type=click.IntRange(min=0), default=3, show_default=True, help="Flipped questions to show.")
@click.option("--groups", is_flag=True, help="Show the groups of each task (subjects, categories).")
@click.option(
    "--to",
    "form",
    type=click.Choice(["terminal", "markdown", "latex", "html", "json"]),
    default="terminal",
    show_default=True,
)
def compare_command(before: str, after: str, flips: int, groups: bool, form: str) -> None:
    """Two evaluations on the same questions, paired: FOLDER, or FOLDER:MODEL where it holds several models.

    A file of lm-evaluation-harness's samples is read too.
    """
    from bactrian.evaluate import comparison
    from bactrian.evaluate.score_tables import as_text, print_table

    sides = [side_of(ref) for ref in (before, after)]
    found = comparison.compare(*sides)
    names = [side.name for side in sides]
    heads = ["task", "metric", "n", *names, "difference", "95 % interval", "p", "p (Holm)", "test"]
    lines = [difference_line(each) for each in found]
    if form != "terminal":
        value = comparison.as_json(found, sides[0].name, sides[1].name)
        click.echo(as_text(form, heads, lines, value))
        return
    print_table(f"{sides[0].name} → {sides[1].name}", heads, lines)
    for each in found:
        if groups and len(each.groups) > 1:
            print_table(
                each.task,
                ["group", "n", sides[0].name, sides[1].name, "difference"],
                [group_line(each.metric, name, *numbers) for name, numbers in each.groups.items()],
            )
        show_flips(each, flips)


def side_of(ref: str) -> Any:
    from bactrian.evaluate.comparison import read_side
    from bactrian.evaluate.harness import is_samples, side_of_samples

    return side_of_samples(Path(ref)) if is_samples(Path(ref)) else read_side(ref)


def difference_line(each: Any) -> list[str]:
    from bactrian.evaluate.score_tables import change_shown, metric_shown, shown

    low, high = (change_shown(each.metric, bound) for bound in each.comparison.interval)
    return [
        each.task,
        metric_shown(each.metric),
        f"{each.n:,}",
        shown(each.metric, each.before),
        shown(each.metric, each.after),
        change_shown(each.metric, each.comparison.difference),
        f"{low} to {high}",
        f"{each.comparison.p:.2g}",
        f"{each.adjusted:.2g}",
        each.comparison.test,
    ]


def group_line(metric: str, name: str, before: float, after: float, n: int) -> list[str]:
    from bactrian.evaluate.score_tables import change_shown, shown

    return [name, str(n), shown(metric, before), shown(metric, after), change_shown(metric, after - before)]


def show_flips(each: Any, limit: int) -> None:
    """The first questions that only one of the two has right, with the right answer and both given.

    A text is neither right nor wrong: of bits per byte, how many texts take fewer and how many more.
    """
    from bactrian.evaluate.scoring import BITS

    if each.metric == BITS:
        found = each.comparison
        click.echo(f"{each.task}: {found.gained:,} of {each.n:,} texts take fewer bits, {found.lost:,} more")
        return
    gained = [flip for flip in each.flips if flip.after > flip.before]
    lost = [flip for flip in each.flips if flip.after < flip.before]
    click.echo(f"{each.task}: {len(gained)} gained, {len(lost)} lost")
    for word, flips in (("gained", gained), ("lost", lost)):
        for flip in flips[:limit]:
            named = {"question": flip.prompt, "gold": flip.gold, "before": flip.answers[0], "after": flip.answers[1]}
            click.echo(f"  {word} {flip.question} {flip.group}".rstrip())
            for label, text in named.items():
                click.echo(f"    {label + ':':<10}{_ending(text, 400 if label == 'question' else 160)}")


def _ending(text: str, limit: int) -> str:
    """A text in one line, of a long one the end: there stand a question's question and an answer's answer."""
    from bactrian.progress import printable

    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"… {line[-limit:]}"


@click.command("scores")
@click.argument("folders", nargs=-1, required=True)
@click.option(
    "--to",
    "form",
    type=click.Choice(["terminal", "markdown", "latex", "html", "json", "lm-eval"]),
    default="terminal",
    show_default=True,
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for lm-evaluation-harness's files.")
def scores_command(folders: tuple[str, ...], form: str, out: Path | None) -> None:
    """The scores of an evaluation as a table, or as results and samples in lm-evaluation-harness's layout.

    Several evaluations, FOLDER or FOLDER:MODEL, are taken for training seeds of one recipe: mean and spread.
    """
    from bactrian.evaluate.harness import write_results
    from bactrian.evaluate.records import read_records
    from bactrian.evaluate.results import read_results
    from bactrian.evaluate.score_tables import as_text, print_table, score_lines

    if len(folders) > 1:
        return seeds_table(folders, form)
    folder = Path(folders[0])
    results = read_results(folder)
    if form == "lm-eval":
        if out is None:
            raise BactrianError("--to lm-eval writes files: name a folder with --out")
        for written in write_results(out, results, read_records(folder / "questions.parquet")):
            click.echo(written)
        return
    heads, lines = score_lines(results)
    if form == "terminal":
        print_table("Scores", heads, lines)
    else:
        click.echo(as_text(form, heads, lines, results))
    return None


def seeds_table(folders: tuple[str, ...], form: str) -> None:
    """Each task's mean over runs, their standard deviation and the mean's interval (Student's t)."""
    from bactrian.evaluate.comparison import mean_of, read_side, refuse_edited
    from bactrian.evaluate.power import seed_spread
    from bactrian.evaluate.score_tables import as_text, metric_shown, print_table, shown
    from bactrian.evaluate.scoring import SHARE

    sides = [read_side(folder) for folder in folders]
    tasks = [task for task in sides[0].records if all(task in side.records for side in sides)]
    if not tasks:
        raise BactrianError(f"no task was answered in all of {', '.join(folders)}")
    for task in tasks:
        for side in sides[1:]:
            refuse_edited(task, sides[0].tasks.get(task, {}), side.tasks.get(task, {}))
    lines, found = [], {}
    for task in tasks:
        scores = [mean_of(task, side) for side in sides]
        mean, deviation, (low, high) = seed_spread(scores)
        found[task] = {"scores": scores, "mean": mean, "deviation": deviation, "interval": [low, high]}
        metric = str(sides[0].tasks.get(task, {}).get("metric", SHARE))
        listed = ", ".join(shown(metric, score) for score in scores)
        interval = f"{shown(metric, low)} to {shown(metric, high)}"
        lines.append([task, metric_shown(metric), listed, shown(metric, mean), shown(metric, deviation), interval])
    heads = ["task", "metric", "scores", "mean", "deviation", "95 % interval of the mean"]
    if form == "terminal":
        print_table(f"spread over {len(sides)} runs", heads, lines)
    else:
        click.echo(as_text(form, heads, lines, found))


@click.command("power")
@click.option("--questions", "-n", type=click.IntRange(min=2), help="Questions: which difference can they show?")
@click.option("--difference", type=float, help="Points of difference: how many questions does it need?")
@click.option("--score", type=FiniteRange(0, 100), default=50.0, show_default=True, help="Score, percent.")
@click.option(
    "--disagree",
    type=FiniteRange(0, 100),
    help="Percent of questions on which two models differ; by default as for independent answers.",
)
@click.option("--power", type=FiniteRange(0.01, 0.999), default=0.8, show_default=True)
@click.option("--alpha", type=FiniteRange(1e-6, 0.5), default=0.05, show_default=True)
@click.option(
    "--tests", type=click.IntRange(min=1), default=1, show_default=True, help="Tasks that are tested at once."
)
def power_command(
    questions: int | None,
    difference: float | None,
    score: float,
    disagree: float | None,
    power: float,
    alpha: float,
    tests: int,
) -> None:
    """How small a difference of two models so many questions can show, or how many questions a difference needs."""
    from bactrian.evaluate.power import detectable, needed, spread_of

    if (questions is None) == (difference is None):
        raise BactrianError("expected either --questions N or --difference POINTS")
    if difference is not None and not 0 < abs(difference) <= 100:
        raise BactrianError(f"--difference: found {difference:g}, expected points of a score, more than 0, at most 100")
    if not 0 < score < 100:
        raise BactrianError(
            f"--score: found {score:g}: where all is right or all wrong no difference has an error; "
            f"expected more than 0 and less than 100"
        )
    if disagree is not None and (disagree == 0 or (difference is not None and abs(difference) > disagree)):
        raise BactrianError(
            f"--disagree: found {disagree:g}: two models that differ on {disagree:g} % of the "
            f"questions cannot be {abs(difference or 1):g} points apart"
        )
    level = alpha / tests
    apart = None if disagree is None else disagree / 100
    if questions is not None:
        found = detectable(questions, score / 100, apart, power, level)
        click.echo(
            f"{questions:,} questions, score about {score:g} %: a paired difference of {100 * found:.2f} points "
            f"is found {power:.0%} of the time (two-sided {level:.2g}); one model's own 95 % interval is about "
            f"± {100 * spread_of(questions, score / 100):.2f} points"
        )
    else:
        assert difference is not None
        n = needed(abs(difference) / 100, score / 100, apart, power, level)
        click.echo(
            f"{n:,} questions find a paired difference of {abs(difference):g} points at a score of about "
            f"{score:g} % {power:.0%} of the time (two-sided {level:.2g})"
        )


@click.command("ledger")
@click.option("--rebuild", is_flag=True, help="Where it lost lines and no copy is left: write what results prove.")
@store_option
def ledger_command(rebuild: bool, store: Path) -> None:
    """Who looked at which unseen task with which model, and whether the ledger is whole."""
    from bactrian.evaluate.ledger import GAP, Ledger
    from bactrian.evaluate.score_tables import print_table
    from bactrian.store.artifact import Store

    if not store.is_dir():
        raise BactrianError(f"{store}: no such folder; expected a store, whose ledger it is (--store)")
    ledger = Ledger(Store(store))
    if rebuild:
        click.echo(f"{ledger.path}: {len(ledger.rebuild())} lines written anew")
    looks = ledger.checked()
    copied = ledger.all_looks()[sum(look.rebuilt != GAP for look in looks) :]
    lines = [
        [str(look.number), look.when, look.who, look.task, look.model, look.model_hash[:12], look.reason, look.rebuilt]
        for look in looks
    ]
    lines += [
        [
            "",
            look.when,
            look.who,
            look.task,
            look.model,
            look.model_hash[:12],
            look.reason,
            f"copied in; line {look.number} of ledger {look.ledger}",
        ]
        for look in copied
    ]
    print_table("Looks at unseen tasks", ["", "when", "who", "task", "model", "weights", "reason", "from"], lines)
    gaps = sum(look.rebuilt == GAP for look in looks)
    click.echo(
        f"{len(looks) - gaps} looks; every seal fits"
        + (f"; rebuilt with {gaps} gaps" if gaps else "")
        + (f"; {len(copied)} more by results of other stores" if copied else "")
    )
