"""The commands `bactrian judge …`: calibrate judges on people's labels, use them, plan cascades, look for drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bactrian.cli.shared_options import FiniteRange, store_option, track_option
from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.judge.bills import JudgePrice
    from bactrian.recipe.recipe import Recipe

Run = Callable[["Recipe", Path], None]
STAGES = {"calibrate": "calibrate", "verdicts": "judge"}
"""Command → the stage that it is."""
HELP = {
    "calibrate": "From which confidence on judges may be trusted, by people's labels (stage calibrate).",
    "verdicts": "Which of two answers is better, by a calibrated cascade (stage judge).",
}


def judge_commands(run_recipe: Run, overrides: Callable[..., Any]) -> click.Group:
    """The group. `run_recipe` makes a recipe of one step; `overrides` adds --set."""

    class Commands(click.Group):
        """The two stages are made from their fields, when they are asked for."""

        def list_commands(self, ctx: click.Context) -> list[str]:
            return [*STAGES, *super().list_commands(ctx)]

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in STAGES:
                return super().get_command(ctx, cmd_name)
            from bactrian.cli.stage_command import stage_command
            from bactrian.stages import all_stages

            stage = all_stages()[STAGES[cmd_name]]
            return stage_command(stage, [store_option, track_option, overrides], run_recipe)

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            """Without importing the stages."""
            with formatter.section("Commands"):
                others = {name: command.get_short_help_str(90) for name, command in self.commands.items()}
                formatter.write_dl(list({**HELP, **others}.items()))

    @click.group("judge", cls=Commands)
    def group() -> None:
        """Judges that say how far to trust them: calibrated on people's labels, or silent (docs/judges.md)."""

    group.add_command(cascade_command)
    group.add_command(check_command)
    return group


@click.command("cascade")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--judge", "judges", multiple=True, help="In the order of asking; by default all, cheap ones first.")
@click.option(
    "--alpha",
    "alphas",
    multiple=True,
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=(0.05, 0.1, 0.15, 0.2),
    show_default=True,
    help="Tolerated risk; repeatable.",
)
@click.option(
    "--delta",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Probability with which the guarantee may fail.",
)
@click.option("--method", default="fixed_sequence", show_default=True, help="How thresholds are tested.")
@click.option("--least", type=click.IntRange(min=1), default=30, show_default=True, help="Pairs of a tested threshold.")
@click.option("--separate", is_flag=True, help="Labelled pairs of its own for each judge: the strict version.")
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="JUDGE=IN,OUT[,EACH]",
    help="Price of a million tokens read and written, and of a comparison besides; repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, curves too.")
def cascade_command(
    source: Path,
    judges: tuple[str, ...],
    alphas: tuple[float, ...],
    prices: tuple[str, ...],
    as_json: bool,
    seed: int,
    **how: Any,
) -> None:
    """What a cascade would decide, and at what cost, at several risks. No model is asked anything.

    SOURCE is a calibration's folder, or a file of labelled pairs that has judges' probabilities (judge_probs, judges).
    Coverage and agreement are those on the very pairs that calibrate: `judge check` and fresh labels say the rest.
    """
    from bactrian.cli.judge_tables import cascade_lines, print_cascades
    from bactrian.judge.calibration_run import Levels
    from bactrian.judge.plans import plan_cascade, planned_judges, read_recorded

    labelled, known = read_recorded(source)
    priced = {**known, **{name: price for text in prices for name, price in [_price(text)]}}
    order = planned_judges(labelled, judges, priced, str(source))
    if unknown := sorted(priced.keys() - known.keys() - set(order)):
        raise BactrianError(f"--price: found {unknown[0]!r}, expected one of the judges {', '.join(order)}")
    plans = [plan_cascade(labelled, order, priced, Levels(alpha, **how), seed) for alpha in alphas]
    if as_json:
        click.echo(json.dumps([plan.record() for plan in plans], indent=1, ensure_ascii=False))
        return
    print_cascades(f"{source}: {len(labelled.pairs):,} labelled pairs", cascade_lines(plans), order)


def _price(text: str) -> tuple[str, JudgePrice]:
    """
    Raises:
        BactrianError: for what is not JUDGE=IN,OUT or JUDGE=IN,OUT,EACH.
    """
    from bactrian.judge.bills import JudgePrice

    name, _, numbers = text.rpartition("=")
    try:
        found = [float(each) for each in numbers.split(",")]
    except ValueError:
        found = []
    if not name or len(found) not in (2, 3) or min(found) < 0:
        raise BactrianError(f"--price {text}: expected JUDGE=IN,OUT or JUDGE=IN,OUT,EACH, none of them negative")
    return name, JudgePrice(*found)


@click.command("check")
@click.argument("calibration", type=click.Path(path_type=Path))
@click.option(
    "--judged",
    type=click.Path(path_type=Path),
    multiple=True,
    help="What was judged since: the folder of a step (judge, binarise, prefer, winrate); repeatable, in order.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="Pairs that people labelled since; judges are asked.")
@click.option(
    "--level",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Probability of a false alarm by --judged, however often you look.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
def check_command(
    calibration: Path, judged: tuple[Path, ...], labels: Path | None, level: float, seed: int, as_json: bool
) -> int:
    """Whether a calibration still holds. Status 1: its guarantee is void.

    --judged needs no labels: it bets that confidences are not what they were. To look again later give all folders so
    far, in order: --level is then the probability of a false alarm in all your looks together. --labels bounds the risk
    of what is accepted now.
    """
    from bactrian.judge.calibrated import JudgeCalibration
    from bactrian.judge.checks import CalibrationCheck, check_labels, check_lines, check_traffic, dump, kept_until_done
    from bactrian.judge.labelled import pair_digest, read_labelled
    from bactrian.judge.opened import open_cascade, refuse_calibrated_on
    from bactrian.store.hardware import Hardware

    found = JudgeCalibration.read(calibration)
    if not judged and labels is None:
        raise BactrianError("expected --judged FOLDER, --labels FILE, or both")
    traffic = check_traffic(calibration, judged, level, seed) if judged else {}
    fresh = {}
    if labels is not None:
        given = read_labelled(labels)
        refuse_calibrated_on(calibration, [each.pair for each in given.pairs], str(labels))
        recorded = {pair_digest(each.pair): each.recorded for each in given.pairs}
        cascade = open_cascade(calibration, Hardware(), recorded=recorded)
        with kept_until_done(calibration, given) as journal:
            fresh = check_labels(found, cascade, given.pairs, seed, journal)
    checked = CalibrationCheck(traffic, fresh)
    click.echo(dump(checked) if as_json else "\n".join(check_lines(checked)))
    return 1 if checked.void else 0
