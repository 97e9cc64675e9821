"""The command line: run, plan, rehearse, show, report, chat, and one sub-command per stage, made from its fields."""

import os
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bactrian import __version__
from bactrian.cli.board_command import board_command
from bactrian.cli.data_command import data_command
from bactrian.cli.eval_command import eval_command
from bactrian.cli.export_command import export_command, push_command
from bactrian.cli.hand_command import hand_command
from bactrian.cli.init_command import init_command
from bactrian.cli.judge_command import judge_commands
from bactrian.cli.launch_command import launch_command
from bactrian.cli.recipe_commands import convert_command, doctor_command, recipes_command, schema_command
from bactrian.cli.sandbox_command import sandbox_commands
from bactrian.cli.score_commands import compare_command, ledger_command, power_command, scores_command
from bactrian.cli.shared_options import FiniteRange, asked_to_track, store_option, track_option
from bactrian.cli.think_command import model_folder, think
from bactrian.cli.trace_command import trace_command
from bactrian.cli.verify_command import verify_commands
from bactrian.errors import BactrianError

# glibc gives freed memory back to the kernel and asks for it again at each training step; with these it keeps it.
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456"}
_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
# OpenMP's threads spin for about a millisecond when they wait. Where another program has one of the cores, each of a
# step's thousands of short parallel regions then waits for a time slice; a thread that sleeps is woken at once.
_SPIN = {"GOMP_SPINCOUNT": "1000"}
_WITHOUT_TORCH = (
    *("init", "plan", "launch", "show", "report", "board", "recipes", "convert", "schema"),
    *("data", "sandbox", "verify", "compare", "scores", "power", "ledger", "annotate-by-hand", "trace"),
)

_set = click.option(
    "--set", "overrides", multiple=True, metavar="STEP.FIELD=VALUE", help="Change a setting; repeatable."
)
_recipe = click.argument("recipe", type=click.Path(path_type=Path))
_run_name = click.option("--run", "run_name", help="The run (recipe name) in which ARTIFACT is a step.")


def main() -> None:
    """Entry point: runs the command line and exits.

    Status: 0, 1 (a bug), 2 (bad input, or a limit of the machine), or of a signal 130 (Ctrl-C), 143 or 129.
    """
    arguments = sys.argv[1:]
    for name, value in {**_QUIET, **({} if "OMP_WAIT_POLICY" in os.environ else _SPIN)}.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():  # a bar of a library's own would fill a log file with half-finished lines
        os.environ.setdefault("TQDM_DISABLE", "1")
    if "RANK" in os.environ or "SLURM_STEP_ID" in os.environ:  # when a peer is lost, torch prints its own stack
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    _keep_freed_memory(arguments)
    try:
        status: Any = invoke(arguments)
    except SystemExit as end:  # of several processes only one says why
        status = end.code
    _leave(status)


def _leave(status: Any) -> None:
    """End the process; at once where others of its group ended early, whose calls some thread may await for ever."""
    from bactrian.store import processes

    if processes.broken:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; messages go to standard error."""
    from bactrian.progress import printable
    from bactrian.stopping import Stop, listening

    try:
        with listening():
            status = commands.main(list(arguments), prog_name="bactrian", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__ or error  # click has its own name for an interrupt
        if isinstance(cause, EOFError):  # and takes a file that ends too early for the end of what is typed
            print(printable("".join(traceback.format_exception(cause))), file=sys.stderr)
            return 1
        stop = cause if isinstance(cause, Stop) else Stop(signal.SIGINT)
        print(printable(str(stop)), file=sys.stderr)
        return stop.status
    except BactrianError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except Exception as error:
        from bactrian.store.machine_limits import refusal

        if (said := refusal(error)) is not None:
            print(f"error: {printable(said)}", file=sys.stderr)
            return 2
        for note in getattr(error, "__notes__", ()):
            print(f"bactrian failed {printable(note)}", file=sys.stderr)
        print(printable("".join(traceback.format_exception(error))), file=sys.stderr)
        return 1


SECTIONS = {
    "Recipes": ("init", "run", "plan", "rehearse", "launch", "show", "report", "board", "recipes", "convert", "schema"),
    "Models": ("chat", "think", "eval", "judge", "compare", "scores", "power", "ledger", "export", "push"),
    "Data, verifiers, machine": ("data", "trace", "annotate-by-hand", "verify", "sandbox", "doctor"),
}
ROOMS = {
    "data": "Stages, data",
    "tune": "Stages, training",
    "rl": "Stages, reinforcement learning",
    "judge": "Stages, preferences and judges",
    "synth": "Stages, synthetic data",
    "reliability": "Stages, reliability",
    "measure": "Stages, measuring",
}


def _shortened(text: str, width: int) -> str:
    """The first paragraph in one line."""
    return textwrap.shorten(text.strip().split("\n\n")[0], width, placeholder=" …")


class _Commands(click.Group):
    """The fixed commands, then one per stage."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In sections, without importing the stages."""
        from bactrian.cli.stage_outlines import outlines

        named = {name for names in SECTIONS.values() for name in names}
        assert named == self.commands.keys(), f"in no section of the help: {named ^ self.commands.keys()}"
        sections = {
            title: {name: self.commands[name].help or "" for name in names} for title, names in SECTIONS.items()
        }
        rooms = {
            room: {
                name: text for name, text in stages.items() if name not in named
            }  # stage judge is in a group of its own
            for room, stages in outlines().items()
        }
        order = sorted(rooms, key=lambda room: [*ROOMS, room].index(room))
        sections |= {ROOMS.get(room, f"Stages, {room}"): rooms[room] for room in order}
        width = max(len(name) for each in sections.values() for name in each)
        limit = formatter.width - 6 - width
        for title, each in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), _shortened(text, limit)) for name, text in each.items()])

    def list_commands(self, ctx: click.Context) -> list[str]:
        from bactrian.stages import all_stages

        return list(dict.fromkeys([*self.commands, *all_stages()]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from bactrian.stages import all_stages

        if cmd_name in self.commands:
            return self.commands[cmd_name]
        stage = all_stages().get(cmd_name)
        if stage is None:
            return None
        from bactrian.cli.stage_command import stage_command

        return stage_command(stage, [store_option, track_option, _set], _run_recipe)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from bactrian.errors.wording import nearest

        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            meant = nearest(args[0], self.list_commands(ctx))
            ctx.fail(f'no command "{args[0]}"' + (f'; did you mean "{meant}"?' if meant else "; see bactrian --help"))
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def commands() -> None:
    """Open post-training: one recipe file takes a language model from its base to a report.

    Stages are commands too: `bactrian STAGE --help` lists their settings.
    """


@commands.command()
@_recipe
@_set
@click.option("--only", metavar="STEP", help="Make just this step; its inputs must exist.")
@click.option("--from", "from_step", metavar="STEP", help="Make this step and all after it again.")
@track_option
@store_option
def run(recipe: Path, overrides: tuple[str, ...], only: str | None, from_step: str | None, store: Path) -> None:
    """Make what is missing of a recipe, resuming what was cut; then write the report."""
    from bactrian.recipe.recipe import load

    _run_recipe(load(recipe, overrides), store, only, from_step)


@commands.command()
@_recipe
@_set
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON: seconds, bytes, FLOPs, GPU-hours.")
@store_option
def plan(recipe: Path, overrides: tuple[str, ...], as_json: bool, store: Path) -> int:
    """Show the steps, what exists, and what the rest would take. Makes nothing. Status 2: `run` would refuse."""
    from bactrian.cli.plan_table import plan_json, print_plan
    from bactrian.recipe.recipe import load
    from bactrian.run.plan import plan as make_plan
    from bactrian.store.artifact import Store

    made = make_plan(load(recipe, overrides), Store(store))
    if as_json:
        click.echo(plan_json(made))
    else:
        print_plan(made)
    return 2 if made.lack else 0


@commands.command()
@_recipe
@_set
@click.option("--family", metavar="NAME", help="Of models whose name does not say it: llama, olmo2, qwen3, …")
@store_option
def rehearse(recipe: Path, overrides: tuple[str, ...], family: str | None, store: Path) -> None:
    """Run every step of a recipe at toy scale: made-up rows, tiny models of random weights, this machine.

    Nothing is downloaded. What is made lies in the store's folder rehearsal, and means nothing.
    """
    from bactrian.run.rehearsal.rehearse import rehearse as run_rehearsal
    from bactrian.store.artifact import Store

    run_rehearsal(recipe, Store(store / "rehearsal"), overrides, family)


@commands.command()
@click.argument("artifact")
@_run_name
@click.option("--json", "as_json", is_flag=True, help="The manifest as it is.")
@store_option
def show(artifact: str, run_name: str | None, as_json: bool, store: Path) -> None:
    """Print a manifest: ARTIFACT is a folder, the beginning of a key, or with --run a step's name."""
    from bactrian.cli.tables import print_manifest
    from bactrian.store.artifact import Store
    from bactrian.store.manifest import MANIFEST, Manifest

    folder = Store(store).locate(artifact, run_name)
    manifest = Manifest.read(folder)
    manifest.check_inputs(folder)
    if as_json:
        click.echo((folder / MANIFEST).read_text())
    else:
        print_manifest(folder, manifest)


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@store_option
def report(run: Path, store: Path) -> None:
    """Write the report of a run; RUN is its folder or its name."""
    from bactrian.report import write_report

    click.echo(write_report(run if run.is_dir() else store / run))


@commands.command()
@click.argument("model")
@_run_name
@click.option("--temperature", type=FiniteRange(min=0), default=0.7, show_default=True, help="0 is greedy.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--trace", "corpora", multiple=True, metavar="CORPUS", help="Show what of each answer stands in it.")
@store_option
def chat(
    model: str,
    run_name: str | None,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    corpora: tuple[str, ...],
    store: Path,
) -> None:
    """Talk to a model: an artifact (as in `show`), embedded:NAME, a folder or a Hub id.

    --trace takes what `bactrian trace --corpus` takes, a model among them: its own training data.
    """
    from bactrian.cli.chat_console import chat as talk

    traced = None
    if corpora:
        from bactrian.cli.trace_command import LEAST, open_index
        from bactrian.cli.trace_console import TracedAnswers

        traced = TracedAnswers(open_index(corpora, run_name, store), LEAST, sys.stdout)
    folder = model_folder(model, run_name, store)
    talk(
        folder,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        source=sys.stdin,
        target=sys.stdout,
        traced=traced,
    )


commands.add_command(sandbox_commands)
commands.add_command(verify_commands)
commands.add_command(hand_command)
commands.add_command(think)
commands.add_command(trace_command)
for _command in (
    board_command,
    data_command,
    init_command,
    recipes_command,
    schema_command,
    convert_command,
    doctor_command,
    launch_command,
):
    commands.add_command(_command)
for _command in (compare_command, scores_command, power_command, ledger_command, export_command, push_command):
    commands.add_command(_command)


def _run_recipe(recipe: Any, store: Path, only: str | None = None, from_step: str | None = None) -> None:
    from bactrian.run.runner import run as run_recipe
    from bactrian.run.together import follow
    from bactrian.store.artifact import Store
    from bactrian.store.processes import met

    command = shlex.join(["bactrian", *sys.argv[1:]])
    if named := asked_to_track():
        recipe = replace(recipe, track=named)
    with met() as group:  # started by torchrun or srun there are several; only one of them writes
        if group.leader:
            run_recipe(recipe, Store(store), only, from_step, command, group=group)
        else:
            follow(recipe, Store(store), group)


commands.add_command(eval_command(_run_recipe))
commands.add_command(judge_commands(_run_recipe, _set))


def _keep_freed_memory(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Start this process over, once, with glibc's allocator told to keep freed memory: CPU training is much faster."""
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    needless = command is None or command in _WITHOUT_TORCH or "--help" in arguments or "-h" in arguments
    done = "BACTRIAN_NO_REEXEC" in environment or any(name in environment for name in _MALLOC)
    if needless or done or not _has_glibc():
        return
    new = {**environment, **_MALLOC, "BACTRIAN_NO_REEXEC": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], new)


def _has_glibc() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION")).startswith("glibc")
    except (ValueError, OSError):
        return False
