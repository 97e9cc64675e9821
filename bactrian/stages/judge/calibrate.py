"""Stage `calibrate`: from which confidence on judges of pairs may be trusted, by people's labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import PairJudgeSettings, check_judge_names, model_folder
from bactrian.stages.judge.judge_refs import RubricText, pair_rubric_text
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.judge.calibrated import CalibratedJudge
    from bactrian.judge.demonstrations import DemonstrationPool
    from bactrian.judge.labelled import LabelledPairs
    from bactrian.judge.opinions import JudgeIdentity, Opinion
    from bactrian.store.artifact import Workspace


class CalibrateJudges(Stage):
    """Thresholds on judges' confidence that carry a guarantee of agreement with people [Jung et al. 2025].

    With probability 1 − delta, of what the cascade accepts at most a share alpha is not what people would have said.
    Judges stand in the order in which they are asked, cheap ones first; each is put all labelled pairs. One that cannot
    be trusted at any confidence abstains always. The guarantee holds for pairs like those that were labelled, for these
    very judges, asked in this way.
    """

    name: ClassVar[str] = "calibrate"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    labels: DataRef = Field(description="pairs and which answer people prefer; several layouts (docs/judges.md)")
    judges: list[PairJudgeSettings] = Field(min_length=1, description="cheap to strong: {model: …}, {recorded: …}, …")
    rubric: RubricText = Field(
        "helpfulness", min_length=1, description="what is asked: a shipped rubric's name, a text, or a file of it"
    )
    demonstrations: DataRef | None = Field(
        None, description="labelled pairs that judges are shown; none of their prompts may be in labels"
    )
    alpha: float = Field(0.15, gt=0, lt=1, description="share of accepted verdicts that may differ from people's")
    delta: float = Field(0.1, gt=0, lt=1, description="probability with which the guarantee may fail")
    method: Literal["fixed_sequence", "multi_start", "holm", "split_fixed_sequence"] = Field(
        "fixed_sequence", description="how thresholds are tested"
    )
    grid: list[float] | None = Field(
        None, min_length=1, description="thresholds to test; by default 20 quantiles of the confidences"
    )
    least: int = Field(30, ge=1, description="pairs that a threshold must accept to be tested")
    separate: bool = Field(False, description="labelled pairs of its own for each judge: the strict version")
    limit: int | None = Field(None, ge=1, description="labelled rows to use, from the first")

    @model_validator(mode="after")
    def _judges_fit(self) -> Self:
        check_judge_names(self.judges)
        has = self.demonstrations is not None
        shown = [judge.shows(has) for judge in self.judges]
        if has and not any(shown):
            raise ValueError("demonstrations: found some, and no judge that is shown any")
        if any(shown) and not has:
            raise ValueError("demonstrations: found none, and a judge whose method shows some")
        return self

    def resolved(self) -> Self:
        return self.model_copy(update={"rubric": pair_rubric_text(self.rubric)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.tally import write_account
        from bactrian.judge.calibrated import JudgeCalibration
        from bactrian.judge.calibration_run import Levels, calibrated_cascade, check_enough, expected_of
        from bactrian.judge.labelled import read_labelled
        from bactrian.progress import say

        path = workspace.input(self.labels).path
        labelled, pool = read_labelled(path, self.limit), self._pool(workspace)
        if pool is not None:
            self._refuse_shown(pool, labelled)
        levels = Levels(self.alpha, self.delta, self.method, self.grid, self.least, self.separate)
        try:
            check_enough(labelled.pairs, len(self.judges), levels)
        except BactrianError as error:
            raise BactrianError(f"{path}: {error}\n{labelled.tally}") from None
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            asked = {judge.label: self._opinions(judge, workspace, labelled, pool, journal) for judge in self.judges}
        said = {name: opinions for name, (_, opinions) in asked.items()}
        cascade = calibrated_cascade(labelled.pairs, said, levels, workspace.seed)
        prices = {judge.label: judge.price.price for judge in self.judges}
        made = JudgeCalibration(
            rubric=self.rubric,
            judges=tuple(self._judged(judge, labelled, *asked[judge.label]) for judge in self.judges),
            cascade=cascade,
            grid=None if self.grid is None else tuple(self.grid),
            labels=self._about(labelled),
            demonstrations={"hash": pool.digest if pool else "", "rows": len(pool.demonstrations) if pool else 0},
            expected=expected_of(cascade, labelled.pairs, said, prices),
        )
        made.write(workspace.output)
        self._write_rows(workspace, labelled, said, pool)
        write_account(workspace.output, labelled.tally)
        coverage = float(made.expected["coverage"])
        workspace.metrics.update(
            labelled.tally.counts(),
            pairs=float(len(labelled.pairs)),
            prompts=float(cascade.labelled),
            coverage=coverage,
        )
        workspace.metrics.update({f"agreement_{each.name}": float(each.about["agreement"]) for each in made.judges})
        say(
            "\n".join(
                [f"calibrate: {labelled.tally}", *made.lines(), f"of these very pairs {coverage:.0%} are decided"]
            )
        )

    def _pool(self, workspace: "Workspace") -> "DemonstrationPool | None":
        from bactrian.judge.demonstrations import read_pool

        return read_pool(workspace.input(self.demonstrations).path) if self.demonstrations else None

    def _refuse_shown(self, pool: "DemonstrationPool", labelled: "LabelledPairs") -> None:
        from bactrian.judge.calibration.disjoint import check_disjoint

        shown = [each.pair for each in pool.demonstrations]
        check_disjoint(shown, [each.pair for each in labelled.pairs], "labelled pairs")

    def _opinions(
        self,
        judge: PairJudgeSettings,
        workspace: "Workspace",
        labelled: "LabelledPairs",
        pool: "DemonstrationPool | None",
        journal: "Journal",
    ) -> "tuple[JudgeIdentity, list[Opinion]]":
        """Who the judge is, and what it says of each pair; it is let go of before the next one is opened."""
        from functools import partial

        from bactrian.judge.kept_opinions import kept_opinions
        from bactrian.judge.labelled import pair_digest
        from bactrian.judge.opened import open_spec

        recorded = {pair_digest(each.pair): each.recorded for each in labelled.pairs}
        find = partial(model_folder, workspace)
        opened = open_spec(judge.spec(pool is not None), find, self.rubric, pool, workspace.hardware, recorded)
        pairs = [each.pair for each in labelled.pairs]
        title = f"calibrate · {judge.label}"
        return opened.identity, kept_opinions(lambda: opened, opened.identity, pairs, journal, title)

    def _judged(
        self, judge: PairJudgeSettings, labelled: "LabelledPairs", identity: "JudgeIdentity", said: "list[Opinion]"
    ) -> "CalibratedJudge":
        from bactrian.judge.calibrated import CalibratedJudge, identity_record, price_record
        from bactrian.judge.calibration_run import about_judge

        return CalibratedJudge(
            name=judge.label,
            spec=judge.spec(self.demonstrations is not None),
            identity=identity_record(identity),
            price=price_record(judge.price.price),
            about=about_judge(labelled.pairs, said, judge.price.price),
        )

    def _about(self, labelled: "LabelledPairs") -> dict[str, Any]:
        from bactrian.judge.labelled import DIVIDED, TIED

        terms = sorted({(each.source, each.license) for each in labelled.pairs})
        return {
            "hash": labelled.digest,
            "pairs": len(labelled.pairs),
            "prompts": len({each.pair.group for each in labelled.pairs}),
            "ties": labelled.dropped(TIED),
            "divided": labelled.dropped(DIVIDED),
            "licences": [{"source": source, "licence": licence} for source, licence in terms],
        }

    def _write_rows(
        self,
        workspace: "Workspace",
        labelled: "LabelledPairs",
        said: "Mapping[str, list[Opinion]]",
        pool: "DemonstrationPool | None",
    ) -> None:
        """The labelled pairs with every judge's opinion: another calibration can be made of them without any model."""
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.calibrated import write_demonstrations
        from bactrian.judge.labelled_rows import demonstration_row, opinion_row

        with RowWriter(workspace.output, "# Labelled pairs, and what judges said of them") as writer:
            for place, each in enumerate(labelled.pairs):
                writer.write(opinion_row(each, {name: opinions[place] for name, opinions in said.items()}))
        for licence in writer.licences:
            workspace.add_licence(licence)
        if pool is not None:
            write_demonstrations([demonstration_row(each) for each in pool.demonstrations], workspace.output)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return judging_forecast(self.judges, inputs, self.labels, self.limit, self.demonstrations is not None)


def judging_forecast(
    judges: list[PairJudgeSettings],
    inputs: Mapping[str, Facts],
    data: str,
    limit: int | None,
    demonstrations: bool,
    share: float = 1.0,
) -> Forecast:
    """Every judge reads every pair in both orders, once for each annotator; demonstrations are read once.

    share: of the pairs that a judge is put.
    """
    facts = inputs.get(data, Facts())
    rows = min(facts.rows, limit or facts.rows)
    tokens, flops, memory = 0.0, 0.0, 0.0
    for judge in judges:
        ref = judge.model or judge.reward_model or judge.likelihood
        if ref is None:
            continue
        reads = 2 * (judge.annotators if judge.shows(demonstrations) else 1) if judge.model else 1
        mine = rows * share * reads * ((facts.tokens_per_row or 500) + (150 if judge.model else 0))
        tokens, flops = tokens + mine, flops + 2.0 * inputs[ref].multiplied * mine
        memory = max(memory, 4.0 * inputs[ref].parameters + 1e9)
    return Forecast(tokens, flops, memory, Facts(rows=rows, tokens_per_row=facts.tokens_per_row))
