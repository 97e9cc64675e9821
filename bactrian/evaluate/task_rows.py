"""Finding a task's rows: in folders that are named, in ./eval-data, or on the Hub; and telling damaged files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from bactrian.data.io.files import scan_hub, stream_rows
from bactrian.data.io.formats import Fault, is_data
from bactrian.errors import BactrianError
from bactrian.evaluate.known import check_known
from bactrian.evaluate.task import LeftOut, Loaded, Preamble, Question, Row, Task, TaskSource
from bactrian.store.hashes import hash_file, hash_json

VARIABLE = "BACTRIAN_EVAL_DATA"
"""Folders with evaluation sets, separated as in PATH."""
HERE = Path("eval-data")
"""Looked into too, where the current directory has it."""
PINS = Path(__file__).with_name("pins.json")


class Absent(BactrianError):
    """A task's data are nowhere to be found."""


def folders(given: Sequence[Path] = ()) -> list[Path]:
    """Where files are looked for: the folders given; else those of the environment, and ./eval-data."""
    named = list(given) or named_by_environment()
    for folder in named:
        if not folder.is_dir():
            raise BactrianError(f"{folder}: no such folder; expected one with evaluation sets")
    return named if given or not HERE.is_dir() else [*named, HERE]


def named_by_environment() -> list[Path]:
    """The folders that BACTRIAN_EVAL_DATA names."""
    return [Path(each) for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]


def find_file(source: TaskSource, places: Sequence[Path]) -> Path | None:
    """The first file whose name begins as the source says, in the first folder that has one; else beside the file of a
    task of the user's own.
    """
    for folder in places:
        for begin in source.files:
            found = sorted(file for file in folder.iterdir() if file.name.startswith(begin) and _readable(file))
            if found:
                return found[0]
    return next((path for begin in source.files if (path := Path(begin)).is_absolute() and path.is_file()), None)


def with_files_beside(task: Task, folder: Path) -> Task:
    """A task of the user's own, whose data may lie beside the file that it is in."""
    beside = find_file(task.source, [folder])
    files = (*task.source.files, str(beside.absolute())) if beside else task.source.files
    return replace(task, source=replace(task.source, files=files))


def _readable(file: Path) -> bool:
    return is_data(file.name) or file.suffix == ".txt"


Placed = tuple[Row, str]
"""A row, and where it stands."""


def rows_of(task: str, source: TaskSource, places: Sequence[Path], hub: bool = True) -> tuple[list[Placed], str]:
    """A source's rows, each with its place, and in words where they are from.

    Raises:
        BactrianError: saying what is missing and where it could be put.
    """
    file = find_file(source, places)
    if file is not None:
        return list(stream_rows(file)), str(file)
    if hub and source.hub and os.environ.get("HF_HUB_OFFLINE") != "1":
        return _from_hub(task, source, places)
    raise Absent(missing(task, source, places, "" if source.hub else "it is on no hub by a name known here"))


def _from_hub(task: str, source: TaskSource, places: Sequence[Path]) -> tuple[list[Placed], str]:
    rows: list[Placed] = []
    try:
        for row, where in scan_hub(source.hub, source.split, source.subset):
            if isinstance(row, Fault):
                raise row
            rows.append((row, where))
    except BactrianError as error:
        raise Absent(missing(task, source, places, str(error).splitlines()[0][:200])) from None
    return rows, f"{source.hub} (Hub, {source.subset or 'default'}, {source.split})"


def missing(task: str, source: TaskSource, places: Sequence[Path], why: str = "") -> str:
    """What a person reads whose data are absent."""
    looked = ", ".join(map(str, places)) or "no folder"
    named = f"{source.hub} ({source.subset or 'default'}, {source.split})" if source.hub else "none"
    return (
        f"task {task}: its data are not here. Looked for {' or '.join(f'{each}*.jsonl' for each in source.files)} "
        f"(.gz, .parquet, .csv too) in {looked}; data set of the Hub: {named}{f' ({why})' if why else ''}. Put such a "
        f"file into a folder and name it with --data FOLDER or in {VARIABLE}"
    )


def load(task: Task, places: Sequence[Path] = (), hub: bool = True) -> Loaded:
    """A task with its questions.

    Raises:
        BactrianError: for what is missing, damaged or changed.
    """
    where = folders(places)
    rows, origin = rows_of(task.name, task.source, where, hub)
    made, left_out = _questions(task, rows)
    questions = identified(made)
    if not questions:
        raise BactrianError(
            f"task {task.name}: none of the {len(rows):,} rows of {origin} is a question of it: "
            f"{', '.join(left_out) or 'they make no questions'}"
        )
    preambles: dict[str, Preamble] = {}
    if task.preambles is not None:
        others = rows_of(f"{task.name} (exemplars)", task.exemplars, where, hub)[0] if task.exemplars else []
        preambles = dict(task.preambles([row for row, _ in others]))
        lacking = {question.group for question in questions} - preambles.keys()
        if lacking:
            raise BactrianError(f"task {task.name}: no exemplars for {', '.join(sorted(lacking)[:5])}")
    content = hash_json([[each.prompt, each.truth, each.options, each.right] for each in questions])
    loaded = Loaded(
        task,
        tuple(questions),
        preambles,
        origin,
        len(rows),
        content,
        asked=tuple(row for row, _ in rows) if task.unseen else (),
        left_out=left_out,
    )
    check_pin(loaded)
    check_known(loaded)
    check_listed(loaded)
    return loaded


def load_all(
    tasks: Sequence[Task],
    places: Sequence[Path],
    limits: Mapping[str, int | None],
    named: Collection[str] = (),
    files: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Loaded], dict[str, str]]:
    """Tasks with their questions; those whose data are absent, with why.

    Args:
        limits: task → questions of it, taken from all of its groups in turn. named: must be there.
        files: as of `file_hashes`; a file that is not the one is refused.

    Raises:
        BactrianError: a task that was named is absent, or a file is damaged or was changed.
    """
    loaded, absent = [], {}
    for task in tasks:
        try:
            whole = load(task, places)
        except Absent as error:
            if task.name in named:
                raise
            absent[task.name] = str(error)
            continue
        given, path = files.get(task.name), Path(whole.files)
        if given and path.is_file() and (found := hash_file(path).sha256) != given:
            raise BactrianError(
                f"task {task.name}: {path} is not the file that these settings name (sha256 expected {given[:12]}…, "
                f"found {found[:12]}…): it was changed"
            )
        loaded.append(whole.limited_to(spread(whole.questions, limits.get(task.name))))
    return loaded, absent


def file_hashes(tasks: Sequence[Task], places: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each task's file, where there is one.

    Raises:
        BactrianError: for a folder that is not there.
    """
    where = folders(places)
    found = {task.name: find_file(task.source, where) for task in tasks}
    found |= {f"{task.name} (exemplars)": find_file(task.exemplars, where) for task in tasks if task.exemplars}
    return {name: hash_file(path).sha256 for name, path in found.items() if path is not None}


def spread(questions: Sequence[Question], limit: int | None) -> tuple[Question, ...]:
    """The first questions of each group in turn until there are `limit`; in the file's order."""
    if limit is None or limit >= len(questions):
        return tuple(questions)
    waiting: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        waiting.setdefault(question.group, []).append(number)
    rounds = max(map(len, waiting.values()))
    order = [members[turn] for turn in range(rounds) for members in waiting.values() if turn < len(members)]
    return tuple(questions[number] for number in sorted(order[:limit]))


def _questions(task: Task, rows: Sequence[Placed]) -> tuple[list[Question], dict[str, tuple[str, ...]]]:
    """All rows' questions; why rows are left out → their places."""
    made: list[Question] = []
    left_out: dict[str, list[str]] = {}
    for row, where in rows:
        try:
            made += built(task, row, where)
        except LeftOut as why:
            left_out.setdefault(str(why), []).append(where)
    return made, {why: tuple(places) for why, places in left_out.items()}


def built(task: Task, row: Row, origin: str) -> Sequence[Question]:
    try:
        return task.build(row)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        shown = json.dumps(dict(row), default=str, ensure_ascii=False)[:120]
        raise BactrianError(
            f"task {task.name}: {origin}: a row that is in no layout known for it ({type(error).__name__}: {error}): "
            f"{shown}"
        ) from None


def identified(questions: Sequence[Question]) -> list[Question]:
    """Each question with an id: its own, else a hash of what it says; the second of two alike gets a number."""
    seen: dict[str, int] = {}
    named = []
    for question in questions:
        own = question.id or hash_json([question.group, question.prompt, question.options, question.contexts])[:16]
        seen[own] = seen.get(own, 0) + 1
        named.append(replace(question, id=own if seen[own] == 1 else f"{own}-{seen[own]}"))
    return named


@cache
def pins() -> dict[str, dict[str, str]]:
    """By file name: task → hashes of its questions, and of its questions with their truths, as they should be."""
    return dict(json.loads(PINS.read_text())) if PINS.is_file() else {}


def asked_hash(loaded: Loaded) -> str:
    """Of the questions alone, in any order."""
    return hash_json(sorted(question.prompt for question in loaded.questions))[:16]


def check_pin(loaded: Loaded) -> None:
    """
    Raises:
        BactrianError: where a file that is known asks the same questions and has other truths,
            or fewer rows.
    """
    pin = pins().get(Path(loaded.files).name, {}).get(loaded.task.name)
    if pin is None:
        return
    asked, content, rows = pin.split("/")
    if loaded.content[:16] == content:
        return
    if asked_hash(loaded) == asked:
        raise BactrianError(
            f"task {loaded.task.name}: {loaded.files} asks the questions that are known, and its answers are not those "
            f"that are known: its gold answers were shuffled or changed, or its rows reordered; fetch the file again"
        )
    if loaded.rows < int(rows):
        raise BactrianError(
            f"task {loaded.task.name}: {loaded.files} holds {loaded.rows:,} rows, expected {int(rows):,}: the file is "
            f"truncated; fetch it again. To ask only some of its questions, set a limit"
        )


LISTED = re.compile(r"^\(A\) ", re.MULTILINE)
BRACKETED = re.compile(r"\([A-Z]\)")
STRANGE = 0.05
"""Share of gold answers that are none of the options, above which a file is not what it should be: BBH has a few."""


def check_listed(loaded: Loaded) -> None:
    """That tells gold answers that went to other questions without any model.

    Raises:
        BactrianError: where prompts list options (A), (B)… and gold answers are none of them,
            or the other way.
    """
    if not any(BRACKETED.fullmatch(question.truth) for question in loaded.questions):
        return
    strange = [question.id for question in loaded.questions if _strange(question)]
    if len(strange) > max(2, STRANGE * len(loaded.questions)):
        raise BactrianError(
            f"task {loaded.task.name}: {loaded.files}: {len(strange):,} of {len(loaded.questions):,} gold answers are "
            f"none of the options that their questions list (the first: question {strange[0]}): the gold answers are "
            f"shuffled"
        )


def _strange(question: Question) -> bool:
    letter = BRACKETED.fullmatch(question.truth) is not None
    return letter != bool(LISTED.search(question.prompt)) or (letter and question.truth not in question.prompt)


def pin(loaded: Loaded) -> str:
    """What `pins.json` says of a task's file."""
    return f"{asked_hash(loaded)}/{loaded.content[:16]}/{loaded.rows}"
