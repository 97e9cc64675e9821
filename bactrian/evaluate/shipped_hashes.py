"""Writes the hashes that are part of this program: `python -m bactrian.evaluate.shipped_hashes FOLDER`.

FOLDER holds evaluation sets that are as they should be: known.json has some gold answers of each task, unseen.json the
items of unseen ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bactrian.evaluate import known, recognise
from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.task_rows import Absent, find_file, load
from bactrian.evaluate.unseen_items import marks_of


def write_known(folder: Path) -> None:
    made: dict[str, str] = {}
    known.KNOWN.unlink(missing_ok=True)
    known.known.cache_clear()
    for name, task in catalogue().items():
        if task.form == "bits":
            continue  # a text has no answer
        try:
            found = known.sketch(load(task, [folder], hub=False).questions)
        except Absent:
            continue
        made[name] = "".join(asked + whole for asked, whole in found.items())
    known.KNOWN.write_text(json.dumps(made, indent=1) + "\n")


def write_unseen(folder: Path) -> None:
    made = []
    for task in recognise.unseen_tasks():
        if (file := find_file(task.source, [folder])) is not None:
            items = [row for row in recognise.rows_in(file) if recognise.is_item(task, row)]
            made.append(marks_of(task.name, items, task.asks).as_json())
    recognise.SHIPPED.write_text(json.dumps(made, indent=1) + "\n")


def main(folder: str) -> None:
    write_known(Path(folder))
    write_unseen(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
