"""Rows of other people, in whatever layout, as rows of ours: each is kept, repaired, or dropped for a reason."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

from bactrian.data.io.formats import Fault, Scanned
from bactrian.data.io.layouts import LAYOUTS, FileLayout, as_problem, detect
from bactrian.data.io.misfit import TurnMisfit
from bactrian.data.io.rows import Row, RowKind, drop_nulls, licence_of
from bactrian.data.io.tally import CountedCases, Tally
from bactrian.errors import BactrianError

DECIDING = 1000
"""Rows, from the first, of which most decide what kind all rows are to be of."""
_COLUMN = re.compile(r"\{([^{}]+)\}")
_PLACE = re.compile(r"(.*), (?:line|row) (\d+)(?:, column \d+)?")
_OURS = frozenset(("id", "source", "license"))


@dataclass(frozen=True)
class Adoption:
    """How rows are taken over.

    `layout` is a name of LAYOUTS, or "auto": each row's by its columns. `columns` gives names that a layout knows to
    other columns, or to templates of them: {"question": "body", "answer": "{steps} #### {result}"}. `keep`: columns to
    keep besides the layout's; with `label` among them bad answers of feedback are kept too. `verifier` makes problems
    of questions with answers. `source` names the rows' source, or `source_column` the column that does. `license` is
    that of rows that do not state their own.
    """

    source: str
    license: str = ""
    layout: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    verifier: str = ""
    source_column: str = ""

    @property
    def read_columns(self) -> list[tuple[str, str]]:
        """(name of a layout, column that it is read from), for each that `columns` names, in templates too."""
        return [(name, column) for name, given in self.columns.items() for column in _COLUMN.findall(given) or [given]]

    @cached_property
    def named(self) -> frozenset[str]:
        """Columns that `columns` and `keep` name: nobody has overlooked them."""
        return frozenset(self.keep).union(*({given, *_COLUMN.findall(given)} for given in self.columns.values()))


@dataclass
class Account:
    """What came of it: the tally, layouts and columns with the rows that had them, the one kind of all rows."""

    tally: Tally = field(default_factory=Tally)
    layouts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    kind: RowKind | None = None
    last: str = ""  # the layout of the row before

    def dropped(self, fault: Fault) -> Fault:
        """Count a row that is dropped."""
        self.tally.drop(fault.reason, fault.where + (f" ({fault.detail})" if fault.detail else ""))
        return fault

    def check_kind(self, row: Row) -> None:
        """Raise TurnMisfit for a row of another kind than most; where none is decided, than the first."""
        self.kind = self.kind or kind_of(row)
        if kind_of(row) != self.kind:
            raise TurnMisfit(f"a {kind_of(row)} row, where most are {self.kind} rows")

    def __str__(self) -> str:
        lines = [str(self.tally)]
        lines += [f"  layout {name}: {count:,} rows" for name, count in self.layouts.most_common()]
        left_out = ", ".join(f"{name} ({count:,})" for name, count in self.left_out.most_common(12))
        return "\n".join(lines + ([f"  columns left out (rows): {left_out}"] if left_out else []))


def adopt(scanned: Iterable[Scanned], how: Adoption, account: Account) -> Iterator[Row | Fault]:
    """Each row in our form, or why it is dropped; the account counts both as they pass.

    The rows have `source`, `license` ("" if none is known) and `id`: their own, or file and line ("a.jsonl:3").
    """
    last = LAYOUTS.get(account.last or how.layout)
    for found, where in scanned:
        if isinstance(found, Fault):
            yield account.dropped(found)
            continue
        try:
            given = {**found, **_renamed(found, how.columns)} if how.columns else found
            if how.verifier and "ground_truth" in given and "messages" in given:
                given = {"dataset": how.verifier, **given}
            last = _layout_of(given, how, last)
            account.last = last.name
            row, mended = _adapted(given, last, how)
            account.check_kind(row)
        except TurnMisfit as misfit:
            yield account.dropped(Fault(where, misfit.reason, misfit.detail))
            continue
        account.layouts[last.name] += 1
        account.left_out.update(found.keys() - last.reads - _OURS - how.named)
        if mended:
            account.tally.repair(mended[0], where)
        else:
            account.tally.keep()
        yield row | _identity(given, where, how)


def kind_of(row: Mapping[str, Any]) -> RowKind:
    """The kind of a row in our form."""
    if "chosen" in row:
        return "pair"
    if "text" in row:
        return "text"
    return "problem" if "dataset" in row else "conversation"


def kinds_among(scanned: Iterable[Scanned], how: Adoption) -> dict[RowKind, CountedCases]:
    """Of what kinds the first DECIDING rows are, with how many and which: the most frequent kind first.

    Of two that are as frequent the one that came first is first, so that the rows alone decide. Rows that cannot be
    used are of no kind.
    """
    found: dict[RowKind, CountedCases] = {}
    trial = Account()
    for row in adopt(islice(scanned, DECIDING), how, trial):
        if not isinstance(row, Fault):
            found.setdefault(kind_of(row), CountedCases()).add(str(row["id"]))
            trial.kind = None  # the next may be of any
    return dict(sorted(found.items(), key=lambda item: -item[1].count))


def decide_kind(scanned: Iterable[Scanned], how: Adoption, limit: float) -> RowKind | None:
    """The kind of most of the first DECIDING rows; None if none of them can be used.

    Raises:
        BactrianError: with the counts and examples where more than `limit` of them are of other
            kinds, or half are.
    """
    kinds = kinds_among(scanned, how)
    total = sum(cases.count for cases in kinds.values())
    most, cases = next(iter(kinds.items()), (None, CountedCases()))
    others = total - cases.count
    if others and (others > limit * total or 2 * others >= total):
        counts = "; ".join(
            f"{each.count:,} {kind} rows ({', '.join(each.examples)}{', …' if each.count > 3 else ''})"
            for kind, each in kinds.items()
        )
        raise BactrianError(
            f"{how.source}: rows of several kinds: of the first {total:,} that can be used, {counts}; expected one "
            f"kind, and at most {limit:g} (bad_limit) of others, which are dropped. Read each kind by a step of its "
            "own, with `layout` set, or name the columns by `columns`"
        )
    return most


def _layout_of(row: Row, how: Adoption, last: FileLayout | None) -> FileLayout:
    """The layout that is named, or else the row's.

    Raises:
        TurnMisfit: for a row that fits neither.
    """
    columns = frozenset(row)
    found = LAYOUTS[how.layout] if how.layout != "auto" else detect(columns)
    if found is None and last is not None and columns & frozenset().union(*last.needs):
        found = last  # a row like those before it, but for what is missing
    if found is None:
        raise TurnMisfit("no known layout", f"columns {', '.join(sorted(columns)) or 'none'}"[:160])
    if how.layout == "auto" and (more := sorted((found.doubts & columns) - how.named)):
        raise TurnMisfit(
            f"looks like layout {found.name}, but has {', '.join(more)} too: name the layout, and `columns`"
        )
    if not found.fits(columns):
        missing = min((sorted(need - columns) for need in found.needs), key=len)
        raise TurnMisfit(f"layout {found.name}: no field '{missing[0]}'")
    return found


def _adapted(row: Row, layout: FileLayout, how: Adoption) -> tuple[Row, list[str]]:
    adapted, mended = layout.adapt(row)
    if layout.kind == "problem" and how.verifier:
        adapted["dataset"] = how.verifier
    if adapted.get("label") is False and "label" not in how.keep:
        raise TurnMisfit("labelled as a bad answer")
    if layout.kind == "conversation":
        kept = {name: value for name, value in adapted.items() if name in ("messages", "tools")}
        if "label" in adapted and "label" in how.keep:
            kept["label"] = adapted["label"]
        adapted = as_problem(adapted, how.verifier) if how.verifier else kept
    return adapted | {name: _kept(row[name], name) for name in how.keep if name in row and name not in adapted}, mended


def _kept(value: Any, name: str) -> Any:
    """A column that is kept besides: text, numbers and lists of text as they are, all else as JSON."""
    if isinstance(value, (str, bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        raise TurnMisfit(f"'{name}' holds what JSON cannot") from None


def _identity(row: Row, where: str, how: Adoption) -> Row:
    own, license = row.get("id"), row.get("license")
    named = row.get(how.source_column) if how.source_column else None
    source = named if isinstance(named, str) and named.strip() else how.source
    stated = license if isinstance(license, str) and "unclear" not in licence_of({"license": license}).marks else ""
    identity = str(own) if (isinstance(own, str) and own) or (type(own) is int and abs(own) < 2**63) else _place(where)
    return {"id": identity, "source": source, "license": stated or how.license}


def _place(where: str) -> str:
    """ "data/a.jsonl, line 3" → "a.jsonl:3", and "owner/name/train, row 3", of the Hub, → "owner/name/train:3"."""
    match = _PLACE.fullmatch(where)
    file, number = match.groups() if match else (where, "1")
    return f"{Path(file).name if Path(file).suffix else file}:{number}"


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The columns under the names of a layout; a template of columns that are missing gives none."""
    renamed = {}
    for name, given in columns.items():
        if given in row:
            value = row[given]
            alone = isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)
            renamed[name] = value[0] if alone else value
        elif "{" in given and all(part in row for part in _COLUMN.findall(given)):
            renamed[name] = _COLUMN.sub(lambda match: _written(row[match[1]]), given)
    return cast(Row, drop_nulls(renamed))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def check_share(account: Account, limit: float, path: str, over: bool = False) -> None:
    """Stop if more than `limit` of the rows were dropped; before the stream is `over` only from
    1,000 drops on.

    Raises:
        BactrianError: with the tally.
    """
    tally = account.tally
    dropped = sum(case.count for case in tally.dropped.values())
    if dropped > limit * tally.total and (over or dropped >= 1000):
        raise BactrianError(
            f"{path}: {dropped:,} of {tally.total:,} rows cannot be used, more than bad_limit {limit:g} allows\n{tally}"
        )
