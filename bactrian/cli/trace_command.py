"""The command `bactrian trace`: which spans of an answer stand in the training data, and where."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bactrian.cli.shared_options import store_option
from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.data.overlap.trace.corpus_index import CorpusIndex
    from bactrian.data.overlap.trace.traced_spans import AnswerTrace, TracedSpan
    from bactrian.stages.stage import ReferenceUse
    from bactrian.store.artifact import Store
    from bactrian.store.manifest import InputRecord, Manifest

INDEX_STAGE = "trace_index"
LEAST, PLACES = 8, 10
"""As in data/overlap/trace/traced_spans.py, which the help of the command line does not load; a test compares them."""


@click.command("trace")
@click.argument("model_output")
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    required=True,
    help="An index, training data (step, file, folder, pattern), or a model, for what it was trained on; repeatable.",
)
@click.option("--run", "run_name", help="The run (recipe name) in which --corpus is a step.")
@click.option(
    "--least", type=click.IntRange(min=1), default=LEAST, show_default=True, help="Words of the shortest span."
)
@click.option("--most", type=click.IntRange(min=1), help="Keep the rarest spans only, so many.")
@click.option(
    "--places", type=click.IntRange(min=1), default=PLACES, show_default=True, help="Places to show of each span."
)
@click.option(
    "--match",
    type=click.Choice(["words", "exact"]),
    default="words",
    show_default=True,
    help="Of an index that is made here: words: case and white space do not count; exact: letter for letter.",
)
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page to browse spans."
)
@store_option
def trace_command(
    model_output: str,
    corpora: tuple[str, ...],
    run_name: str | None,
    least: int,
    most: int | None,
    places: int,
    match: str,
    as_json: bool,
    html: Path | None,
    store: Path,
) -> None:
    """Which spans of MODEL_OUTPUT (a file, a text, or - for standard input) stand in the training data, and where.

    Where --corpus is no index yet, one is made in the store, and used again until the data change.
    """
    from bactrian.data.overlap.trace.traced_spans import trace

    text = read_answer(model_output)
    index = open_index(corpora, run_name, store, match)
    found = trace(text, index, least, places, most=most)
    if as_json:
        click.echo(json.dumps(as_data(found, least, index), indent=1))
    else:
        print_trace(found)
    if html is not None:
        from bactrian.report.traced import write_trace_page

        name = model_output if Path(model_output).name == model_output and len(model_output) < 80 else "Answer"
        click.echo(write_trace_page([(name, found)], ", ".join(corpora), least, html), err=as_json)


def read_answer(given: str, source: Any = sys.stdin) -> str:
    """The text of a file, of standard input ("-"), or the text itself.

    Raises:
        BactrianError: what looks like a file's name and is none, what is not UTF-8, and a text without a word.
    """
    text = str(source.read()) if given == "-" else _file_or_text(given)
    if not text.strip():
        place = {"-": "standard input", "": "MODEL_OUTPUT"}.get(given, given)
        raise BactrianError(f"{place}: found no words, expected an answer of a model")
    return text


def _file_or_text(given: str) -> str:
    try:
        path = Path(given)
        if given and path.is_dir():
            raise BactrianError(f"{given}: found a folder, expected a file, a text of several words, or -")
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BactrianError(f"{given}: not UTF-8 (byte {error.start}), expected a text") from None
    except (OSError, ValueError):  # too long for a name, or with a NUL: it is a text
        return given
    if given and not any(map(str.isspace, given)) and (path.suffix or "/" in given):
        raise BactrianError(f"{given}: found no such file, expected a file, a text of several words, or -")
    return given


def open_index(corpora: Sequence[str], run_name: str | None, store: Path, match: str = "words") -> CorpusIndex:
    """The index that is named, or one over the data that are: made now, unless it exists.

    Raises:
        BactrianError: what is named is none of these, does not match its hashes, or changed since the index was made.
    """
    from bactrian.data.overlap.trace.corpus_index import CorpusIndex
    from bactrian.store.artifact import Store
    from bactrian.store.manifest import Kind

    data: list[str] = []
    for name in corpora:
        folder = _located(name, run_name, Store(store))
        manifest = _manifest(folder)
        if manifest is not None and manifest.stage == INDEX_STAGE:
            if len(corpora) > 1:
                raise BactrianError(f"--corpus {name}: found an index among several, expected it alone, or data only")
            manifest.verify(folder)
            check_unchanged(folder, manifest)
            return CorpusIndex(folder)
        if manifest is not None and manifest.kind is Kind.MODEL:
            data += learnt(folder, name)
        else:
            data.append(str(folder))
    return CorpusIndex(_made(list(dict.fromkeys(data)), store, match))


LEARNT_THROUGH = ("model", "models", "adapter")
"""Settings of stages that name what a model was made from. Others name judges and rewards."""
NOT_LEARNT = ("vocabulary", "standardise")
"""Settings of stages that name data which a model is not trained on."""


def learnt(folder: Path, name: str) -> list[str]:
    """The data that a model and those that it was made from were trained on, by their manifests.

    Raises:
        BactrianError: none is known, or some are no longer there, or have changed since.
    """
    from bactrian.stages import all_stages
    from bactrian.store.manifest import Kind

    found: list[str] = []
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        manifest = _manifest(at)
        if manifest is None:
            continue  # a model from outside: what it learnt is not known
        stage = all_stages().get(manifest.stage)
        if stage is None:
            raise BactrianError(
                f"{at}: made by stage {manifest.stage!r}, which is not known here; name the data instead"
            )
        for use in stage.model_validate(manifest.settings).references():
            record = manifest.inputs.get(use.ref)
            if record is None or not _learnt_from(use, at):
                continue
            place = _input_place(at, record)
            if place is None:
                raise BactrianError(f"--corpus {name}: {use.ref} ({record.path}), which it was trained on, is gone")
            if use.kind is Kind.MODEL:
                waiting.append(place)
                continue
            if _content(place, record) != record.content_hash:
                raise BactrianError(
                    f"--corpus {name}: {use.ref} ({place}) has changed since it was trained on; name the data instead"
                )
            found.append(str(place))
    if not found:
        raise BactrianError(f"--corpus {name}: nothing says what this model was trained on; name the data instead")
    return found


def _learnt_from(use: ReferenceUse, folder: Path) -> bool:
    """Whether a model in `folder` was made from what this reference names, and did not only look at it."""
    from bactrian.stages.measure.choose import CHOICE
    from bactrian.store.manifest import Kind

    if use.held_out or use.kind not in (Kind.DATA, Kind.MODEL):
        return False
    if use.kind is Kind.DATA:
        return use.path[-1] not in NOT_LEARNT
    if use.path[0] == "models" and (folder / CHOICE).is_file():  # of the candidates one was taken
        return json.loads((folder / CHOICE).read_text())["chosen"] in (use.path[1], use.ref)
    return use.path[0] in LEARNT_THROUGH


def check_unchanged(folder: Path, manifest: Manifest) -> None:
    """
    Raises:
        BactrianError: data from which an index was made are there and have changed since.
    """
    for ref, record in manifest.inputs.items():
        place = _input_place(folder, record)
        if place is not None and _content(place, record) != record.content_hash:
            raise BactrianError(
                f"{folder}: {ref} ({place}) has changed since this index was made; "
                f"make it again with bactrian run, or name the data as --corpus"
            )


def _input_place(folder: Path, record: InputRecord) -> Path | None:
    """Where an input is: beside what was made from it, or where it was then."""
    from bactrian.store.hashes import files_matching

    places = (folder.parent / Path(record.path).name, Path(record.path))
    return next((each for each in places if each.exists() or files_matching(each)), None)


def _content(place: Path, record: InputRecord) -> str:
    """The content hash of an input as it is now; a commit from the Hub, in its cache, is what it was."""
    from bactrian.store.hashes import hash_path

    if record.key is None and place.parent.name == "snapshots":
        return record.content_hash
    made = _manifest(place)
    return made.content_hash if made is not None else hash_path(place)


def _located(name: str, run_name: str | None, store: Store) -> Path:
    from bactrian.recipe.references import find_path

    if run_name is not None:
        return store.locate(name, run_name)
    found = find_path(name, Path())
    if found is None and ("/" in name or "." in name):
        raise BactrianError(f"--corpus {name}: found no such file or folder")
    return found or store.locate(name)


def _manifest(folder: Path) -> Manifest | None:
    from bactrian.store.manifest import MANIFEST, Manifest

    return Manifest.read(folder) if (folder / MANIFEST).is_file() else None


def _made(data: list[str], store: Path, match: str) -> Path:
    """The folder of an index over data, made if it is not there."""
    from bactrian.cli.stage_command import one_step_recipe
    from bactrian.run.runner import run
    from bactrian.stages import all_stages
    from bactrian.store.artifact import Store

    recipe = one_step_recipe(all_stages()[INDEX_STAGE], {"data": (json.dumps(data),), "match": match}, "trace", 0)
    entry = next(each for each in run(recipe, Store(store), report=False) if each.name == INDEX_STAGE)
    assert entry.path is not None
    return store / entry.path


def as_data(found: AnswerTrace, least: int, index: CorpusIndex) -> dict[str, Any]:
    """All of a trace as JSON holds it; offsets are in characters, of the answer and of each document's text."""
    spans = [
        {**asdict(span), "rank": rank, "verbatim": span.verbatim, "rarity": round(span.rarity, 3)}
        for rank, span in enumerate(found.ranked(), 1)
    ]
    about = {"least": least, "match": index.meta.match, "words": found.words, "covered": found.covered}
    return {**about, "share": found.share, "spans": spans}


def print_trace(found: AnswerTrace, write: Callable[[str], None] = click.echo) -> None:
    """The spans as a table, rarest first, with the first place of each, and a line on all of them."""
    from bactrian.cli.tables import open_console, plain
    from bactrian.report.traced import summary

    if found.spans:
        from rich.box import SIMPLE
        from rich.table import Table

        table = Table("words", "times", "span", "document", "where", "offset", "licence", box=SIMPLE)
        for span in found.ranked():
            for cells in _lines(span):
                table.add_row(*map(plain, cells))
        open_console().print(table)
    write(summary(found))


def _lines(span: TracedSpan) -> Iterator[tuple[str, ...]]:
    """A line of the table for each place, the span in the first."""
    shown = span.text if len(span.text) <= 120 else f"{span.text[:70]} … {span.text[-40:]}"
    for number, place in enumerate(span.places):
        of_span = ("", "", "") if number else (str(span.words), f"{span.count:,}", " ".join(shown.split()))
        document = place.document
        where = f"{document.data}: {document.where}, {document.field}{f' ({document.role})' if document.role else ''}"
        yield (*of_span, f"{document.id} of {document.source}", where, f"{place.start:,}", document.licence)
