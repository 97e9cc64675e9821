"""What the first rows of a file are, told before anything is loaded: fit as they are, once adopted, or not at all."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.advice import advice, described, expected, spelled
from bactrian.data.io.files import data_files
from bactrian.data.io.formats import Fault, Scanned, TextRows, scan_first
from bactrian.data.io.layouts import LAYOUTS
from bactrian.data.io.needs import RowNeed, kind_for, needs_met
from bactrian.data.io.rows import Row, licence_of, validate_row
from bactrian.errors import BactrianError

FIRST = 100
"""Rows that are looked at, from the first."""


@dataclass(frozen=True)
class Finding:
    """What came of a look at the first rows.

    own: they can be used as they are. verifier: the one that their answers ask for, where none was named. misfit: (what
    was found, what was expected) where they cannot be used. licensed: all of them say on what terms they are given.
    """

    own: bool = False
    verifier: str = ""
    misfit: tuple[str, str] | None = None
    licensed: bool = True


def first_rows(path: Path, text_rows: TextRows = "line", count: int = FIRST) -> list[Scanned]:
    """The first rows of a file, folder, artifact or pattern, and what is wrong with those that cannot be read.

    Raises:
        BactrianError: no data files are there.
    """
    found: list[Scanned] = []
    for file in data_files(path):
        found += scan_first(file, count - len(found), text_rows)
        if len(found) >= count:
            break
    return found


def examine(
    rows: Sequence[Scanned], needs: Collection[RowNeed], how: Adoption, bad_limit: float = 0.1, as_they_are: bool = True
) -> Finding:
    """Whether rows are what is needed, as they are or once adopted.

    Args:
        bad_limit: share of rows that may be dropped; of those of a larger file more may, as the others are not known.
        as_they_are: rows that fit already may stay; False where settings say how they are to be read.
    """
    good = [(row, where) for row, where in rows if not isinstance(row, Fault)]
    if not good:
        faults = (row for row, _ in rows if isinstance(row, Fault))
        return Finding(misfit=("", str(next(faults, f"{how.source}: empty, no rows"))))
    licensed = bool(how.license) or all(is_licensed(row) for row, _ in good)
    if as_they_are and all(fits(row, needs) for row, _ in good):
        if (fault := next((row for row, _ in rows if isinstance(row, Fault)), None)) is None:
            return Finding(own=True, licensed=licensed)
        drop = f"mend it, or drop such rows, counted: {spelled({'bad_limit': f'{bad_limit:g}'})}"
        return Finding(misfit=("", f"{fault}\n  {drop}"), licensed=licensed)
    account, verifier = Account(), ""
    adopted = list(one_by_one(rows, how, account))
    if "problem" in needs and not how.verifier and not _usable(adopted, needs):
        verifier = verifier_for(account.layouts, rows, adopted, how.columns.get("answer", "answer"))
        if verifier:
            adopted = list(one_by_one(rows, replace(how, verifier=verifier), Account()))
    usable, most = _usable(adopted, needs), bad_limit if len(rows) < FIRST else max(bad_limit, 0.3)
    if usable and len(rows) - usable <= most * len(rows):
        return Finding(verifier=verifier, licensed=licensed)
    found, wanted = _misfit(rows, adopted, needs, how)
    if usable:
        lost = len(rows) - usable
        those = f"{lost} of the {'first ' if len(rows) >= FIRST else ''}{len(rows)} rows cannot be used"
        wanted += f"\n  {those}; to go on without them: {spelled({'bad_limit': f'{_rounded_up(lost / len(rows)):g}'})}"
    return Finding(misfit=(found, wanted), licensed=licensed)


def made_needs(rows: Sequence[Scanned], how: Adoption) -> set[RowNeed]:
    """What rows would be good for once adopted, by most of them; nothing where none can be used."""
    adopted = list(one_by_one(rows, how, Account()))
    met = [needs_met(row) for row in adopted if not isinstance(row, Fault)]
    return {need for need in set().union(*met) if 2 * sum(need in each for each in met) > len(met)} if met else set()


def fits(row: Row, needs: Collection[RowNeed]) -> bool:
    """Whether a row can be used as it is."""
    return any(_complaint(row, need, "") is None and need in needs_met(row) for need in needs)


def is_licensed(row: Row) -> bool:
    """Whether a row says on what terms it is given."""
    return "unclear" not in licence_of(row).marks


def one_by_one(rows: Sequence[Scanned], how: Adoption, account: Account) -> Iterator[Row | Fault]:
    """Each row adopted, of whatever kind it is."""
    for row in adopt(rows, how, account):
        account.kind = None  # the next may be of any
        yield row


def _complaint(row: Row, need: RowNeed, where: str) -> str | None:
    """What is wrong with the form of a row as it is; None if nothing is."""
    try:
        validate_row(row, kind_for(need), where)
    except BactrianError as error:
        return str(error)
    return None


def _usable(adopted: Sequence[Row | Fault], needs: Collection[RowNeed]) -> int:
    return sum(not isinstance(row, Fault) and bool(needs_met(row) & set(needs)) for row in adopted)


_OWN: dict[RowNeed, frozenset[str]] = {
    "conversation": frozenset(("messages",)),
    "worked": frozenset(("messages", "solution")),
    "feedback": frozenset(("messages", "label")),
    "problem": frozenset(("messages", "ground_truth", "dataset")),
    "pair": frozenset(("prompt", "chosen", "rejected")),
    "text": frozenset(("text",)),
}


def _misfit(
    rows: Sequence[Scanned], adopted: Sequence[Row | Fault], needs: Collection[RowNeed], how: Adoption
) -> tuple[str, str]:
    """(found, expected) of the first row that cannot be used here."""
    which = next(i for i, row in enumerate(adopted) if isinstance(row, Fault) or not needs_met(row) & set(needs))
    (row, where), became = rows[which], adopted[which]
    if isinstance(row, Fault):
        return "", str(row)
    met: set[RowNeed] = set() if isinstance(became, Fault) else needs_met(became)
    wanted = f"{expected(needs)}{advice(row, met, needs, how)}"
    if isinstance(became, Fault):
        for need in needs:  # a row of ours, but for one thing: then that is what to say
            missing = len(_OWN[need] - row.keys())
            if missing <= (len(_OWN[need]) > 2) and (said := _complaint(row, need, where)):
                return "", said + advice(row, met, needs, how)
        detail = f" ({became.detail})" if became.detail and became.reason != "no known layout" else ""
        looks = re.match(r"looks like layout (\w+)", became.reason)
        if looks and LAYOUTS[looks[1]].kind in {kind_for(need) for need in needs}:
            wanted += f"\n  or take it as what it looks like: {spelled({'layout': looks[1]})}"
        return f"{where}: {became.reason}{detail}, {described(row)}", wanted
    kind = next((need for need in ("pair", "text", "problem") if need in met), "conversation")
    return f"{where}: a {kind} row, {described(row)}", wanted


def _rounded_up(share: float) -> float:
    return min(1.0, math.ceil(share * 20) / 20)


_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
MOST = 0.9
"""Share of answers that must be numbers or formulas: among mathematicians' there are a few words."""
LONGEST = 80
_ANSWERED = ("question_answer", "prompt_completion")


def verifier_for(
    layouts: Mapping[str, int], rows: Iterable[Scanned], adopted: Iterable[Row | Fault], truth: str
) -> str:
    """`choice` for lettered choices, `gsm8k` for answers that end in `#### N`, `math` for numbers and formulas; or "".

    Args:
        layouts: of the rows, as they were found. adopted: the rows as conversations. truth: the column that has the
            final answer where the conversation has a worked one.
    """
    if set(layouts) == {"choices"}:
        return "choice"
    answers = [
        str(row[truth] if truth in row else became["messages"][-1]["content"]).strip()
        for (row, _), became in zip(rows, adopted, strict=True)
        if not isinstance(row, Fault) and not isinstance(became, Fault) and "messages" in became
    ]
    if not answers or not set(layouts) <= set(_ANSWERED):
        return ""
    if all("####" in answer for answer in answers):
        return "gsm8k"
    return "math" if sum(map(_is_formula, answers)) >= MOST * len(answers) else ""


def _is_formula(answer: str) -> bool:
    """A number or a formula: a digit or a command of LaTeX, no word, and short."""
    bare = _COMMAND.sub(" ", answer)
    return len(answer) <= LONGEST and (bare != answer or any(map(str.isdigit, bare))) and not _WORD.search(bare)
