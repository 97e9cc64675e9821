"""Stage `vote`: problems whose sampled answers agree, with the answer that most gave and one solution that gives it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import known_verifier
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage, VerifierName
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.voting import Ballot
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Pool

Row = dict[str, Any]
NO_TRUTH = "0"
"""The ground truth beside which an answer is read where only what it says is wanted, not whether it is right."""
USUALLY_KEPT = 0.6
"""Share of problems with a majority [OLMo 2], for the forecast."""


class Vote(Stage):
    """Self-consistency voting [Wang et al. 2023; OLMo 2]: a problem stays if more than half of its answers agree.

    Reads rows of `respond`, or any with `answers`. Answers are grouped by the verifier: two are the same if each is
    right where the other is the truth. What is kept is a problem with the majority's answer as its ground truth and one
    of its solutions; rows that had a ground truth also say how often the majority was right.
    """

    name: ClassVar[str] = "vote"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="rows with answers, as respond leaves them")
    verifier: VerifierName = Field(
        "math", description="says which answers are the same: math, gsm8k or one of your own"
    )
    voters: int = Field(3, ge=2, description="fewest answers to a problem")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates
        from bactrian.verify import Pool

        path = workspace.input(self.data).path
        rows, verifier = read_rows(path), known_verifier(self.verifier) or "math"
        for number, row in enumerate(rows, 1):
            if not isinstance(row.get("answers"), list) or not row.get("messages"):
                raise BactrianError(f"{path}, row {number}: found no messages with answers, expected rows of `respond`")
        with Pool() as pool:
            read = self._read(rows, verifier, pool)
            ballots = self._ballots(rows, read, verifier, pool)
            kept = self._kept(rows, read, ballots, verifier, workspace.seed, fates := Fates())
            right = self._right(kept, pool)
        tally = fates.tally
        if not kept:
            raise BactrianError(f"vote: no problem has a majority\n{tally}")
        share = len(kept) / len(rows)
        with RowWriter(workspace.output, f"# Voted problems\n\n{share:.1%} kept.\n\n```\n{tally}\n```") as writer:
            for row in kept:
                writer.write({name: value for name, value in row.items() if name != "given_truth"})
        for licence in writer.licences:
            workspace.add_licence(licence)
        fates.write(workspace.output, kept_share=share, **right)
        workspace.metrics.update(tally.counts(), kept_share=share, **right)
        told = (
            f"; of {right['with_truth']:,.0f} with a known answer {right['truth_share']:.1%} are right" if right else ""
        )
        say(f"vote: {share:.1%} of {len(rows):,} problems kept{told}\n{tally}")

    def _read(self, rows: Sequence[Row], verifier: str, pool: "Pool") -> list[list[str | None]]:
        """What each answer says; None where it was cut, or nothing can be read in it."""
        from bactrian.verify import Item

        items = [Item.of(_asked(row, verifier, NO_TRUTH), str(each["text"])) for row in rows for each in row["answers"]]
        verdicts = iter(pool.verify_all(items))
        found = []
        for row in rows:
            mine = [(each, next(verdicts)) for each in row["answers"]]
            found.append(
                [
                    _bare(said.extracted)
                    if said.extracted and said.outcome in ("right", "wrong") and each.get("finish") != "length"
                    else None
                    for each, said in mine
                ]
            )
        return found

    def _ballots(
        self, rows: Sequence[Row], read: Sequence[Sequence[str | None]], verifier: str, pool: "Pool"
    ) -> "list[Ballot]":
        """Every two different answers to a problem are held against each other, all in one go."""
        from bactrian.data.synth.voting import vote
        from bactrian.verify import Item

        asked: dict[tuple[int, int, str], Item] = {}
        for number, (row, said) in enumerate(zip(rows, read, strict=True)):
            truths = sorted({each for each in said if each is not None})
            for place, own in enumerate(said):
                for truth in truths if own is not None else ():
                    if truth != own:
                        text = str(row["answers"][place]["text"])
                        asked[number, place, truth] = Item.of(_asked(row, verifier, truth), text)
        right = dict(zip(asked, pool.verify_all(list(asked.values())), strict=True))
        ballots = []
        for number, said in enumerate(read):

            def same(place: int, other: int, number: int = number, said: Sequence[str | None] = said) -> bool:
                truth = said[other]
                return truth is not None and right[number, place, truth].outcome == "right"

            ballots.append(vote(said, same))
        return ballots

    def _kept(
        self,
        rows: Sequence[Row],
        read: Sequence[Sequence[str | None]],
        ballots: "Sequence[Ballot]",
        verifier: str,
        seed: int,
        fates: "Fates",
    ) -> list[Row]:
        from random import Random

        from bactrian.data.io.rows import complete_row

        kept = []
        fates.reach("problems", len(rows))
        for row, said, ballot in zip(rows, read, ballots, strict=True):
            row = complete_row(row, "unknown")
            fates.reach("with answers enough", ballot.voters >= self.voters)
            fates.reach("with an answer that can be read", ballot.voters >= self.voters and ballot.answered > 0)
            fates.reach("with a majority", ballot.voters >= self.voters and bool(ballot.winners))
            if flaw := self._flaw(ballot):
                fates.drop(str(row["id"]), flaw, "", list(_voted(row, said)), str(row["messages"][-1]["content"]))
            else:
                fates.keep((), str(row["id"]))
                place = Random(f"vote/{seed}/{row['id']}").choice(ballot.winners)
                answer = row["answers"][place]
                made = {name: value for name, value in row.items() if name not in ("answers", "settings")}
                if row.get("ground_truth"):
                    made["given_truth"] = (row.get("dataset") or verifier, row["ground_truth"], answer["text"])
                votes = {"sizes": list(ballot.sizes), "voters": ballot.voters, "model": str(answer.get("model", ""))}
                truth = said[ballot.winners[0]]
                kept.append(
                    {**made, "dataset": verifier, "ground_truth": truth, "solution": answer["text"], "votes": votes}
                )
        return kept

    def _flaw(self, ballot: "Ballot") -> "Flaw | None":
        """Why a problem is dropped, or None."""
        from bactrian.data.curate.quality import Flaw

        if ballot.voters < self.voters:
            return Flaw(f"fewer than {self.voters} answers")
        if not ballot.answered:
            return Flaw("no answer can be read")
        return None if ballot.winners else Flaw("no strict majority", ", ".join(map(str, ballot.sizes)))

    @staticmethod
    def _right(kept: Sequence[Row], pool: "Pool") -> dict[str, float]:
        """Of the kept problems with a known answer: how many there are, and the share that the majority got right."""
        from bactrian.verify import Item

        known = [(row, *row["given_truth"]) for row in kept if "given_truth" in row]
        verdicts = pool.verify_all(
            [Item.of(_asked(row, verifier, truth), text) for row, verifier, truth, text in known]
        )
        if not known:
            return {}
        right = sum(verdict.outcome == "right" for verdict in verdicts)
        return {"with_truth": float(len(known)), "truth_share": right / len(known)}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.data, Facts())
        return Forecast(makes=Facts(rows=round(USUALLY_KEPT * data.rows), tokens_per_row=data.tokens_per_row))


def _bare(answer: str) -> str:
    """Without the dollar signs around mathematics."""
    return answer.strip().strip("$").strip()


def _voted(row: Mapping[str, Any], said: Sequence[str | None]) -> "Iterator[Row]":
    """The answers of a problem that is dropped, with what was read in each, for the record."""
    for each, read in zip(row["answers"], said, strict=True):
        verdict = "nothing can be read" if read is None else f"read as {read}"
        yield {"model": str(each.get("model", "")), "text": str(each["text"]), "verdict": verdict}


def _asked(row: Mapping[str, Any], verifier: str, truth: str) -> Row:
    """The row as a problem with this truth."""
    asked = [turn for turn in row["messages"] if turn["role"] != "assistant"]
    return {"messages": asked, "dataset": verifier, "ground_truth": truth}
