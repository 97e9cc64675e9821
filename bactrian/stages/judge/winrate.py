"""Stage `winrate`: how often one model's answers are better than another's, length and style controlled."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import (
    CalibrationRef,
    PairJudgeSettings,
    add_calibration_licences,
    calibration_clash,
    model_folder,
)
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.judge.winrates.answers import ModelAnswer
    from bactrian.judge.winrates.games import Game
    from bactrian.store.artifact import Workspace

WIN_RATES = "winrates.json"
Terms = dict[str, tuple[str, str]]
"""Prompt → source and licence of the row that it came in."""


class WinRate(Stage):
    """Win rates, raw and with length and style controlled [Dubois et al. 2024], and Bradley-Terry ratings.

    Data are either verdicts that somebody gave already (AlpacaEval's annotations, round robins, people's votes), or
    models' answers, of which a judge is shown two at a time. All models need the same prompts; a missing one is an
    error. What a judge abstains on is kept apart. Intervals draw prompts and fit everything anew.
    """

    name: ClassVar[str] = "winrate"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True
    positional: ClassVar[str] = "data"

    data: list[DataRef] = Field(min_length=1, description="files or steps with verdicts, or with models' answers")
    baseline: str | None = Field(None, description="the model that the others are compared with; none: ratings only")
    judge: PairJudgeSettings | None = Field(None, description="of answers: {model: …}, {server: …}, {reward_model: …}")
    calibration: CalibrationRef | None = Field(None, description="of answers: what `calibrate` left, a cascade")
    people: DataRef | None = Field(
        None, description="people's verdicts on some of the comparisons: win rates as people find them"
    )
    rubric: str = Field("helpfulness", min_length=1, description="what a judge is asked: a shipped name, or a text")
    style: bool = Field(True, description="control length, headers, lists and bold, where there are texts")
    resamples: int = Field(500, ge=20, description="draws of prompts for intervals")
    limit: int | None = Field(None, ge=1, description="rows of each file, from the first")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if self.judge is not None and self.calibration is not None:
            raise ValueError("found a judge and a calibration, expected one of them")
        if self.people is not None and self.baseline is None:
            raise ValueError("people: expected a baseline, against which the win rates are")
        if self.judge is not None and (self.judge.recorded is not None or self.judge.shows(False)):
            raise ValueError("judge: expected one that is asked without demonstrations; calibrate others first")
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def run(self, workspace: "Workspace") -> None:
        from bactrian.judge.winrates.summary import win_rate_lines, win_rates
        from bactrian.progress import say

        games, terms = self._games(workspace)
        found = {"judge": self._label(), **win_rates(games, self.baseline, self.style, self.resamples, workspace.seed)}
        if self.people is not None:
            found["people"] = self._powered(workspace, games)
        (workspace.output / WIN_RATES).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        self._write(workspace, games, terms)
        if self.calibration is not None:
            add_calibration_licences(workspace, self.calibration)
        workspace.metrics.update(
            comparisons=float(found["comparisons"]),
            abstained=float(found["abstained"]),
            prompts=float(found["prompts"]),
        )
        workspace.metrics.update({f"win_rate/{each['model']}": each["raw"]["rate"] for each in found["models"]})
        say("\n".join(["winrate: " + found["judge"], *win_rate_lines(found)]))

    def _powered(self, workspace: "Workspace", games: "list[Game]") -> list[dict[str, Any]]:
        from bactrian.data.io.files import stream_rows
        from bactrian.judge.winrates.games import games_by_texts, read_by_hand
        from bactrian.judge.winrates.summary import powered_rates

        known = games_by_texts(games)
        path = workspace.input(str(self.people)).path
        said = [read_by_hand(row, where, known) for row, where in stream_rows(path)]
        return powered_rates(games, said, str(self.baseline))

    def _label(self) -> str:
        if self.calibration is not None:
            return f"calibrated cascade {self.calibration}"
        return self.judge.label if self.judge is not None else "recorded verdicts"

    def _games(self, workspace: "Workspace") -> "tuple[list[Game], Terms]":
        """Verdicts as they were recorded, or a judge's on the answers.

        Raises:
            BactrianError: verdicts and answers are mixed, or answers have no judge, or verdicts one too many.
        """
        from bactrian.data.io.files import stream_rows
        from bactrian.judge.winrates.answers import has_answers, read_answers
        from bactrian.judge.winrates.games import read_game

        games: list[Game] = []
        answers: list[ModelAnswer] = []
        terms: Terms = {}
        for ref in self.data:
            path = workspace.input(ref).path
            for number, (row, where) in enumerate(stream_rows(path)):
                if self.limit is not None and number == self.limit:
                    break
                term = (str(row.get("source") or path.name), str(row.get("license") or "unknown"))
                if has_answers(row):
                    new = read_answers(row, where)
                    answers += new
                    terms.update({each.prompt: term for each in new})
                else:
                    games.append(game := read_game(row, where))
                    terms[game.prompt] = term
        asked = self.judge is not None or self.calibration is not None
        if games and answers:
            raise BactrianError(
                f"winrate: data: found verdicts and answers in {', '.join(self.data)}, expected one kind"
            )
        if games and asked:
            raise BactrianError("winrate: found verdicts, and a judge beside them; expected answers for a judge")
        if answers and not asked:
            raise BactrianError("winrate: found answers and no judge; expected judge or calibration")
        return (self._judged(workspace, answers) if answers else games), terms

    def _judged(self, workspace: "Workspace", answers: "list[ModelAnswer]") -> "list[Game]":
        from bactrian.data.io.journal import Journal
        from bactrian.judge.winrates.answers import answer_pairs, decided_games, judged_games

        met = answer_pairs(answers, self.baseline)
        pairs = [pair for _, _, pair in met]
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            if self.calibration is not None:
                from bactrian.judge.opened import open_cascade

                cascade = open_cascade(workspace.input(self.calibration).path, workspace.hardware)
                verdicts = cascade.verdicts(pairs, journal)
                last = [each.opinions[-1][1].order_changed if each.opinions else None for each in verdicts]
                return decided_games(met, [each.preferred for each in verdicts], last)
            from functools import partial

            from bactrian.judge.kept_opinions import kept_opinions
            from bactrian.judge.opened import open_spec

            assert self.judge is not None
            spec = self.judge.spec(False)
            judge = open_spec(spec, partial(model_folder, workspace), self.rubric, None, workspace.hardware)
            said = kept_opinions(lambda: judge, judge.identity, pairs, journal, f"winrate · {self.judge.label}")
            return judged_games(met, said)

    def _write(self, workspace: "Workspace", games: "list[Game]", terms: Terms) -> None:
        """The comparisons one by one, to read."""
        from bactrian.data.io.writer import RowWriter

        with RowWriter(workspace.output, f"# Comparisons\n\nJudge: {self._label()}") as writer:
            for number, game in enumerate(games):
                source, licence = terms[game.prompt]
                row: dict[str, Any] = {
                    "id": f"{game.prompt}/{number}",
                    "prompt_id": game.prompt,
                    "prompt": [{"role": "user", "content": game.question}] if game.question else None,
                    **{name: getattr(game, name) for name in ("first", "second", "first_text", "second_text")},
                    "probability": game.outcome,
                    "fault": game.fault or None,
                    "order_changed": game.order_changed,
                    "source": source,
                    "license": licence,
                }
                writer.write({name: value for name, value in row.items() if value is not None})
        for each in writer.licences:
            workspace.add_licence(each)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        from bactrian.stages.judge.calibrate import judging_forecast

        first = self.data[0]
        return judging_forecast([self.judge] if self.judge else [], inputs, first, self.limit, False)
