"""Stage `score`: what a reward model, a judge or a verifier thinks of answers, and how far that can be trusted."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judged import Judged
from bactrian.stages.judge.settings import judge_models
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, ResultsRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.tally import Tally
    from bactrian.model.reward_model import RewardModel
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge, Verdict

Row = dict[str, Any]
Asked = tuple[list[Any], list[Any]]
"""A prompt's messages, and the turns that answer it."""
SCORES = "scores.json"
SIDES = ("chosen", "rejected")


class Score(Judged):
    """Scores of pairs, of answers, or of an evaluation's samples, with what they are worth (docs/methods.md).

    Pairs get `chosen_reward` and `rejected_reward`: the share ranked rightly, by source, with intervals; of a reward
    model also its calibration. Answers get `reward`. With `answers`, an evaluation with several samples, its samples
    are scored: the expected score of the best of k by reward. The scores: a reward model's rewards, a judge's ratings
    in [0, 1], or with neither the verifiers' that the rows name.
    """

    name: ClassVar[str] = "score"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: DataRef = Field(description="pairs, conversations, problems with a `completion`; the problems of `answers`")
    judge: ModelRef | None = Field(None, description="language model that rates")
    reward_model: ModelRef | None = Field(None, description="whose rewards are the scores")
    answers: ResultsRef | None = Field(None, description="an evaluation whose sampled answers to `data` are scored")
    rubric: str = Field("", description="what counts for the judge")
    by: str = Field("source", description="column by which pairs are counted: source, subset, …")
    sections: Literal["rewardbench"] | dict[str, list[str]] | None = Field(
        None, description="sections of a benchmark: rewardbench, or section: [values of `by`]"
    )
    ties: Literal["half", "wrong"] = Field("half", description="what pairs of equal rewards count")
    limit: int | None = Field(None, ge=1, description="rows to score, from the first")
    max_length: int = Field(4096, ge=2, description="tokens; rows that are longer for the reward model are dropped")
    micro_tokens: int = Field(4096, ge=1, description="tokens of one forward of the reward model")

    @model_validator(mode="after")
    def _one_scorer(self) -> Self:
        if self.judged and self.reward_model is not None:
            raise ValueError("found a judge and a reward_model, expected one of them")
        if self.answers is not None and not self.judged and self.reward_model is None:
            raise ValueError("answers: expected a judge or a reward_model, by which the best is picked")
        return self

    @property
    def judged(self) -> bool:
        """Whether a judge gives the scores."""
        return self.judge is not None or self.judge_server is not None

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say

        path = workspace.input(self.data).path
        rows, tally = read_rows(path)[: self.limit], Tally()
        if self.answers is not None:
            scored, found = self._samples(rows, workspace, tally)
        elif "chosen" in rows[0]:
            scored, found = self._pairs(rows, workspace, tally)
        else:
            scored, found = self._completions(rows, workspace, tally)
        if not scored:
            raise BactrianError(f"{path}: no row could be scored\n{tally}")
        (workspace.output / SCORES).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        with RowWriter(workspace.output, f"# Scored rows\n\n```\n{tally}\n```") as writer:
            for row in scored:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        write_account(workspace.output, tally)
        workspace.metrics.update(tally.counts(), **headline(found))
        say(f"score: {tally}\n" + "\n".join(lines(found)))

    def _pairs(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> tuple[list[Row], dict[str, Any]]:
        from bactrian.data.io.rows import complete_row, validate_row
        from bactrian.evaluate.reward_agreement import REWARDBENCH, agreement, calibration, sections

        where = str(workspace.input(self.data).path)
        pairs = [complete_row(validate_row(row, "pair", f"{where}, row {n}"), where) for n, row in enumerate(rows, 1)]
        asked = [(row["prompt"], row[side]) for row in pairs for side in SIDES]
        flat = self._rewards(asked, [f"{row['id']}, {side}" for row in pairs for side in SIDES], workspace)
        scored = []
        for row, chosen, rejected in zip(pairs, flat[::2], flat[1::2], strict=True):
            if isinstance(chosen, str) or isinstance(rejected, str):
                tally.drop(chosen if isinstance(chosen, str) else str(rejected), str(row["id"]))
                continue
            tally.keep()
            scored.append({**row, "chosen_reward": chosen, "rejected_reward": rejected})
        if not scored:
            return [], {}
        groups: dict[str, list[tuple[float, float]]] = {}
        for row in scored:
            if self.by not in row:
                raise BactrianError(f"{where}, row {row['id']}: no field {self.by!r}, by which pairs are to be counted")
            groups.setdefault(str(row[self.by]), []).append((row["chosen_reward"], row["rejected_reward"]))
        each = [agreement(name, rewards, self.ties) for name, rewards in groups.items()]
        both = [reward for rewards in groups.values() for reward in rewards]
        found: dict[str, Any] = {"scorer": self._scorer(workspace), "by": self.by, "ties": self.ties}
        found |= {"all": asdict(agreement("all", both, self.ties)), "groups": [asdict(group) for group in each]}
        if self.reward_model is not None:
            found["calibration"] = asdict(calibration([chosen - rejected for chosen, rejected in both]))
        if self.sections is not None:
            layout = REWARDBENCH if self.sections == "rewardbench" else self.sections
            made = sections(each, layout)
            if not made:
                raise BactrianError(f"{where}: no {self.by} of any section; found {', '.join(sorted(groups)[:12])}")
            outside = sorted(set(groups) - {subset for subsets in layout.values() for subset in subsets})
            found["sections"] = [asdict(section) for section in made]
            found |= {"overall": sum(section.accuracy for section in made) / len(made), "in_no_section": outside}
        return scored, found

    def _completions(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> tuple[list[Row], dict[str, Any]]:
        from bactrian.data.io.rows import complete_row

        where = str(workspace.input(self.data).path)
        rows = [complete_row(row, where) for row in rows]
        asked = [answered(row, f"{where}, row {number}") for number, row in enumerate(rows, 1)]
        if not self.judged and self.reward_model is None:
            flat: Sequence[float | str] = self._verified(rows, asked, where, workspace)
        else:
            flat = self._rewards(asked, [str(row["id"]) for row in rows], workspace)
        scored, groups = [], dict[str, list[float]]()
        for row, reward in zip(rows, flat, strict=True):
            if isinstance(reward, str):
                tally.drop(reward, str(row["id"]))
                continue
            tally.keep()
            scored.append({**row, "reward": reward})
            groups.setdefault(str(row.get(self.by, "?")), []).append(reward)
        means = [{"name": name, "answers": len(mine), "mean": sum(mine) / len(mine)} for name, mine in groups.items()]
        return scored, {"scorer": self._scorer(workspace), "by": self.by, "means": means}

    def _samples(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> tuple[list[Row], dict[str, Any]]:
        """The evaluation's samples to these problems, scored; and what picking the best of k would have given."""
        from bactrian.evaluate.reward_agreement import best_of, powers

        given = {str(row["id"]): row for row in rows}
        kept = [each for each in sampled(workspace, str(self.answers)) if each["question"] in given]
        if not kept:
            raise BactrianError(f"{self.answers}: no sampled answer to a problem of {self.data}; evaluate with samples")
        asked = [(given[each["question"]]["messages"], answer_turn(each["completion"])) for each in kept]
        flat = self._rewards(asked, [f"{each['question']}, sample {each['sample']}" for each in kept], workspace)
        scored, questions = [], dict[tuple[str, str, str], tuple[list[float], list[float]]]()
        for each, reward in zip(kept, flat, strict=True):
            if isinstance(reward, str):
                tally.drop(reward, f"{each['question']}, sample {each['sample']}")
                continue
            tally.keep()
            row = given[each["question"]]
            scored.append(
                {
                    "id": f"{row['id']}-{each['model']}-{each['sample']}",
                    "question": row["id"],
                    "model": each["model"],
                    "messages": [*row["messages"], *answer_turn(each["completion"])],
                    "reward": reward,
                    "score": float(each["score"]),
                    "source": row.get("source", "?"),
                    "license": row.get("license", "?"),
                }
            )
            rewards, scores = questions.setdefault((each["model"], each["task"], each["question"]), ([], []))
            rewards.append(reward)
            scores.append(float(each["score"]))
        curves = []
        for model, task in dict.fromkeys((model, task) for model, task, _ in questions):
            mine = [pair for (a, b, _), pair in questions.items() if (a, b) == (model, task)]
            for k in powers(min(len(rewards) for rewards, _ in mine)):
                curves.append({"model": model, "task": task, **asdict(best_of(mine, k, workspace.seed))})
        return scored, {"scorer": self._scorer(workspace), "best_of": curves}

    def _scorer(self, workspace: "Workspace") -> str:
        ref = self.judge or self.reward_model
        served = self.judge_server.label if self.judge_server else "verifiers"
        return workspace.input(ref).name if ref else served

    def _rewards(self, asked: Sequence[Asked], names: Sequence[str], workspace: "Workspace") -> list[float | str]:
        """Of each (prompt, answer turns) the reward, or why there is none."""
        if self.reward_model is not None:
            return rewards_by_model(self._model(workspace), asked, names, self.max_length, self.micro_tokens)
        if not self.judged:
            raise BactrianError("score: pairs need a judge or a reward_model")
        return [plain(verdict) for verdict in ratings(self._language_judge(workspace), asked, self.rubric)]

    def _language_judge(self, workspace: "Workspace") -> "Judge":
        from bactrian.judge.panel import open_judges

        return open_judges({"judge": judge_models(workspace, self)["judge"]}, workspace.hardware)["judge"]

    def _model(self, workspace: "Workspace") -> "RewardModel":
        from bactrian.model.reward_model import RewardModel

        hardware = workspace.hardware
        folder = workspace.input(str(self.reward_model)).path
        return RewardModel.load(folder, hardware.dtype, None, hardware.device)

    def _verified(
        self, rows: Sequence[Row], asked: Sequence[Asked], where: str, workspace: "Workspace"
    ) -> list[float | str]:
        from bactrian.verify import Item, Pool, check_verifiers

        for number, row in enumerate(rows, 1):
            if "dataset" not in row or "ground_truth" not in row:
                raise BactrianError(
                    f"{where}, row {number}: without judge and reward_model a row names its verifier in 'dataset' and "
                    f"has a 'ground_truth'; found the fields {', '.join(row)}"
                )
        check_verifiers(rows, where)
        items: list[Item] = [
            Item.of({**row, "messages": prompt}, answer[0]["content"])
            for row, (prompt, answer) in zip(rows, asked, strict=True)
        ]
        with Pool(workspace.hardware.threads) as pool:
            return [plain(verdict) for verdict in pool.verify_all(items)]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, ref = inputs.get(self.data, Facts()), self.judge or self.reward_model
        parameters = inputs[ref].parameters if ref else 0
        rows = min(data.rows, self.limit or data.rows)
        tokens = rows * (data.tokens_per_row or 200)
        made = Facts(rows=rows, tokens_per_row=data.tokens_per_row)
        return Forecast(tokens, 2.0 * parameters * tokens, 4.0 * parameters + 1e9, made)


def rewards_by_model(
    model: "RewardModel", asked: Sequence[Asked], names: Sequence[str], longest: int, micro_tokens: int
) -> list[float | str]:
    """The reward of each (prompt, answer turns), or why there is none."""
    from math import isfinite

    from bactrian.judge.models import rewards_of_answers
    from bactrian.progress import progress

    with progress("score", total=len(asked), unit="answer") as bar:
        found = rewards_of_answers(model, asked, names, micro_tokens, longest, bar.advance)
    why = {True: f"longer than {longest} tokens", False: "a reward that is no finite number"}
    return [why[reward is None] if reward is None or not isfinite(reward) else reward for reward in found]


def ratings(judge: "Judge", asked: Sequence[Asked], rubric: str) -> "list[Verdict]":
    """A judge's verdicts on each prompt's answer."""
    from bactrian.verify.model_verifiers import ask

    how = {"rubric": rubric}
    return ask(
        judge,
        [("judge", answer[0]["content"], "-", how, prompt[-1]["content"], prompt[:-1]) for prompt, answer in asked],
    )


def plain(verdict: "Verdict") -> float | str:
    """A verdict's score, or why it has none: a failure is no zero."""
    failed = verdict.outcome in ("crashed", "timed_out")
    return f"{verdict.outcome.replace('_', ' ')}: {verdict.reason[:60]}" if failed else verdict.score


def answer_turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def answered(row: Row, where: str) -> Asked:
    """(prompt, answer turns) of a conversation, or of a problem row with a completion. Raises BactrianError."""
    from bactrian.chat.messages import check_messages
    from bactrian.evaluate.completion_files import TEXTS

    messages = check_messages(row.get("messages"), f"{where}, field 'messages'")
    text = next((row[field] for field in TEXTS if isinstance(row.get(field), str)), None)
    if messages[-1]["role"] == "assistant" and text is None:
        return messages[:-1], messages[-1:]
    if messages[-1]["role"] == "user" and text is not None and text.strip():
        return messages, answer_turn(text)
    raise BactrianError(
        f"{where}: expected messages that end with the assistant's turn, or with the user's and a text in one of "
        f"{', '.join(TEXTS)}"
    )


def sampled(workspace: "Workspace", ref: str) -> list[Row]:
    """The sampled answers of an evaluation. Raises BactrianError for what is none."""
    import pyarrow.parquet as pq

    source = workspace.input(ref)
    try:
        table = pq.read_table(source.path / "questions.parquet", filters=[("mode", "==", "sampled")])
    except (OSError, ValueError) as error:
        raise BactrianError(f"{source.name}: {source.path} cannot be read as results of `evaluate`: {error}") from None
    rows: list[Row] = table.to_pylist()
    return rows


def headline(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers for the manifest."""
    numbers: dict[str, float] = {}
    if "all" in found:
        numbers |= {"accuracy": found["all"]["accuracy"], "margin": found["all"]["margin"]}
    if "calibration" in found:
        numbers["calibration_error"] = found["calibration"]["error"]
    if "overall" in found:
        numbers["overall"] = found["overall"]
    for each in found.get("best_of", ()):
        numbers[f"best_of_{each['k']}/{each['task']}/{each['model']}"] = each["score"]
    for each in found.get("means", ()):
        numbers[f"reward/{each['name']}"] = each["mean"]
    return numbers


def lines(found: Mapping[str, Any]) -> Iterable[str]:
    """What a person reads at the end."""
    for each in [*found.get("groups", ()), *([found["all"]] if "all" in found else [])]:
        low, high = each["interval"]
        yield (
            f"  {each['name']}: {each['accuracy']:.1%} of {each['pairs']:,} pairs ranked rightly "
            f"({low:.1%} to {high:.1%}), {each['ties']:,} ties, mean margin {each['margin']:.3g}"
        )
    for each in found.get("sections", ()):
        yield f"  section {each['name']}: {each['accuracy']:.1%} of {each['pairs']:,} pairs"
    if "overall" in found:
        yield f"  overall, the mean of the sections: {found['overall']:.1%}"
    if "calibration" in found:
        each = found["calibration"]
        yield f"  calibration error {each['error']:.3f}, loss {each['loss']:.3f}, Brier score {each['brier']:.3f}"
    for each in found.get("best_of", ()):
        low, high = each["interval"]
        yield (
            f"  {each['model']}, {each['task']}: best of {each['k']} scores {each['score']:.1%} ({low:.1%} to "
            f"{high:.1%}), one answer {each['single']:.1%}, the truly best {each['oracle']:.1%}"
        )
    for each in found.get("means", ()):
        yield f"  {each['name']}: {each['answers']:,} answers, mean reward {each['mean']:.3g}"
