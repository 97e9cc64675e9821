"""How many tokens the rows of an input have: counted, or of a sample of them, and remembered by content."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.recipe.facts import TEXT_COLUMNS, rows_files
from bactrian.stages.stage import Facts
from bactrian.store.artifact import Memo, Store
from bactrian.store.hashes import hash_json, hash_path

ROWS_COUNTED = 400
"""Rows whose tokens are counted; of more, a sample of so many. Mixed data vary by about once their mean: ± 5 %."""
ROWS_LOOKED_AT = 50_000
"""The sample is drawn from the first so many rows, so that a plan of a large file takes seconds and not minutes."""
_MARKS_OF_A_TURN = 5  # tokens of a chat template around what is said
_REMEMBERED_FROM = 2_000  # rows; counting fewer takes less than reading the memo and its hashes


class TokenCounter:
    """Counts with one tokenizer, and keeps what it counted in the store's memo.

    Args:
        tokenizer: a tokenizer.json; None where no model of the recipe is on this machine.
    """

    def __init__(self, store: Store, tokenizer: Path | None) -> None:
        self.store, self.file = store, tokenizer

    def sharpen(self, facts: Facts, path: Path, content: str) -> Facts:
        """The facts of data with their tokens per row counted; as they are where there is no tokenizer.

        Args:
            path: a file, an artifact's folder, a folder or a pattern. content: its content hash, or key.
        """
        if not facts.rows:
            return facts
        if self.file is None:
            return replace(facts, basis="bytes")
        mean, error = self._remembered(facts.rows, path, content)
        if not mean:
            return replace(facts, basis="bytes")
        return replace(facts, tokens_per_row=mean, basis="sampled" if error else "counted", error=error)

    def _remembered(self, rows: int, path: Path, content: str) -> tuple[float, float]:
        assert self.file is not None
        if rows < _REMEMBERED_FROM:
            return self._counted(path, content)
        parts = {"what": "tokens of rows", "of": content, "tokenizer": hash_path(self.file), "sample": ROWS_COUNTED}
        memo = Memo(self.store.memos / hash_json(parts)[:32])
        if not memo.exists:
            found = self._counted(path, content)
            (memo.begin() / "tokens.json").write_text(json.dumps(found))
            memo.commit()
        mean, error = json.loads((memo.path / "tokens.json").read_text())
        return mean, error

    def _counted(self, path: Path, content: str) -> tuple[float, float]:
        """Tokens of a row on average, and the standard error over it; 0 if all rows were counted.

        Twice 0 if rows or tokenizer cannot be read: what reads them for the step says what is wrong, and where.
        """
        try:
            rows = list(islice(_rows(path), ROWS_LOOKED_AT))
            drawn = rows if len(rows) <= ROWS_COUNTED else random.Random(content).sample(rows, ROWS_COUNTED)
            counts = [self._tokens(row) for row in drawn]
        except BactrianError:
            return 0.0, 0.0
        if not counts or not (mean := sum(counts) / len(counts)):
            return 0.0, 0.0
        if len(drawn) == len(rows) < ROWS_LOOKED_AT:
            return mean, 0.0
        variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
        return mean, math.sqrt(variance / len(counts)) / mean

    def _tokens(self, row: Mapping[str, Any]) -> int:
        said = list(_texts({name: row[name] for name in TEXT_COLUMNS if row.get(name)} or row))
        marks = sum(_MARKS_OF_A_TURN for text, role in said if role)
        return marks + sum(len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text, _ in said)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self.file))
        except Exception as error:  # the library raises nothing narrower
            raise BactrianError(f"{self.file}: found no tokenizer that can be read ({error})") from None


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """All rows that can be read."""
    from bactrian.data.io.formats import Fault, is_readable, scan

    for file in rows_files(path):
        if is_readable(file.name):
            yield from (row for row, _ in scan(file) if not isinstance(row, Fault))


def _texts(value: Any, role: bool = False) -> Iterator[tuple[str, bool]]:
    """Every text in a value, and whether it is what someone says in a conversation."""
    if isinstance(value, str):
        yield value, role
    elif isinstance(value, Mapping):
        turn = {"role", "from"} & value.keys()
        for name, item in value.items():
            if name not in ("role", "from"):
                yield from _texts(item, bool(turn))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, role)
