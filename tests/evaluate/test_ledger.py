"""The ledger only grows, and says so when it did not."""

import json
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.evaluate.ledger import Ledger, counts, entry
from bactrian.store.artifact import Store


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(Store(tmp_path))
    made.add([entry("gpqa", "d1", "sft", "m1", "first candidate"), entry("mmlu_pro", "d2", "sft", "m1", "also")])
    made.add([entry("gpqa", "d1", "dpo", "m2", "second candidate")])
    return made


def test_looks_are_numbered_dated_and_counted(ledger: Ledger) -> None:
    looks = ledger.looks()
    assert [look.number for look in looks] == [1, 2, 3] and counts(looks) == {"gpqa": 2, "mmlu_pro": 1}
    assert all(look.when and "@" in look.who for look in looks)
    assert ledger.checked() == looks and len({look.ledger for look in looks}) == 1


def change(ledger: Ledger, line: int, **fields: object) -> None:
    lines = ledger.path.read_text().splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | fields)
    ledger.path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("field", ["when", "who", "task", "model", "model_hash", "reason", "task_digest", "seal"])
def test_a_changed_line_is_named(ledger: Ledger, field: str) -> None:
    change(ledger, 1, **{field: "another"})
    with pytest.raises(BactrianError, match=r"line 2: its seal does not fit.*tampered"):
        ledger.looks()
    with pytest.raises(BactrianError, match="tampered"):
        ledger.add([entry("gpqa", "d", "m", "h", "r")])


def test_a_line_taken_out_and_lines_in_another_order(ledger: Ledger) -> None:
    lines = ledger.path.read_text().splitlines()
    for forged in ([lines[0], lines[2]], [lines[1], lines[0], lines[2]], [*lines, lines[2]]):
        ledger.path.write_text("\n".join(forged) + "\n")
        with pytest.raises(BactrianError, match="tampered"):
            ledger.looks()


def test_half_a_line_is_no_ledger(ledger: Ledger) -> None:
    ledger.path.write_text(ledger.path.read_text()[:-30])
    with pytest.raises(BactrianError, match="line 3: not a line of a ledger"):
        ledger.looks()
