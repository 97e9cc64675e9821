"""The command `eval`: models are asked tasks of the catalogue, as a recipe of one step."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bactrian.cli.shared_options import store_option, track_option
from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.recipe.recipe import Recipe

Run = Callable[["Recipe", Path], None]


READING = {
    "columns": "Of your own problems: question=THEIRS,answer=THEIRS.",
    "verifier": "What checks the answers to them, such as math or contains.",
    "layout": "How their rows look; auto: each by its columns.",
    "license": "Of rows that do not state their own.",
    "bad_limit": "Share of rows that may be dropped.",
}
"""Settings that say how problems of the user's own are read (stage source)."""


def eval_command(run_recipe: Run) -> click.Command:
    """`bactrian eval MODEL`: a recipe of one step, of stage `evaluate`."""

    @click.command("eval")
    @click.argument("models", nargs=-1)
    @click.option("--suite", help="dev, safety, unseen, base, more, reliability or regurgitation.  [default: dev]")
    @click.option("--tasks", help="Tasks by name, parted by commas, instead of a suite, or besides.")
    @click.option("--limit", type=click.IntRange(min=1), help="Questions of each task, from all its groups in turn.")
    @click.option("--limits", multiple=True, metavar="TASK=N", help="Questions of one task; repeatable.")
    @click.option(
        "--data",
        "places",
        multiple=True,
        help="Problems of your own: a file, a folder of files or a Hub id; or a folder with public tasks' data. "
        "Repeatable.",
    )
    @click.option(
        "--format",
        "form",
        type=click.Choice(["auto", "plain", "single", "multiturn"]),
        default="auto",
        show_default=True,
        help="Exemplars as plain text, in one message, or as turns.",
    )
    @click.option("--train", multiple=True, help="A training set: scores without questions that it holds, too.")
    @click.option("--baseline", help="Label of a model that every other is compared with, too.")
    @click.option("--classifier", help="A model that tells refusals in safety tasks.  [default: their words do]")
    @click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer, where a task allows more.")
    @click.option("--samples", type=click.IntRange(min=1), help="Samples of sampled tasks (pass@k), at most.")
    @click.option("--final", is_flag=True, help="A final candidate: it may look at unseen tasks.")
    @click.option("--reason", default="", help="Why unseen tasks are looked at, for the ledger.")
    @click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
    @click.option("--name", "run_name", default="eval", show_default=True, help="Name of the run.")
    @click.option("--list", "listing", is_flag=True, help="List the tasks of the suite, and which data are at hand.")
    @click.option(
        "--gold",
        "checking",
        is_flag=True,
        help="Ask no model: put gold answers of the tasks or suites named (in place of models) to their own "
        "verifiers. Exits with 1 where one is not fit to score with.",
    )
    @click.option("--json", "as_json", is_flag=True, help="With --gold: one JSON object instead of a table.")
    @click.option(
        "--harness",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Ask nothing: write the questions as tasks of lm-evaluation-harness, for its --include_path.",
    )
    @track_option
    @store_option
    def command(
        models: tuple[str, ...],
        store: Path,
        listing: bool,
        checking: bool,
        as_json: bool,
        harness: Path | None,
        places: tuple[str, ...],
        **given: Any,
    ) -> int:
        """Ask models the tasks of a suite; scores with intervals, and everything that shaped them.

        MODEL is embedded:NAME, a folder or artifact, or a Hub id; LABEL=MODEL gives it a label.
        """
        public = bool(given["suite"] or given["tasks"] or listing or checking)
        given["own"], given["folders"] = told_apart(places, public)
        if listing:
            list_tasks(given["suite"] or "dev", given["folders"])
            return 0
        if checking:
            return gold_table(models, as_json, **given)
        if not models:
            raise click.UsageError("Missing argument 'MODELS...'.")
        reading = {name: value for name in READING if (value := given.pop(name)) is not None}
        recipe = eval_recipe(models, reading=reading, **given)
        if harness is None:
            run_recipe(recipe, store)
        else:
            export_tasks(recipe, harness, store)
        return 0

    at = next(place for place, each in enumerate(command.params) if each.name == "places") + 1
    command.params[at:at] = [
        click.Option([f"--{name.replace('_', '-')}", name], help=text) for name, text in READING.items()
    ]
    command.params = sorted(command.params, key=lambda p: not isinstance(p, click.Argument))
    return command


def eval_recipe(
    models: tuple[str, ...],
    suite: str | None,
    tasks: str | None,
    limit: int | None,
    limits: tuple[str, ...],
    folders: tuple[Path, ...],
    own: tuple[str, ...],
    reading: dict[str, str],
    form: str,
    train: tuple[str, ...],
    baseline: str | None,
    classifier: str | None,
    max_new_tokens: int | None,
    samples: int | None,
    final: bool,
    reason: str,
    dtype: str,
    seed: int,
    run_name: str,
) -> Recipe:
    """What the options ask for, as a recipe. `own`: problems that are no public task; `reading`: how they are read.

    Raises:
        BactrianError: naming the option at fault.
    """
    from bactrian.cli.stage_command import setting_value
    from bactrian.recipe.document import Document
    from bactrian.recipe.recipe import check
    from bactrian.stages.data.source import ReadingSettings

    labelled = [_labelled(model, number) for number, model in enumerate(models)]
    named = dict(labelled)
    if twice := [label for label, _ in labelled if [name for name, _ in labelled].count(label) > 1]:
        raise BactrianError(f"two models are called {twice[0]!r}; give them labels: LABEL=MODEL")
    settings: dict[str, Any] = {"stage": "evaluate", "models": named, "format": form, "final": final, "reason": reason}
    if tasks:
        settings["tasks"] = [name.strip() for name in tasks.split(",") if name.strip()]
    if suite or not (tasks or own):
        settings["suite"] = suite or "dev"
    if own:
        settings["problems"] = {Path(label).stem: ref for label, ref in (_labelled(each, 0) for each in own)}
    for name, text in reading.items():
        annotation = ReadingSettings.model_fields[name].annotation
        settings[name] = setting_value(annotation, text, f"--{name.replace('_', '-')} {text}")
    optional = {
        "limit": limit,
        "max_new_tokens": max_new_tokens,
        "samples": samples,
        "baseline": baseline,
        "classifier": classifier,
    }
    settings |= {name: value for name, value in optional.items() if value is not None}
    if limits:
        settings["limits"] = dict(_limit(each) for each in limits)
    settings |= {"folders": [str(folder) for folder in folders]} if folders else {}
    settings |= {"train": list(train)} if train else {}
    data = {"name": run_name, "seed": seed, "hardware": {"dtype": dtype}, "steps": {"evaluate": settings}}
    return check(Document("bactrian eval", "", data, origins={}), Path())


def told_apart(places: tuple[str, ...], public: bool) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """(problems of the user's own, folders with public tasks' data) among what --data names.

    A folder is of the latter where it holds the file of some public task, or where public tasks are asked for.
    """
    from bactrian.evaluate.catalogue import catalogue
    from bactrian.evaluate.task_rows import find_file

    def is_public(place: str) -> bool:
        folder = Path(place)
        if public and not folder.is_file():
            return folder.is_dir() or not re.search(r"[/*=]", place)
        return folder.is_dir() and any(find_file(task.source, [folder]) for task in catalogue().values())

    folders = tuple(Path(place) for place in places if is_public(place))
    return tuple(place for place in places if not is_public(place)), folders


def export_tasks(recipe: Recipe, folder: Path, store: Path) -> None:
    """The questions of a recipe's suite, as the harness's YAML and rows. Handing out unseen questions is a look."""
    from bactrian.evaluate.harness import export_task
    from bactrian.evaluate.ledger import Ledger, entry
    from bactrian.evaluate.recognise import remember_loaded
    from bactrian.store.artifact import Store

    stage: Any = recipe.steps[0].stage.resolved()
    tasks = stage.questions()[0]
    stage.gold(tasks, Store(store).memos, 2)
    looks = [
        entry(loaded.task.name, loaded.content, f"{label} (by lm-evaluation-harness)", "", stage.reason)
        for loaded in tasks
        if loaded.task.unseen
        for label in stage.models
    ]
    if looks:
        Ledger(Store(store)).add(looks)
    for loaded in tasks:
        remember_loaded(Store(store), loaded)
    for loaded in tasks:
        click.echo(export_task(loaded, folder))


def _labelled(model: str, number: int) -> tuple[str, str]:
    label, equals, ref = model.partition("=")
    if equals:
        return label, ref
    return (Path(model).name if "/" in model else model.rpartition(":")[2]) or f"model {number + 1}", model


def _limit(text: str) -> tuple[str, int]:
    task, _, number = text.partition("=")
    if not number.isdecimal() or int(number) < 1:
        raise BactrianError(f"--limits: found {text!r}, expected TASK=N")
    return task, int(number)


def list_tasks(suite: str, places: tuple[Path, ...]) -> None:
    """The tasks of a suite and where their data are."""
    from bactrian.evaluate.catalogue import chosen
    from bactrian.evaluate.score_tables import print_table
    from bactrian.evaluate.task_rows import find_file, folders

    where = folders(places)
    lines = []
    for task in chosen(suite, []):
        file = find_file(task.source, where)
        kind = {"generate": "written", "rank": "ranked", "bits": "likelihood"}[task.form]
        shots = "from its file" if task.preambles else str(len(task.preamble.shots))
        lines.append(
            [
                task.name,
                task.skill,
                kind,
                task.metric,
                shots,
                str(task.max_new_tokens),
                str(file) if file else f"absent (Hub: {task.source.hub or 'none'})",
            ]
        )
    print_table(f"Suite {suite}", ["task", "skill", "answers", "metric", "exemplars", "tokens", "data"], lines)


def gold_table(
    names: tuple[str, ...],
    as_json: bool,
    suite: str | None,
    tasks: str | None,
    folders: tuple[Path, ...],
    limit: int | None,
    limits: tuple[str, ...],
    **_: Any,
) -> int:
    """Gold answers of tasks through their verifiers, made anew: a table, and every bad row. 1 where one fails."""
    from bactrian.evaluate.catalogue import SUITES, chosen
    from bactrian.evaluate.gold_check import check_all
    from bactrian.evaluate.score_tables import as_text, gold_lines, gold_rows, print_table
    from bactrian.verify import Pool

    if limit or limits:
        raise BactrianError("--gold looks at all questions of a task: leave --limit and --limits out")
    wanted = [*names, *(tasks.split(",") if tasks else [])]
    suites = [suite] if suite else [] if wanted else ["dev"]
    suites += [name for name in wanted if name in SUITES]
    named = [name.strip() for name in wanted if name not in SUITES]
    found_by_name = {task.name: task for each in suites for task in chosen(each, [])}
    found_by_name |= {task.name: task for task in (chosen(None, named) if named else [])}
    with Pool(2) as pool:
        found = check_all(list(found_by_name.values()), list(folders), pool)
    if as_json:
        click.echo(as_text("json", [], [], found))
    else:
        print_table("Gold answers", *gold_lines(found))
        for line in gold_rows(found):
            click.echo(line)
    return int(
        any(
            each.get("fault") or "refused" in each or ("absent" in each and name in named)
            for name, each in found.items()
        )
    )
