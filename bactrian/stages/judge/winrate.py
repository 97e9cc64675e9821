"""Stage `winrate`: how often one model's answers are better than another's, length and style controlled."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import (
    CalibrationRef,
    PairJudgeSettings,
    add_calibration_licences,
    calibration_clash,
    model_folder,
    usable_calibration,
)
from bactrian.stages.judge.judge_refs import RubricText, pair_rubric_text
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, ModelRef, Need, Settings, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.judge.judged_rows import JudgedSummary
    from bactrian.judge.opinions import AnswerPair, Opinion
    from bactrian.judge.winrates.answers import ModelAnswer
    from bactrian.judge.winrates.games import Game
    from bactrian.judge.winrates.task_methods import Compare, MethodName, TaskMethod
    from bactrian.store.artifact import Workspace

    Met = Sequence[tuple[str, str, AnswerPair]]

WIN_RATES = "winrates.json"
ASKS = ("judge", "judge_reference")


class TaskMethodSettings(Settings):
    """Each family of tasks is compared in the way that agrees best with people on labelled pairs of it."""

    labels: HeldOutRef = Field(description="pairs with a family, people's preference and a person's answer")
    column: str = Field("task", min_length=1, description="column of answers and labels that names the family")
    methods: list[Literal["exact", "words", "meaning", "judge", "judge_reference"]] = Field(
        ["exact", "words", "judge", "judge_reference"], min_length=1, description="ways that may be taken"
    )
    embedder: ModelRef | None = Field(None, description="sentence encoder of `meaning`; by default all-MiniLM-L6-v2")
    least: int = Field(20, ge=1, description="labelled prompts that a family needs for a choice of its own")

    @model_validator(mode="after")
    def _read(self) -> Self:
        if self.embedder is not None and "meaning" not in self.methods:
            raise ValueError("embedder: only meaning reads one; expected it among methods")
        return self

    def needs(self) -> Iterable[Need]:
        """Sentence embeddings."""
        packaged = "meaning" in self.methods and self.embedder is None
        return [Need("by_task.methods: meaning", "embedding")] if packaged else []

    @property
    def asks(self) -> bool:
        """Whether some of the ways ask a judge."""
        return any(name in ASKS for name in self.methods)


@dataclass
class JudgedComparisons:
    """What is compared, and how: the games, and all that is known of them besides.

    terms: prompt → source and licence of the row that it came in. tasks: prompt → family. chosen: family → its way.
    account: of a calibrated cascade. sure: how sure its judges were of each game, by which `judge check` sees drift.
    """

    games: "list[Game]" = field(default_factory=list)
    terms: dict[str, tuple[str, str]] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    chosen: "dict[str, TaskMethod]" = field(default_factory=dict)
    account: "JudgedSummary | None" = None
    sure: list[dict[str, float]] = field(default_factory=list)


class WinRate(Stage):
    """Win rates, raw and with length and style controlled [Dubois et al. 2024], and Bradley-Terry ratings.

    Data are either verdicts that somebody gave already (AlpacaEval's annotations, round robins, people's votes), or
    models' answers, of which a judge is shown two at a time. All models need the same prompts; a missing one is an
    error. What a judge abstains on is kept apart. Intervals draw prompts and fit everything anew. With `by_task` each
    family of tasks is compared in the way that agrees best with people [HREF, Lyu et al. 2024].
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
    by_task: TaskMethodSettings | None = Field(
        None, description="of answers with a person's answer beside them: each family of tasks in its best way"
    )
    rubric: RubricText = Field(
        "helpfulness", min_length=1, description="what a judge is asked: a shipped name, a text, or a file of it"
    )
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
        if self.by_task is not None and (self.calibration is not None or self.baseline is None):
            raise ValueError("by_task: expected a baseline and no calibration, whose promise is of one way alone")
        if self.by_task is not None and self.by_task.asks != (self.judge is not None):
            raise ValueError(
                "by_task: judge and judge_reference among its methods ask the judge; expected both, or neither"
            )
        return self

    def resolved(self) -> Self:
        return self.model_copy(update={"rubric": pair_rubric_text(self.rubric)})

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def run(self, workspace: "Workspace") -> None:
        from bactrian.judge.winrates.summary import task_rates, win_rate_lines, win_rates
        from bactrian.progress import say

        made = self._compared(workspace)
        games = made.games
        found = {"judge": self._label(), **win_rates(games, self.baseline, self.style, self.resamples, workspace.seed)}
        if made.chosen:
            found |= task_rates(games, made.chosen, made.tasks, str(self.baseline))
        if self.people is not None:
            found["people"] = self._powered(workspace, games)
        (workspace.output / WIN_RATES).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        self._write(workspace, made)
        if self.calibration is not None:
            add_calibration_licences(workspace, self.calibration)
        workspace.metrics.update(
            comparisons=float(found["comparisons"]),
            abstained=float(found["abstained"]),
            prompts=float(found["prompts"]),
        )
        workspace.metrics.update({f"win_rate/{each['model']}": each["raw"]["rate"] for each in found["models"]})
        told = made.account.lines(self.name) if made.account else []
        say("\n".join(["winrate: " + found["judge"], *told, *win_rate_lines(found)]))

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
        if self.by_task is not None:
            asked = f" (judge: {self.judge.label})" if self.judge else ""
            return f"by family of tasks, as agrees best with people{asked}"
        return self.judge.label if self.judge is not None else "recorded verdicts"

    def _compared(self, workspace: "Workspace") -> JudgedComparisons:
        """Verdicts as they were recorded, or a judge's on the answers.

        Raises:
            BactrianError: verdicts and answers are mixed, or answers have no judge, or verdicts one too many.
        """
        from bactrian.data.io.files import stream_rows
        from bactrian.judge.winrates.answers import has_answers, read_answers
        from bactrian.judge.winrates.games import read_game
        from bactrian.judge.winrates.task_methods import task_of

        found = JudgedComparisons()
        answers: list[ModelAnswer] = []
        for ref in self.data:
            path = workspace.input(ref).path
            for number, (row, where) in enumerate(stream_rows(path)):
                if self.limit is not None and number == self.limit:
                    break
                term = (str(row.get("source") or path.name), str(row.get("license") or "unknown"))
                if has_answers(row):
                    new = read_answers(row, where)
                    answers += new
                    found.terms.update({each.prompt: term for each in new})
                    if self.by_task is not None:
                        task = task_of(row, self.by_task.column, where)
                        found.tasks.update({each.prompt: task for each in new})
                else:
                    found.games.append(game := read_game(row, where))
                    found.terms[game.prompt] = term
        asked = self.judge is not None or self.calibration is not None or self.by_task is not None
        if found.games and answers:
            raise BactrianError(
                f"winrate: data: found verdicts and answers in {', '.join(self.data)}, expected one kind"
            )
        if found.games and asked:
            raise BactrianError("winrate: found verdicts, and a judge beside them; expected answers for a judge")
        if answers and not asked:
            raise BactrianError("winrate: found answers and no judge; expected judge or calibration")
        if answers:
            self._judge(workspace, answers, found)
        return found

    def _judge(self, workspace: "Workspace", answers: "list[ModelAnswer]", found: JudgedComparisons) -> None:
        """The games of these answers, by whoever is to judge them; every opinion is on disk as it comes."""
        from bactrian.data.io.journal import Journal
        from bactrian.judge.winrates.answers import answer_pairs, judged_games

        met = answer_pairs(answers, self.baseline)
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            if self.calibration is not None:
                self._by_cascade(workspace, self.calibration, met, journal, found)
            elif self.by_task is not None:
                self._by_task(workspace, self.by_task, met, journal, found)
            else:
                said = self._opinions(workspace, [pair for _, _, pair in met], journal)
                found.games = judged_games(met, said)

    def _by_cascade(
        self, workspace: "Workspace", calibration: str, met: "Met", journal: "Journal", found: JudgedComparisons
    ) -> None:
        """
        Raises:
            BactrianError: nothing may be trusted or nothing was decided; judges were shown a prompt.
        """
        from bactrian.judge.judged_rows import confidences, judged_summary
        from bactrian.judge.opened import open_cascade, refuse_shown
        from bactrian.judge.winrates.answers import decided_games

        folder, pairs = usable_calibration(workspace, calibration), [pair for _, _, pair in met]
        refuse_shown(folder, pairs, "answers to compare")
        cascade = open_cascade(folder, workspace.hardware)
        verdicts = cascade.verdicts(pairs, journal)
        if all(each.abstains for each in verdicts):
            raise BactrianError(
                f"winrate: the cascade abstains on all {len(pairs):,} comparisons: there is no win rate, and nothing "
                f"is guessed"
            )
        last = [each.opinions[-1][1].order_changed if each.opinions else None for each in verdicts]
        found.games = decided_games(met, [each.preferred for each in verdicts], last)
        found.account = judged_summary(cascade, verdicts)
        found.sure = [confidences(each) for each in verdicts]

    def _by_task(
        self, workspace: "Workspace", by: TaskMethodSettings, met: "Met", journal: "Journal", found: JudgedComparisons
    ) -> None:
        """
        Raises:
            BactrianError: labelled prompts are scored too, a family has no labels, or a prompt no person's answer.
        """
        from bactrian.judge.winrates import task_methods
        from bactrian.judge.winrates.answers import compared_games, prompt_of

        labelled = task_methods.read_task_pairs(workspace.input(by.labels).path, by.column)
        task_methods.check_unseen(labelled, [pair for _, _, pair in met])
        compare = self._ways(workspace, by, journal)
        found.chosen = task_methods.choose_methods(labelled, compare, by.least, workspace.seed)
        pairs = [task_methods.TaskPair(found.tasks[prompt_of(pair)], pair) for _, _, pair in met]
        found.games = compared_games(met, task_methods.compared(pairs, found.chosen, compare))

    def _ways(self, workspace: "Workspace", by: TaskMethodSettings, journal: "Journal") -> "dict[MethodName, Compare]":
        """The ways that may be taken, by name."""
        from bactrian.judge.winrates.task_methods import judge_methods, reference_methods

        encode = None
        if "meaning" in by.methods:
            from bactrian.data.overlap.meaning import SentenceEncoder, default_folder

            encode = SentenceEncoder(workspace.input(by.embedder).path if by.embedder else default_folder()).encode
        found = reference_methods(encode)
        if self.judge is not None:
            found |= judge_methods(lambda pairs: self._opinions(workspace, pairs, journal))
        return {name: found[name] for name in by.methods}

    def _opinions(self, workspace: "Workspace", pairs: "Sequence[AnswerPair]", journal: "Journal") -> "list[Opinion]":
        from functools import partial

        from bactrian.judge.kept_opinions import kept_opinions
        from bactrian.judge.opened import open_spec

        assert self.judge is not None
        spec = self.judge.spec(False)
        judge = open_spec(spec, partial(model_folder, workspace), self.rubric, None, workspace.hardware)
        return kept_opinions(lambda: judge, judge.identity, pairs, journal, f"winrate · {self.judge.label}")

    def _write(self, workspace: "Workspace", made: JudgedComparisons) -> None:
        """The comparisons one by one, to read; what a cascade abstained on apart."""
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.judged_rows import write_apart

        apart = []
        with RowWriter(workspace.output, f"# Comparisons\n\nJudge: {self._label()}") as writer:
            for number, game in enumerate(made.games):
                source, licence = made.terms[game.prompt]
                row: dict[str, Any] = {
                    "id": f"{game.prompt}/{number}",
                    "prompt_id": game.prompt,
                    "prompt": [{"role": "user", "content": game.question}] if game.question else None,
                    **{name: getattr(game, name) for name in ("first", "second", "first_text", "second_text")},
                    "task": made.tasks.get(game.prompt),
                    "probability": game.outcome,
                    "fault": game.fault or None,
                    "order_changed": game.order_changed,
                    "source": source,
                    "license": licence,
                }
                if made.account is not None:
                    row |= {"confidences": made.sure[number], "place": number}
                told = {name: value for name, value in row.items() if value is not None}
                if made.account is not None and game.outcome is None:
                    apart.append(told)
                else:
                    writer.write(told)
        for each in writer.licences:
            workspace.add_licence(each)
        if made.account is not None:
            write_apart(workspace.output, apart, made.account)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        from bactrian.stages.judge.calibrate import judging_forecast

        first = self.data[0]
        return judging_forecast([self.judge] if self.judge else [], inputs, first, self.limit, False)
