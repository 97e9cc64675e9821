"""`bactrian data`: what is in data, how diverse they are, how they compare with others, and a page with all of it."""

import json
from pathlib import Path
from typing import Any

import click

from bactrian.cli.shared_options import store_option
from bactrian.errors import BactrianError


@click.command("data")
@click.argument("path")
@click.option("--run", "run_name", help="The run (recipe name) in which PATH, and --against, is a step.")
@click.option("--layout", default="auto", show_default=True, help="How the rows look; auto: each by its columns.")
@click.option(
    "--text-rows",
    type=click.Choice(["line", "paragraph", "document"]),
    default="line",
    show_default=True,
    help="What a row of a .txt file is.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Look at the first rows only; not with --against.")
@click.option("--diversity", is_flag=True, help="Say how unlike one another the texts are, and what they are about.")
@click.option("--against", "other", metavar="OTHER", help="Compare with other data, say synthetic with real ones.")
@click.option(
    "--of",
    type=click.Choice(["prompts", "answers", "whole"]),
    default="prompts",
    show_default=True,
    help="The texts that --diversity and --against look at.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of draws and folds.")
@click.option(
    "--to",
    "form",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page to browse rows, drops, duplicates and overlap with test items.",
)
@store_option
def data_command(
    path: str,
    run_name: str | None,
    layout: str,
    text_rows: Any,
    limit: int | None,
    diversity: bool,
    other: str | None,
    of: Any,
    seed: int,
    form: str,
    html: Path | None,
    store: Path,
) -> None:
    """What is in a file, folder, pattern or artifact: sources, layouts, licences, lengths, rows that cannot be used."""
    from bactrian.cli.data_tables import show_survey
    from bactrian.data.io.layouts import LAYOUTS

    if layout not in ("auto", *LAYOUTS):
        raise BactrianError(f"--layout: found {layout!r}, expected auto or one of {', '.join(LAYOUTS)}")
    if form == "json" and not (diversity or other):
        raise BactrianError("--to json: found neither --diversity nor --against, whose figures it prints")
    folder = _found(path, run_name, store)
    likeness = _likeness(
        folder, _found(other, run_name, store) if other else None, diversity, of, seed, (layout, text_rows)
    )
    if form == "json":
        click.echo(json.dumps(likeness, indent=1, ensure_ascii=False))
    elif likeness:
        from bactrian.cli.likeness_tables import print_likeness

        print_likeness(likeness)
    else:
        show_survey(folder, layout, text_rows, limit)
    if html is not None:
        from bactrian.report.data_page import write_data_page

        click.echo(write_data_page(folder, html, layout, text_rows, likeness), err=form == "json")


def _found(path: str, run_name: str | None, store: Path) -> Path:
    from bactrian.recipe.references import find_path
    from bactrian.store.artifact import Store

    found = find_path(path, Path()) if run_name is None else None
    return found or _located(Store(store), path, run_name)


def _located(store: Any, name: str, run_name: str | None) -> Path:
    """An artifact's folder; what looks like a path is taken for one, so that the error is about files."""
    if run_name is None and ("/" in name or "." in name):
        return Path(name)
    folder: Path = store.locate(name, run_name)
    return folder


def _likeness(
    path: Path, other: Path | None, diversity: bool, of: Any, seed: int, how: tuple[str, Any]
) -> dict[str, Any]:
    """{of, names, diversity, against}, as far as they are asked for; {} if neither is."""
    if not diversity and other is None:
        return {}
    from bactrian.data.likeness.against import against
    from bactrian.data.likeness.compared_texts import read_bag
    from bactrian.data.synth.diversity import bag_diversity

    bag = read_bag(path, of, *how)
    told: dict[str, Any] = {"of": of, "names": {"a": str(path), "b": str(other) if other else None}}
    if diversity:
        told["diversity"] = bag_diversity(bag, seed)
    if other is not None:
        told["against"] = against(bag, read_bag(other, of, text_rows=how[1]), seed)
    return told
