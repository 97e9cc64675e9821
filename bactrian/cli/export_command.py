"""`bactrian export` and `bactrian push`: a model as a folder for others, and that folder where others find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bactrian.cli.shared_options import store_option
from bactrian.errors import BactrianError

_run_name = click.option("--run", "run_name", help="The run (recipe name) in which MODEL is a step.")
_dtype = click.option(
    "--dtype",
    type=click.Choice(["as-is", "bf16", "f16", "f32"]),
    default="as-is",
    show_default=True,
    help="Of the weights.",
)
_merge = click.option("--merge", is_flag=True, help="A whole model, where it would be a peft adapter.")
_gguf = click.option(
    "--gguf", multiple=True, metavar="TYPE", help="A GGUF file besides: q8_0, q4_k_m, f16, …; repeatable."
)
_card = click.option("--card/--no-card", default=True, show_default=True, help="Write a model card, README.md.")


@click.command("export")
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_run_name
@_dtype
@_merge
@_gguf
@_card
@click.option("--name", help="What the card and GGUF files call it.  [default: the folder's name]")
@store_option
def export_command(
    model: str,
    folder: Path,
    run_name: str | None,
    dtype: str,
    merge: bool,
    gguf: tuple[str, ...],
    card: bool,
    name: str | None,
    store: Path,
) -> None:
    """Write a model into FOLDER for transformers, vLLM, llama.cpp and lm-eval, with a model card.

    MODEL is an artifact (as in `show`), embedded:NAME, a folder or a Hub id. One that was trained with adapters becomes
    a peft adapter; with --merge a whole model.
    """
    from bactrian.run.export import ADAPTER

    made = find_model(model, run_name, store)
    path = made.export(folder, dtype=dtype, merge=merge, gguf=gguf, card=card, name=name)
    what = "a peft adapter (a whole model with --merge)" if (path / ADAPTER).is_file() else "a whole model"
    click.echo(f"{path}: {what}")


@click.command("push")
@click.argument("model")
@click.argument("target")
@_run_name
@_dtype
@_merge
@_gguf
@_card
@click.option("--public", is_flag=True, help="A new repository of the Hub is for everybody; by default it is private.")
@click.option("--dry-run", is_flag=True, help="Only list what would be sent.")
@store_option
def push_command(
    model: str,
    target: str,
    run_name: str | None,
    dtype: str,
    merge: bool,
    gguf: tuple[str, ...],
    card: bool,
    public: bool,
    dry_run: bool,
    store: Path,
) -> None:
    """Export a model and send it to TARGET: a Hub id (owner/name), or a URL (s3://…, gs://…, file://…).

    MODEL is what `export` takes, or a folder that it made, which is sent as it is. What is there already with the same
    hash is not sent again, so a push that was cut goes on where it was.
    """
    made = find_model(model, run_name, store)
    options: dict[str, Any] = {"dtype": dtype, "merge": merge, "gguf": gguf, "card": card}
    print_pushed(made.push(target, public=public, dry_run=dry_run, **options))


def find_model(ref: str, run_name: str | None, store: Path) -> Any:
    """The handle of a model.

    Raises:
        BactrianError: there is none, or what is there is no model.
    """
    from bactrian.run.handles import Model
    from bactrian.run.python import load

    found = load(ref, run=run_name, store=store)
    if not isinstance(found, Model):
        raise BactrianError(f"{ref}: found {type(found).__name__.lower()} in {found.path}, expected a model")
    return found


def print_pushed(done: Any) -> None:
    """What a push did, a line a file."""
    from bactrian.report.formatting import size

    word = "would send" if done.dry else "sent"
    for name, length in done.sent.items():
        click.echo(f"{word:>10}  {size(length):>10}  {name}")
    for name, length in done.kept.items():
        click.echo(f"{'there':>10}  {size(length):>10}  {name}")
    if done.others:
        click.echo(f"also there, and left: {', '.join(done.others)}")
    click.echo(f"{done.target}: {word} {len(done.sent)} of {len(done.sent) + len(done.kept)} files")
