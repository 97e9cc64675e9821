"""Which unseen data are known, and what is done where rows hold them, by whatever road they came.

Known are the hashes of `unseen.json` (of tasks whose data were at hand when shipped_hashes.py wrote it), those that
the store keeps of every unseen task that was loaded there, and those of files that are named like an unseen task's,
among a step's inputs and in the folders of evaluation sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bactrian.data.io.files import scan_rows
from bactrian.data.io.formats import Fault, is_data
from bactrian.errors import BactrianError
from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.ledger import counted, entry, ledgers, note
from bactrian.evaluate.task import LeftOut, Row, Task
from bactrian.evaluate.task_rows import HERE, built, find_file, named_by_environment
from bactrian.evaluate.unseen_items import Marks, look_through, marks_of, together
from bactrian.progress import say
from bactrian.store.artifact import Store, Workspace
from bactrian.store.disk import write_atomically
from bactrian.store.hashes import hash_file

if TYPE_CHECKING:
    from bactrian.evaluate.task import Loaded

SHIPPED = Path(__file__).with_name("unseen.json")
FOLDER = "unseen"


def unseen_tasks() -> list[Task]:
    return [task for task in catalogue().values() if task.unseen]


def known_marks(store: Store, paths: Sequence[Path] = (), places: Sequence[Path] = ()) -> Marks:
    """The hashes that are known; those of files that are met here for the first time are kept in the store.

    Args:
        paths: a step's inputs. places: folders of evaluation sets, besides the usual ones.
    """
    for task in unseen_tasks():
        at_hand = find_file(task.source, [*places, *_usual()])
        named = [
            path for path in paths if path.is_file() and path.name.startswith(task.source.files) and is_data(path.name)
        ]
        for file in {*named, *([at_hand] if at_hand else [])}:
            content = hash_file(file).sha256
            if not _kept(store, task.name, content).is_file():
                remember(store, task, (row for row in rows_in(file)), content)
    kept = [_read(path) for path in sorted((store.root / FOLDER).glob("*.json"))]
    return together([*shipped(), *kept])


def _usual() -> list[Path]:
    """Folders of evaluation sets that there are."""
    return [folder for folder in (*named_by_environment(), HERE) if folder.is_dir()]


def remember(store: Store, task: Task, rows: Iterable[Row], content: str) -> None:
    """Keep the hashes of an unseen task's rows in the store; `content` names them."""
    path = _kept(store, task.name, content)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        items = [row for row in rows if is_item(task, row)]
        write_atomically(path, json.dumps(marks_of(task.name, items, task.asks).as_json()))


def is_item(task: Task, row: Row) -> bool:
    """Whether a row is a question that is asked only here.

    Not what the task leaves out (AGIEval's questions from MATH), nor what MMLU-Pro says it has from MMLU (`src`).
    """
    if str(row.get("src", "")).startswith("ori_mmlu"):
        return False
    try:
        return bool(built(task, row, ""))
    except LeftOut:
        return False
    except BactrianError:  # another layout of the same data, it may be
        return any(row.get(name) for name in task.asks)


def remember_loaded(store: Store, loaded: Loaded) -> None:
    """Keep the hashes of an unseen task that was loaded."""
    if loaded.task.unseen:
        remember(store, loaded.task, loaded.asked, loaded.content)


def _kept(store: Store, task: str, content: str) -> Path:
    return store.root / FOLDER / f"{task}-{content[:16]}.json"


def _read(path: Path) -> Marks:
    try:
        return Marks.of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise BactrianError(f"{path}: damaged ({error!r:.80}); remove it, and load that unseen task again") from None


@cache
def shipped() -> tuple[Marks, ...]:
    """The hashes that are part of this program."""
    return tuple(Marks.of(each) for each in json.loads(SHIPPED.read_text(encoding="utf-8")))


def rows_in(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, folder or artifact; bad ones are left to whoever uses them."""
    return (row for row, _ in scan_rows(path) if not isinstance(row, Fault))


def unseen_in(rows: Iterable[Mapping[str, Any]], marks: Marks, least: float = 0.0) -> dict[str, int]:
    """Unseen task → its items that some rows hold; of tasks of which they hold no more than chance would, nothing."""
    found = look_through(rows, marks)
    return {task: items for task, items in found.told().items() if found.holding[task] >= least * found.rows}


def told(found: Mapping[str, int]) -> str:
    return ", ".join(f"{items:,} items of {task}" for task, items in found.items())


def warn_of_unseen(name: str, held: Mapping[str, Path], workspace: Workspace) -> None:
    """Say that rows hold unseen data, which must not reach training; their number is among the step's metrics.

    Args:
        held: where rows are, by what a person calls them.
    """
    if not held:
        return
    marks = known_marks(workspace.store, list(held.values()))
    for called, path in held.items():
        if found := unseen_in(rows_in(path), marks):
            workspace.metrics["unseen_items"] = workspace.metrics.get("unseen_items", 0) + sum(found.values())
            say(
                f"{name}: warning: {called} holds {told(found)}, which is unseen: a model trained on it has seen the "
                f"test, and its score there says nothing; take these rows out (stage decontaminate)"
            )


def declare(
    tasks: Sequence[Loaded],
    models: Mapping[str, str],
    final: bool,
    reason: str,
    workspace: Workspace,
    paths: Sequence[Path] = (),
) -> dict[str, int]:
    """Note every look at unseen questions in the ledger before the first is asked: of tasks that are unseen, and of
    problem sets and other tasks that hold unseen items, whatever their files are called. Task → looks, by the ledger.

    Args:
        models: label → content hash. paths: where problem sets are from.

    Raises:
        BactrianError: questions are unseen and the look is not declared, or a ledger has forgotten something.
    """
    for ledger in ledgers(workspace):
        ledger.checked()  # one that was tampered with is an error whatever is asked
    for loaded in tasks:
        remember_loaded(workspace.store, loaded)
    marks = known_marks(workspace.store, paths)
    found = {each.task.name: hits for each in tasks if (hits := _unseen_questions(each, marks))}
    if found and not (final and reason.strip()):
        shown = "; ".join(f"{each} holds {told(hits)}" for each, hits in found.items())
        raise BactrianError(
            f"evaluate: {shown}: unseen, for final candidates only, whatever the file is called; to look at them, and "
            f"have that noted in the ledger, set final: true and a reason"
        )
    looked = [(task, each) for each in tasks for task in found.get(each.task.name, ())]
    looked += [(each.task.name, each) for each in tasks if each.task.unseen]
    new = [
        entry(task, each.content, label, content, reason) for task, each in looked for label, content in models.items()
    ]
    workspace.add_looks(look.as_json() for look in note(workspace, new))
    seen, counts = counted(workspace), dict[str, int]()
    for task, each in looked:
        counts[each.task.name] = counts.get(each.task.name, 0) + seen.get(task, 0)
    return counts


def _unseen_questions(loaded: Loaded, marks: Marks) -> dict[str, int]:
    """Unseen task → its items among a task's questions; of a public task that is not unseen only where most are."""
    if loaded.task.unseen:
        return {}
    if loaded.questions[0].messages:
        return unseen_in(loaded.asked, marks)
    return unseen_in([{"text": question.prompt} for question in loaded.questions], marks, least=0.8)
