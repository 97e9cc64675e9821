"""What a cascade's verdicts leave: pairs, the better answer chosen; those without a verdict, apart; the account."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bactrian.data.io.writer import RowWriter
from bactrian.errors import BactrianError
from bactrian.judge.bills import Bill
from bactrian.judge.calibrated import JudgeCalibration
from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeVerdict
from bactrian.judge.labelled import SIDES, ReadPair, pair_digest, recorded_of
from bactrian.judge.models import turn
from bactrian.judge.opinions import FIRST, Opinion
from bactrian.store.disk import write_atomically
from bactrian.store.manifest import Licence

Row = dict[str, Any]
JUDGED, ABSTAINED = "judged.json", "abstained.jsonl"
ABSTAINS = "abstains"
READ = {"prompt", "instruction", "input", "outputs", "chosen", "rejected", "judge_probs", "judge_tokens", "judges"} | {
    name for pair in SIDES for name in pair
}


@dataclass(frozen=True)
class JudgedSummary:
    """How many pairs a cascade decided, which judge decided them, and what all that was asked took.

    composition: judge → pairs that it decided; "abstains": those that none did. bills: judge → all that it was asked,
    escalated pairs too. faults: judge → pairs on which it failed. order_changed: judge → share of its verdicts that
    changed with the order of the answers, where it was asked both. labelled, agreed: pairs that were decided and whose
    rows say which answer people prefer, and how many of these verdicts are the same; no judge was shown that.
    """

    pairs: int
    composition: dict[str, int]
    bills: dict[str, Bill]
    faults: dict[str, int]
    order_changed: dict[str, float]
    labelled: int = 0
    agreed: int = 0

    @property
    def abstained(self) -> int:
        return self.composition[ABSTAINS]

    @property
    def coverage(self) -> float:
        return 1 - self.abstained / self.pairs

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "abstained": self.abstained, "coverage": self.coverage}

    def metrics(self) -> dict[str, float]:
        return {
            "pairs": float(self.pairs - self.abstained),
            "abstained": float(self.abstained),
            "coverage": self.coverage,
            "calls": float(sum(bill.calls for bill in self.bills.values())),
            "tokens": float(sum(bill.tokens_in + bill.tokens_out for bill in self.bills.values())),
            "cost": sum(bill.cost for bill in self.bills.values()),
            **({"agreement": self.agreed / self.labelled} if self.labelled else {}),
        }

    def lines(self, stage: str) -> list[str]:
        """For people."""
        decided = self.pairs - self.abstained
        said = [f"{stage}: {decided:,} of {self.pairs:,} pairs decided; {self.abstained:,} abstained on, kept apart"]
        if self.labelled:
            said.append(f"  {self.agreed:,} of {self.labelled:,} verdicts agree with the labels that rows had")
        for name, bill in self.bills.items():
            failed = f", failed on {self.faults[name]:,}" if self.faults.get(name) else ""
            cost = f", cost {bill.cost:,.4g}" if bill.cost else ""
            said.append(
                f"  {name}: asked about {bill.comparisons:,}, decided {self.composition[name]:,}{failed}; "
                f"{bill.calls:,} calls, {bill.tokens_in + bill.tokens_out:,} tokens{cost}"
            )
        return said


def judged_summary(
    cascade: CalibratedCascade, verdicts: Sequence[CascadeVerdict], labels: Sequence[int | None] = ()
) -> JudgedSummary:
    """The account of these verdicts; `labels`: what people prefer of each pair, where that is known."""
    held = [(found.preferred, label) for found, label in zip(verdicts, labels, strict=False) if label is not None]
    told = [preferred == label for preferred, label in held if preferred is not None]
    counts = Counter(verdict.judge or ABSTAINS for verdict in verdicts)
    said = [each for verdict in verdicts for each in verdict.opinions]
    names = [judge.name for judge in cascade.judges]
    both = [(by, opinion.order_changed) for by, opinion in said if opinion.order_changed is not None]
    changed = {name: [each for by, each in both if by == name] for name in names}
    return JudgedSummary(
        len(verdicts),
        {name: counts[name] for name in (*names, ABSTAINS)},
        cascade.bills(verdicts),
        {name: sum(bool(opinion.fault) for by, opinion in said if by == name) for name in names},
        {name: sum(values) / len(values) for name, values in changed.items() if values},
        len(told),
        sum(told),
    )


def judged_row(row: Mapping[str, Any], read: ReadPair, verdict: CascadeVerdict, source: str, place: int) -> Row:
    """A row of kind pair: the answer that the cascade prefers is chosen.

    Columns besides: judge, which accepted it; confidence, its own; confidences, of all that were asked; place, of the
    row among all that were judged.

    verdict: "first" or "second", of the row's own answers as they stood ("first" is what was chosen there).

    Raises:
        ValueError: the cascade abstains on it.
    """
    if verdict.preferred is None:
        raise ValueError(f"pair {read.pair.id}: no verdict")
    texts = (read.pair.first, read.pair.second)
    chosen, rejected = texts[verdict.preferred], texts[1 - verdict.preferred]
    own = verdict.preferred if read.blind_first == FIRST else 1 - verdict.preferred
    return {
        **{name: value for name, value in row.items() if name not in READ},
        "id": read.pair.id,
        "prompt": [*read.pair.prompt],
        **_sides(row, own, chosen, rejected),
        "verdict": ("first", "second")[own],
        "judge": verdict.judge,
        "confidence": verdict.confidence,
        "confidences": confidences(verdict),
        "place": place,
        "source": str(row.get("source") or source),
        "license": str(row.get("license") or "unknown"),
    }


def _sides(row: Mapping[str, Any], own: int, chosen: str, rejected: str) -> Row:
    """Turns that were messages stay what they were, tools and all."""
    if isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list):
        sides = (row["chosen"], row["rejected"])
        return {"chosen": sides[own], "rejected": sides[1 - own]}
    return {"chosen": [turn("assistant", chosen)], "rejected": [turn("assistant", rejected)]}


def abstained_row(row: Mapping[str, Any], verdict: CascadeVerdict, place: int) -> Row:
    """The row as it was, and how sure each judge was; `place`: of the row among all that were judged."""
    faults = {name: opinion.fault for name, opinion in verdict.opinions if opinion.fault}
    return {**row, "place": place, "confidences": confidences(verdict), **({"faults": faults} if faults else {})}


def confidences(verdict: CascadeVerdict) -> dict[str, float]:
    """Of each judge that was asked; 0 where it failed."""
    return {name: opinion.confidence for name, opinion in verdict.opinions}


def write_judged(folder: Path, decided: Sequence[Row], apart: Sequence[Row], summary: JudgedSummary) -> list[Licence]:
    """data.parquet with what was decided, abstained.jsonl with the rest, judged.json with the account.

    Returns:
        The licences of the rows that were decided.
    """
    text = "\n".join(summary.lines("judge"))
    with RowWriter(folder, f"# Judged pairs\n\n```\n{text}\n```") as writer:
        for row in decided:
            writer.write(row)
    write_apart(folder, apart, summary)
    return list(writer.licences)


def write_apart(folder: Path, apart: Sequence[Row], summary: JudgedSummary) -> None:
    """What the cascade abstained on, and the account, beside the pairs."""
    lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in apart)
    write_atomically(folder / ABSTAINED, lines)
    write_atomically(folder / JUDGED, json.dumps(summary.record(), indent=1, ensure_ascii=False) + "\n")


def recorded_opinions(
    rows: Sequence[tuple[Mapping[str, Any], str]], read: Sequence[ReadPair]
) -> dict[str, dict[str, Opinion]]:
    """Pair's digest → judge → opinion, of rows that carry what judges said.

    Raises:
        BactrianError: for probabilities that are none.
    """
    found = {}
    for (row, where), each in zip(rows, read, strict=True):
        if said := recorded_of(row, where):
            found[pair_digest(each.pair)] = said
    return found


def refuse_useless(calibration: JudgeCalibration, where: str) -> None:
    """
    Raises:
        BactrianError: none of its judges may be trusted with anything, so nothing is asked.
    """
    if not calibration.cascade.calibrated:
        raise BactrianError(f"{where}: no judge of this calibration may be trusted:\n" + "\n".join(calibration.lines()))
