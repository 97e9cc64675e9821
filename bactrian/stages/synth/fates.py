"""What became of every answer: counted by reason, with each dropped one on record, for the artifact and the page."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.data.curate.quality import Flaw
    from bactrian.generate.chat_request import ChatRequest

Row = dict[str, Any]
DROPPED, ABSTAINED = "dropped.jsonl", "abstained.jsonl"
"""Files of the artifact: a line for each answer that no row was made of; the rows on which a judge abstained."""
SHOWN = 2_000
"""Characters of a dropped answer that are kept on record."""
KEPT = "kept.jsonl"
"""The file with a line for each row, in the order of the rows: what was asked, of whom, what was mended."""


class Fates:
    """Counts answers, kept and dropped. `funnel`: stage of the way → how many came that far, in order.

    judge: what is told of the judge, where there was one. apart: rows on which it abstained; they are counted as
    dropped, too.
    """

    def __init__(self) -> None:
        from bactrian.data.io.tally import Tally

        self._asked: dict[str, tuple[str, str, ChatRequest]] = {}
        self._kept: list[Row] = []
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

    def ask(self, template: str, requests: "Mapping[str, tuple[str, ChatRequest]]") -> None:
        """What is asked, of whom, by the keys of the answers: a record of an answer says so, too."""
        self._asked |= {key: (template, label, request) for key, (label, request) in requests.items()}

    def drop(self, key: str, flaw: "Flaw", text: str = "", answers: Sequence[Row] = (), prompt: str = "") -> None:
        """An answer is not used; `key`: which one.

        Args:
            answers: where it is several that are not used, each with its text and what there is to say of it.
            prompt: what was asked, where `ask` was not told.
        """
        self.tally.drop(flaw.reason, f"{key}{f' ({flaw.detail})' if flaw.detail else ''}")
        about = {"prompt": cut(prompt)} if prompt else self._about(key)
        several = {"answers": [{**each, "text": cut(str(each["text"]))} for each in answers]} if answers else {}
        said = {"answer": key, "reason": flaw.reason, "detail": flaw.detail, "text": text[:SHOWN]}
        self.dropped.append({**said, **about, **several})

    def _about(self, key: str) -> Row:
        """Model, template and prompt of an answer, or of the one that it is part of ("3/0" of "3")."""
        while key and key not in self._asked:
            key = key.rpartition("/")[0]
        if not key:
            return {}
        template, label, request = self._asked[key]
        asked = str(request.messages[-1]["content"]) if request.messages else request.opening
        return {"model": label, "template": template, "prompt": cut(asked)}

    def keep(self, mended: Sequence[str], key: str) -> None:
        """An answer is used, after what had to be mended in it. In the order of the rows."""
        self._kept.append({"answer": key, "mended": list(mended), **self._about(key)})
        if mended:
            self.tally.repair(f"mended: {', '.join(mended)}", key)
        else:
            self.tally.keep()

    def write(self, folder: "Path", **more: Any) -> None:
        """rows.json, with the funnel, DROPPED, and ABSTAINED where a judge might abstain."""
        from bactrian.data.io.tally import write_account

        _write_lines(folder / DROPPED, self.dropped)
        if self._asked:
            _write_lines(folder / KEPT, self._kept)
        if self.judge is not None:
            more["judge"] = self.judge
            if self.judge["calibrated"]:
                _write_lines(folder / ABSTAINED, self.apart)
        write_account(folder, self.tally, funnel=self.funnel, **more)


def cut(text: str) -> str:
    """At most SHOWN characters: of a longer text the beginning and, as there stands what is asked, the end."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 3]} […] {text[5 - SHOWN + SHOWN // 3 :]}"


def _write_lines(path: "Path", rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in rows), "utf-8")


def cost_lines(metrics: Mapping[str, float]) -> str:
    """The cost in a sentence for a card."""
    money = f", {metrics['money']:.2f} of money" if metrics["money"] else ""
    return (
        f"{metrics['answers']:,.0f} answers, {metrics['tokens_read']:,.0f} tokens read and "
        f"{metrics['tokens_written']:,.0f} written{money}."
    )
