"""`bactrian verify`: how often a verifier errs; what a file of completions scores; which verifiers there are."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bactrian.cli.shared_options import FiniteRange

if TYPE_CHECKING:
    from bactrian.evaluate.checking import Case, Rate
    from bactrian.verify import Verdict

_workers = click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
_timeout = click.option(
    "--timeout",
    type=FiniteRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds of processor time for one verdict.",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")


@click.group("verify")
def verify_commands() -> None:
    """Verifiers: what is right, and how sure that is."""


@verify_commands.command("list")
def list_verifiers() -> None:
    """The names of all verifiers, other packages' too, and what each does."""
    from bactrian.verify import names, verifier

    for name in names():
        does = (verifier(name).check.__doc__ or "").strip().split("\n")[0]
        settings = ", ".join(f"{key}={value!r}" for key, value in verifier(name).settings.items())
        click.echo(f"{name:16} {does}{f'  [{settings}]' if settings else ''}")


@verify_commands.command()
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Problem rows with solutions, too.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows of DATA, from the first.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the mutations.")
@_workers
@_timeout
@_json
def check(
    name: str, data: Path | None, limit: int | None, seed: int, workers: int, timeout: float, as_json: bool
) -> int:
    """Error rates of a verifier on gold answers, hard negatives and mutations. Exits with 1 if it errs.

    NAME is one of `bactrian verify list`, or FILE.py:FUNCTION.
    """
    from bactrian.errors import BactrianError
    from bactrian.evaluate.checking import check as check_verifier
    from bactrian.evaluate.checking import own_cases, row_cases
    from bactrian.store.own_files import is_own
    from bactrian.verify import Pool

    name = _known(name)
    cases = list(own_cases(name))
    if data is not None:
        from bactrian.data.io.files import read_rows

        cases += row_cases(name, read_rows(data, "problem", name if is_own(name) else None)[:limit], str(data))
    if not cases:
        raise BactrianError(f"{name} has no examples of its own here: give --data, problem rows with solutions")
    with Pool(workers, timeout) as pool:
        rates, errors = check_verifier(name, cases, pool, seed)
    if as_json:
        found = [
            {
                "completion": case.item.completion,
                "ground_truth": case.item.ground_truth,
                "right": case.right,
                "kind": case.kind,
                **asdict(verdict),
            }
            for case, verdict in errors
        ]
        click.echo(json.dumps({"verifier": name, "rates": [asdict(each) for each in rates], "errors": found}))
    else:
        print_rates(name, rates, errors)
    return 1 if errors else 0


@verify_commands.command()
@click.argument("name")
@click.option("--count", type=click.IntRange(min=1), default=2000, show_default=True, help="Hostile answers.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the answers.")
@_workers
@_timeout
@_json
def fuzz(name: str, count: int, seed: int, workers: int, timeout: float, as_json: bool) -> int:
    """Put hostile LaTeX to the verifier of mathematics NAME. Exits with 1 if one answer crashes or hangs it."""
    from bactrian.errors import BactrianError
    from bactrian.evaluate.checking import MATHS
    from bactrian.evaluate.fuzzing import fuzz as put_hostile_answers
    from bactrian.progress import printable, progress
    from bactrian.verify import Pool

    if name not in (*MATHS, "math_strict", "math_minerva"):
        raise BactrianError(f"found {name!r}, expected a verifier of mathematics: {', '.join(MATHS)}, …")
    with Pool(workers, timeout) as pool, progress(f"fuzz {name}", total=count, unit="answer") as bar:
        found = put_hostile_answers(name, count, pool, seed, bar.advance)
    failed = [
        {"completion": item.completion, "ground_truth": item.ground_truth, **asdict(verdict)}
        for item, verdict in found.failures
    ]
    if as_json:
        click.echo(json.dumps({"verifier": name, "n": count, "outcomes": found.counts, "failures": failed}))
    else:
        said = ", ".join(f"{n:,} {outcome.replace('_', ' ')}" for outcome, n in sorted(found.counts.items()))
        click.echo(f"{name}: {count:,} hostile answers: {said}; {len(failed):,} crashed or timed out")
        for each in failed:
            click.echo(printable(f"{each['outcome']} ({each['reason']}): {each['completion']!r}"))
    return 1 if failed else 0


@verify_commands.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--verifier", "name", help="Of all rows, in place of what they name in 'dataset'; FILE.py:FUNCTION is your own."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Rows with their verdicts (JSONL).")
@_workers
@_timeout
@_json
def score(file: Path, name: str | None, output: Path | None, workers: int, timeout: float, as_json: bool) -> None:
    """Score a FILE of completions: rows with completion, ground_truth, dataset and perhaps settings and finish."""
    from bactrian.evaluate.completion_files import read_completions, score_rows, summary, write_verdicts
    from bactrian.verify import Pool

    rows = read_completions(file, None if name is None else _known(name))
    with Pool(workers, timeout) as pool:
        verdicts = score_rows(rows, pool)
    if output is not None:
        write_verdicts(output, rows, verdicts)
    found = summary(rows, verdicts)
    if as_json:
        click.echo(json.dumps({"file": str(file), **asdict(found)}))
        return
    low, high = found.interval
    counts = ", ".join(f"{n:,} {outcome.replace('_', ' ')}" for outcome, n in found.counts.items() if n)
    click.echo(f"{found.n:,} completions of {found.questions:,} questions: {counts}")
    click.echo(f"right: {found.score:.1%} (95 % interval {low:.1%} to {high:.1%}); mean score {found.mean_score:.3f}")
    if found.parts is not None:
        click.echo(f"single instructions kept: {found.parts:.1%}")


def _known(name: str) -> str:
    """A verifier's name; one in a user's own file, FILE.py:FUNCTION, is tried first.

    Raises:
        BactrianError: there is no such file or function, or it cannot be called.
    """
    from bactrian.errors import BactrianError
    from bactrian.store.own_files import names_file, problem_with
    from bactrian.verify import check_own, use_own

    if names_file(name, "verifier"):
        if problem := problem_with(name, "verifier"):
            raise BactrianError(f"found {problem[0]}, expected {problem[1]}")
        check_own([use_own(name)])
    return name


def print_rates(name: str, rates: "Sequence[Rate]", errors: "Sequence[tuple[Case, Verdict]]") -> None:
    """The table, then the errors; texts of models and data without control characters."""
    from rich.table import Table
    from rich.text import Text

    from bactrian.cli.tables import open_console
    from bactrian.evaluate.checking import REPORTED
    from bactrian.progress import printable

    table = Table("cases", "label", "n", "errors", "rate", "95 % interval", "verdicts", title=f"Verifier {name}")
    for each in rates:
        low, high = each.interval
        said = ", ".join(f"{n} {outcome.replace('_', ' ')}" for outcome, n in sorted(each.outcomes.items()))
        table.add_row(
            each.kind,
            "right" if each.right else "not right",
            f"{each.n:,}",
            f"{each.errors:,}",
            f"{each.errors / each.n:.2%}",
            f"{low:.2%} to {high:.2%}",
            said,
        )
    out = open_console()
    out.print(table)
    for case, verdict in errors[:REPORTED]:
        label = "right" if case.right else "not right"
        out.print(
            Text(
                printable(
                    f"{case.kind}, {label}, called {verdict.outcome} ({verdict.reason}): "
                    f"{case.item.completion[-120:]!r} against {case.item.ground_truth[:80]!r}"
                )
            )
        )
    if len(errors) > REPORTED:
        out.print(f"… and {len(errors) - REPORTED:,} more; --json has all")
