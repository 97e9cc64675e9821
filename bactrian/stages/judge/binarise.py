"""Stage `binarise`: preference pairs from rated answers."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import CalibrationRef, calibration_clash, label_pairs
from bactrian.stages.stage import DataRef, Facts, Forecast, Settings, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Delta(Settings):
    """Which model's answers are chosen and whose are rejected, whatever they say."""

    chosen: str = Field(description="the strong model, as `respond` names it")
    rejected: str = Field(description="the weak one")

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError(f"found {self.chosen!r} twice, expected two models")
        return self


class Binarise(Stage):
    """Chosen is the best rated answer, rejected a random one of those below it [Tülu 3, Lambert et al. 2024].

    A pair needs a difference of scores, of at least `margin`; a prompt whose answers allow none is dropped and counted.
    With `calibration`, answers need no ratings: they meet at random, and a calibrated cascade says which is better; or
    one has said so already, where `annotate` had it compare them all.
    With `delta` nobody judges: a strong model's answers are chosen, a weak one's rejected [Geng et al. 2025; Olmo 3].
    Each pair says who wrote both sides, who judged them, their ratings, and what the judge wrote.
    """

    name: ClassVar[str] = "binarise"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="rows of `annotate`; with calibration or delta, of `respond`")
    margin: float = Field(0.0, ge=0, le=4, description="least difference of scores (1 to 5), beyond being different")
    pairs_per_prompt: int = Field(1, ge=1, description="at most; each with another rejected answer")
    cut_off: bool = Field(False, description="answers that were cut off may be chosen and rejected too")
    calibration: CalibrationRef | None = Field(
        None, description="what `calibrate` left: its cascade prefers, in place of ratings, and may abstain"
    )

    delta: Delta | None = Field(None, description="two models, of which one's answers are better than the other's")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.delta is not None and (self.margin or self.calibration is not None):
            raise ValueError("delta: found beside margin or calibration; expected one of them, as nobody judges")
        if self.calibration is not None and self.margin:
            raise ValueError("margin: found beside calibration, which reads no scores; expected one of them")
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.curate.pair_lengths import length_summary, summary_line
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say

        if self.calibration is not None:
            return self._judged(workspace, self.calibration)
        path, tally = workspace.input(self.data).path, Tally()
        if self.delta is not None:
            pairs = self._by_model(path, self.delta, tally)
        elif "comparisons" in next(iter(stream_rows(path)), ({}, ""))[0]:
            return self._compared(workspace)
        else:
            rows, seed = stream_rows(path), workspace.seed
            pairs = [pair for row, where in rows for pair in self._pairs(row, where, seed, tally)]
        if not pairs:
            raise BactrianError(f"{path}: no pair could be made\n{tally}")
        with RowWriter(workspace.output, f"# Preference pairs\n\n```\n{tally}\n```") as writer:
            for pair in pairs:
                writer.write(pair)
        for licence in writer.licences:
            workspace.add_licence(licence)
        lengths = length_summary(pairs)
        write_account(workspace.output, tally, lengths={"pairs": lengths})
        workspace.metrics.update(tally.counts(), pairs=float(len(pairs)), chosen_longer=lengths["chosen_longer"])
        margins = [pair["chosen_score"] - pair["rejected_score"] for pair in pairs if "chosen_score" in pair]
        if margins:
            workspace.metrics["mean_margin"] = sum(margins) / len(margins)
        rated = f", mean margin {sum(margins) / len(margins):.2f}" if margins else ""
        say(f"binarise: {len(pairs):,} pairs{rated}; {tally}\n  {summary_line('lengths', lengths)}")

    def _by_model(self, path: "Path", delta: Delta, tally: "Tally") -> list[Row]:
        """Of each prompt the strong model's answers over the weak one's, sample by sample."""
        from bactrian.data.io.files import stream_rows
        from bactrian.judge.annotation import check_answers

        pairs, seen = list[Row](), set[str]()
        for row, where in stream_rows(path):
            check_answers([row], where)
            seen |= {str(answer["model"]) for answer in row["answers"]}
            pairs += self._delta_pairs(row, delta, tally)
        if absent := [model for model in (delta.chosen, delta.rejected) if model not in seen]:
            raise BactrianError(
                f"binarise: no pair is left: {path}, delta: found no answer of {absent[0]!r}; there are answers of "
                f"{', '.join(sorted(seen)) or 'nobody'}"
            )
        return pairs

    def _delta_pairs(self, row: Row, delta: Delta, tally: "Tally") -> list[Row]:
        from bactrian.judge.pairwise import ScoredAnswer, pair_row

        strong, weak = (
            [
                ScoredAnswer(answer["text"], 0.0, answer)
                for answer in row["answers"]
                if answer["model"] == model and answer["text"].strip() and (self.cut_off or answer["finish"] == "stop")
            ]
            for model in (delta.chosen, delta.rejected)
        )
        found = [both for both in zip(strong, weak, strict=False) if both[0].text.strip() != both[1].text.strip()]
        if not found:
            both = "both models gave one answer" if strong and weak else "a model gave no whole answer"
            tally.drop(both, str(row["id"]))
            return []
        tally.keep()
        rows = [pair_row(row, number, *both) for number, both in enumerate(found[: self.pairs_per_prompt])]
        unscored = ("chosen_score", "rejected_score")  # nobody gave any
        used = {"use": row["use"]} if "use" in row else {}
        return [{name: value for name, value in each.items() if name not in unscored} | used for each in rows]

    def _judged(self, workspace: "Workspace", calibration: str) -> None:
        """Pairs of answers drawn at random, decided by the cascade; what it abstains on is kept apart."""
        from random import Random

        from bactrian.data.io.files import stream_rows
        from bactrian.judge.annotation import check_answers
        from bactrian.judge.answer_pairs import drawn_pairs
        from bactrian.judge.pairwise import ScoredAnswer

        path, drawn = workspace.input(self.data).path, []
        for row, where in stream_rows(path):
            check_answers([row], where)
            usable = [
                ScoredAnswer(answer["text"], 0.0, answer)
                for answer in row["answers"]
                if self.cut_off or answer["finish"] == "stop"
            ]
            drawn += drawn_pairs(row, usable, Random(f"binarise/{workspace.seed}/{row['id']}"), self.pairs_per_prompt)
        label_pairs(workspace, calibration, drawn, self.name)

    def _compared(self, workspace: "Workspace") -> None:
        """Pairs drawn at random from what a cascade compared; those on which it abstained are kept apart.

        Raises:
            BactrianError: a row without comparisons, or no pair was decided.
        """
        from random import Random

        from bactrian.data.io.files import stream_rows
        from bactrian.judge.annotation import check_answers
        from bactrian.judge.answer_pairs import recorded_pairs, recorded_summary
        from bactrian.judge.judged_rows import write_judged
        from bactrian.progress import say

        if self.margin:
            raise BactrianError("binarise: margin: found rows of comparisons, which have no scores; expected none")
        path, pairs, apart = workspace.input(self.data).path, list[Row](), list[Row]()
        for row, where in stream_rows(path):
            check_answers([row], where)
            if not isinstance(row.get("comparisons"), list):
                raise BactrianError(f"{where}: found no comparisons, expected them in every row, as in the first")
            usable = [n for n, answer in enumerate(row["answers"]) if self.cut_off or answer["finish"] == "stop"]
            random = Random(f"binarise/{workspace.seed}/{row['id']}")
            place = len(pairs) + len(apart)
            made, left = recorded_pairs(row, where, usable, random, self.pairs_per_prompt, place)
            pairs, apart = [*pairs, *made], [*apart, *left]
        if not pairs:
            raise BactrianError(f"{path}: no pair: of {len(apart):,} that were drawn the cascade decided none")
        summary = recorded_summary(pairs, apart)
        for licence in write_judged(workspace.output, pairs, apart, summary):
            workspace.add_licence(licence)
        workspace.metrics.update(summary.metrics())
        say("\n".join(summary.lines(self.name)))

    def _pairs(self, row: Row, where: str, seed: int, tally: "Tally") -> list[Row]:
        from random import Random

        from bactrian.judge.pairwise import ScoredAnswer, pair_row, preferences

        if not isinstance(row.get("answers"), list) or not isinstance(row.get("judgements"), list):
            raise BactrianError(
                f"{where}: expected `answers` and `judgements`, as `annotate` leaves them; found the "
                f"fields {', '.join(row)}"
            )
        rated = [answer for answer in row["answers"] if isinstance(answer.get("score"), float | int)]
        usable = [
            ScoredAnswer(answer["text"], float(answer["score"]), answer)
            for answer in rated
            if self.cut_off or answer["finish"] == "stop"
        ]
        found = preferences(usable, Random(f"binarise/{seed}/{row['id']}"), self.pairs_per_prompt, self.margin)
        if not found:
            few = "fewer than two answers are rated and whole"
            tally.drop(few if len(usable) < 2 else "no two answers differ enough in score", str(row["id"]))
            return []
        tally.keep()
        judge = row["judgements"][0]["judge"] if row["judgements"] else "?"
        return [
            pair_row(
                row,
                number,
                chosen,
                rejected,
                chosen_ratings=json.dumps(chosen.origin["ratings"], ensure_ascii=False),
                rejected_ratings=json.dumps(rejected.origin["ratings"], ensure_ascii=False),
                judge=judge,
                judgements=json.dumps(row["judgements"], ensure_ascii=False),
            )
            | ({"use": row["use"]} if "use" in row else {})
            for number, (chosen, rejected) in enumerate(found)
        ]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.data, Facts())
        return Forecast(makes=Facts(rows=data.rows * self.pairs_per_prompt, tokens_per_row=data.tokens_per_row / 2))
