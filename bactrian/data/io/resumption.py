"""How far a stage that streams rows is, on the disk, so that a kill costs it minutes and never the whole."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import IO

from bactrian.data.io.adoption import Account
from bactrian.data.io.files import data_files
from bactrian.data.io.formats import Scanned, TextRows, scan
from bactrian.data.io.tally import CountedCases, Tally
from bactrian.data.io.writer import RowWriter, Written, parts_of
from bactrian.store.disk import write_atomically

STATE = "standing.json"
SECONDS_BETWEEN_SAVES = 20.0
"""What a kill costs at most, about; what is saved in several parts is read and written once more at the end.

A process that is killed more often than this makes no progress; one that ends sooner pays nothing."""


@dataclass
class Position:
    """Files that are read, and rows of the next one that are."""

    files: int = 0
    rows: int = 0


@dataclass
class Standing:
    """All that is known between two row groups: what was read, what came of it, and what of that is written."""

    position: Position = field(default_factory=Position)
    account: Account = field(default_factory=Account)
    written: Written | None = None
    drops: int = 0  # bytes of drops.jsonl
    commit: str = ""  # of a data set on the Hub: what is newest may be another one by now
    _saved: float = field(default_factory=monotonic)

    def save_at_times(self, folder: Path, writer: RowWriter, drops: IO[bytes] | None = None) -> None:
        """Make it safe if that was not done for a while, and before it what it speaks of.

        Only where `writer.holds` is 0; `drops` lies in the writer's folder.
        """
        if monotonic() - self._saved < SECONDS_BETWEEN_SAVES or not writer.count:
            return
        if drops is not None:
            drops.flush()
            self.drops = os.fstat(drops.fileno()).st_size
        self.written = writer.checkpoint()
        said = {
            "position": asdict(self.position),
            "written": asdict(self.written),
            "drops": self.drops,
            "commit": self.commit,
            "account": vars(self.account) | {"tally": asdict(self.account.tally)},
        }
        write_atomically(folder / STATE, json.dumps(said))
        self._saved = monotonic()

    @classmethod
    def load(cls, folder: Path, output: Path) -> "Standing":
        """What a kill left, or a beginning: also if it came so late that the parts are one file already."""
        path = folder / STATE
        said = json.loads(path.read_text()) if path.exists() else None
        if said is None or not all(part.exists() for part in parts_of(output, said["written"]["parts"])):
            return cls()
        account = said["account"]
        tally = {
            name: {reason: CountedCases(**cases) for reason, cases in account["tally"][name].items()}
            for name in ("truncated", "dropped", "repaired")
        }
        counted = {name: Counter(account[name]) for name in ("layouts", "left_out")}
        whole = Account(Tally(account["tally"]["kept"], **tally), **counted, kind=account["kind"], last=account["last"])
        return cls(Position(**said["position"]), whole, Written(**said["written"]), said["drops"], said["commit"])


def scan_on(path: Path, text_rows: TextRows, position: Position) -> Iterator[Scanned]:
    """As `scan_rows`, from a position on, which moves along: it counts a row once that is taken.

    Files that are read are not opened again; of the one that was being read the rows before are, but only parsed.
    """
    for file in data_files(path)[position.files :]:
        for each in islice(scan(file, text_rows), position.rows, None):
            position.rows += 1
            yield each
        position.files, position.rows = position.files + 1, 0
