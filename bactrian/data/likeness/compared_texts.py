"""The texts of a file, folder or artifact that are compared: prompts, answers or everything that is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from bactrian.data.io.formats import Fault, TextRows
from bactrian.data.io.survey import usable_rows
from bactrian.data.io.texts import answer_text, prompt_text, whole_text
from bactrian.data.likeness.bags import TextBag, text_bag
from bactrian.errors import BactrianError

Part = Literal["prompts", "answers", "whole"]
PARTS: Mapping[Part, Callable[[Mapping[str, Any]], str]] = {
    "prompts": prompt_text,
    "answers": answer_text,
    "whole": whole_text,
}


def read_bag(path: Path, of: Part = "prompts", layout: str = "auto", text_rows: TextRows = "line") -> TextBag:
    """The texts of all rows that can be used and have such a text.

    Raises:
        BactrianError: if there is no file, or not one such text.
    """
    rows = (row for row in usable_rows(path, layout, text_rows) if not isinstance(row, Fault))
    bag = text_bag(text for row in rows if (text := PARTS[of](row).strip()))
    if not len(bag):
        raise BactrianError(f"{path}: found no row with {of} to compare")
    return bag
