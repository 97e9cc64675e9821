"""What became of every answer: counted by reason, with each dropped one on record, for the artifact and the page."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.data.curate.quality import Flaw

Row = dict[str, Any]
DROPPED, ABSTAINED = "dropped.jsonl", "abstained.jsonl"
"""Files of the artifact: a line for each answer that no row was made of; the rows on which a judge abstained."""
SHOWN = 2_000
"""Characters of a dropped answer that are kept on record."""


class Fates:
    """Counts answers, kept and dropped. `funnel`: stage of the way → how many came that far, in order.

    judge: what is told of the judge, where there was one. apart: rows on which it abstained; they are counted as
    dropped, too.
    """

    def __init__(self) -> None:
        from bactrian.data.io.tally import Tally

        self.tally: Tally = Tally()
        self.funnel: dict[str, int] = {}
        self.dropped: list[Row] = []
        self.judge: Row | None = None
        self.apart: list[Row] = []

    @property
    def warning(self) -> str:
        """What a card and a message have to say of the judge; "" where there is nothing."""
        return str(self.judge["warning"]) if self.judge and "warning" in self.judge else ""

    def reach(self, step: str, count: int) -> None:
        """So many came so far."""
        self.funnel[step] = self.funnel.get(step, 0) + count

    def drop(self, key: str, flaw: "Flaw", text: str = "") -> None:
        """An answer is not used; `key`: which one."""
        self.tally.drop(flaw.reason, f"{key}{f' ({flaw.detail})' if flaw.detail else ''}")
        self.dropped.append({"answer": key, "reason": flaw.reason, "detail": flaw.detail, "text": text[:SHOWN]})

    def keep(self, mended: Sequence[str], key: str) -> None:
        """An answer is used, after what had to be mended in it."""
        if mended:
            self.tally.repair(f"mended: {', '.join(mended)}", key)
        else:
            self.tally.keep()

    def write(self, folder: "Path", **more: Any) -> None:
        """rows.json, with the funnel, DROPPED, and ABSTAINED where a judge might abstain."""
        from bactrian.data.io.tally import write_account

        _write_lines(folder / DROPPED, self.dropped)
        if self.judge is not None:
            more["judge"] = self.judge
            if self.judge["calibrated"]:
                _write_lines(folder / ABSTAINED, self.apart)
        write_account(folder, self.tally, funnel=self.funnel, **more)


def _write_lines(path: "Path", rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in rows), "utf-8")


def cost_lines(metrics: Mapping[str, float]) -> str:
    """The cost in a sentence for a card."""
    money = f", {metrics['money']:.2f} of money" if metrics["money"] else ""
    return (
        f"{metrics['answers']:,.0f} answers, {metrics['tokens_read']:,.0f} tokens read and "
        f"{metrics['tokens_written']:,.0f} written{money}."
    )
