"""Stage `interact`: models that ask, a simulator that answers and decides, and what asking well is worth."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.evaluate.interaction.dialogue import MOST_QUESTIONS
from bactrian.stages.judge.judge_refs import model_or_server
from bactrian.stages.stage import Facts, Forecast, HeldOutRef, ModelRef, Stage, answer_tokens, rows_sampled
from bactrian.stages.synth.generators import Askers, DataGenerator, SynthesisBudget, check_refused
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.evaluate.interaction.dialogue import Dialogue, Questioner, Simulator
    from bactrian.evaluate.interaction.patients import Weigher
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
OPENING = "Answer: "
JUDGED_TOKENS = 48
"""Of a patient's or a decider's answer, at most."""
RESEARCH = "A research simulator: what it measures is how well models ask, and nothing that it says is medical advice."


class Interact(Stage):
    """Conversations in which a model asks for what it has not been told [MediQ, Li et al. 2024; ALFA, Li et al. 2025].

    Each turn a fixed decision module says whether enough is known; if not, the model asks one question, and a patient,
    or whoever has a request, answers with facts of the case or cannot. After at most 15 questions it decides. Only who
    asks differs between models. Leaves accuracy, turns, the share of questions without an answer, all with intervals
    clustered by case, and the reduction of errors; of requests also attributes of the questions, and how far they are
    from the best. A research simulator: not medical advice.
    """

    name: ClassVar[str] = "interact"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    models: dict[str, ModelRef] | list[ModelRef] = Field(description="who asks, in the order in which they were made")
    data: HeldOutRef = Field(description="what `cases` left")
    baseline: str | None = Field(None, description="a model that every other is compared with; by default the first")
    questions: int = Field(MOST_QUESTIONS, ge=1, le=MOST_QUESTIONS, description="of a conversation, at most")
    samples: int = Field(1, ge=1, description="conversations about each case")
    limit: int | None = Field(None, ge=1, description="cases, from the first")
    patient: DataGenerator | None = Field(None, description="picks the facts that answer; by default rules do")
    decision: DataGenerator | None = Field(
        None, description="decides and rates how sure it is; by default rules do, which of patients is for dry runs"
    )
    weighed: bool = Field(
        False,
        description="the decision is the likeliest letter, by its probability, in place of what is written: for models "
        "that do not keep to a form",
    )
    confident: int = Field(
        4,
        ge=1,
        le=5,
        description="rating from which the decision module asks no more; weighed: a fifth of the probability each",
    )
    temperature: float = Field(0.6, ge=0, description="of the questions; patient and decision are greedy")
    top_p: float = Field(0.9, gt=0, le=1, description="of the questions")
    max_new_tokens: int = Field(64, ge=1, description="longest question, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.models:
            raise ValueError("models: expected at least one")
        if self.weighed and self.decision is None:
            raise ValueError("weighed: expected a decision, whose letters are weighed; rules have no probabilities")
        if isinstance(self.models, dict) and self.baseline not in (None, *self.models):
            raise ValueError(f"baseline: found {self.baseline!r}, expected one of {', '.join(self.models)}")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.interaction import interaction_summary as summary
        from bactrian.evaluate.interaction.reported import asking_rows
        from bactrian.evaluate.records import write_records
        from bactrian.evaluate.reliability import write_rows
        from bactrian.evaluate.score_tables import print_results
        from bactrian.progress import say

        rows, models = self._rows(workspace), self._labelled(workspace)
        base = self.baseline or next(iter(models))
        held: dict[str, list[Dialogue[Any]]] = {}
        fewest, gaps = self._optimum(rows)
        for label, ref in models.items():
            held[label] = self._held(workspace, rows, label, ref)
        records = {
            label: {"": summary.outcome_records(mine, _first_words), "attributes": summary.attribute_records(mine)}
            for label, mine in held.items()
        }
        about = {
            "n": len(rows),
            "samples": self.samples,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "data_hash": workspace.input(self.data).content_hash,
            "note": RESEARCH,
        }
        results = summary.results_of(self.data, records, about, base, workspace.seed)
        numbers = {label: summary.interaction_numbers(mine, fewest, gaps) for label, mine in held.items()}
        saved = {
            label: summary.error_reduction(held[base], mine, workspace.seed)
            for label, mine in held.items()
            if label != base
        }
        how = {"patient": _label(self.patient), "decision": _label(self.decision), "questions": self.questions}
        how |= {"weighed": self.weighed}
        results["interaction"] = {
            "note": RESEARCH,
            "baseline": base,
            "models": numbers,
            "error_reduction": saved,
            **how,
        }
        (workspace.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write_records(
            workspace.output / "questions.parquet",
            (
                ({"model": label, "task": f"{self.data}: {part}" if part else self.data, "mode": summary.MODE}, each)
                for label, mine in records.items()
                for part in ("", "attributes")
                for each in mine[part]
            ),
        )
        write_rows(workspace.output, asking_rows(self.data, records, numbers, saved))
        workspace.metrics.update(
            {f"accuracy/{each['model']}": each["score"] for each in results["scores"] if each["task"] == self.data}
        )
        workspace.metrics.update({f"questions/{label}": found["questions"]["mean"] for label, found in numbers.items()})
        print_results(results)
        say("\n".join([f"interact: {RESEARCH}", *summary.summary_lines(numbers, saved)]))

    def _rows(self, workspace: "Workspace") -> list[Row]:
        """The cases.

        Raises:
            BactrianError: a row is none, or some are of requests and some of patients.
        """
        from bactrian.data.io.files import read_rows

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem")[: self.limit]
        for row in rows:
            if not row.get("case"):
                raise BactrianError(f"interact: {path}: row {row['id']}: no case; expected rows of the stage `cases`")
        if len({row["dataset"] == "asking" for row in rows}) > 1:
            raise BactrianError(f"interact: {path}: found requests and patients, expected one kind")
        if rows[0]["dataset"] == "asking" and (self.patient or self.decision):
            raise BactrianError("interact: of requests, rules answer and decide; expected no patient and no decision")
        return rows

    def _labelled(self, workspace: "Workspace") -> dict[str, str]:
        """Label → reference.

        Raises:
            BactrianError: two of one label, or an unknown baseline.
        """
        if isinstance(self.models, dict):
            return self.models
        found = {workspace.input(ref).name: ref for ref in self.models}
        if len(found) < len(self.models):
            raise BactrianError("interact: models: two are called the same; name them by a mapping")
        if self.baseline is not None and self.baseline not in found:
            raise BactrianError(f"interact: baseline: found {self.baseline!r}, expected one of {', '.join(found)}")
        return found

    def _optimum(self, rows: Sequence[Row]) -> "tuple[dict[str, float], Any]":
        """Of requests, the questions that the best policy needs for each case, and how to tell a question's gap."""
        from bactrian.data.synth.asking.requests import UnderspecifiedRequest
        from bactrian.evaluate.interaction.request_simulator import fewest_questions, gaps

        if rows[0]["dataset"] != "asking":
            return {}, gaps
        return {str(row["id"]): fewest_questions(UnderspecifiedRequest.read(row["case"])) for row in rows}, gaps

    def _held(self, workspace: "Workspace", rows: Sequence[Row], label: str, ref: str) -> "list[Dialogue[Any]]":
        """All of one model's conversations, held to their end."""
        from bactrian.evaluate.interaction.dialogue import simulate

        dialogues = self._dialogues(rows)
        subject = DataGenerator(model=ref)
        extra = {each.label: each for each in (self.patient, self.decision) if each is not None}
        generators = list({**extra, subject.label: subject}.values())
        from bactrian.data.io.journal import Journal

        with (
            Askers(workspace, generators, SynthesisBudget(), self.rows_at_once) as askers,
            Journal(workspace.scratch / "decisions.jsonl") as journal,
        ):
            asking = _Asking(self, askers, workspace.seed, label, journal)
            questioner: Questioner[Any] = asking.questioner(subject.label, rows[0]["dataset"] == "asking")
            simulator: Simulator[Any] = asking.simulator(rows[0]["dataset"] == "asking")
            simulate(dialogues, questioner, simulator, self.questions)
            askers.note_licences()
        return dialogues

    def _dialogues(self, rows: Sequence[Row]) -> "list[Dialogue[Any]]":
        from bactrian.data.synth.asking.requests import UnderspecifiedRequest
        from bactrian.evaluate.interaction.dialogue import Dialogue
        from bactrian.evaluate.interaction.patients import PatientCase

        found: list[Dialogue[Any]] = []
        for row in rows:
            try:
                case = (
                    UnderspecifiedRequest.read(row["case"])
                    if row["dataset"] == "asking"
                    else PatientCase.read(row["case"])
                )
            except ValueError as error:
                raise BactrianError(f"interact: row {row['id']}: case: {error}") from None
            right = case.answer if isinstance(case, UnderspecifiedRequest) else str(row["ground_truth"])
            found += [Dialogue(str(row["id"]), case, right, sample) for sample in range(self.samples)]
        return found

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Half of all the questions that there may be, and for each what patient and decision read and say."""
        data = inputs.get(self.data, Facts())
        cases = min(data.rows, self.limit or data.rows) * self.samples
        asked = cases * self.questions / 2
        tokens = (data.tokens_per_row or 100.0) + self.questions * answer_tokens(self.max_new_tokens) / 2
        refs = list(self.models.values() if isinstance(self.models, dict) else self.models)
        loads = [rows_sampled(inputs.get(ref, Facts()), asked, tokens, self.max_new_tokens) for ref in refs]
        for each in (self.patient, self.decision):
            if each is not None and each.model is not None:
                model = inputs.get(each.model, Facts())
                loads.append(rows_sampled(model, asked * len(refs), tokens, JUDGED_TOKENS))
        largest = max(load.parameters for load in loads)
        whole = sum(load.all_tokens for load in loads)
        flops = sum(load.flops for load in loads)
        return Forecast(whole, flops, 4 * largest + 2e9, Facts(rows=int(cases)), sampling=tuple(loads))


class _Asking:
    """Whoever is asked, through the one door: what was answered before is not asked again."""

    def __init__(self, stage: Interact, askers: Askers, seed: int, label: str, journal: "Journal") -> None:
        self.stage, self.askers, self.seed, self.label, self.journal = stage, askers, seed, label, journal

    def questioner(self, subject: str, requests: bool) -> "_ModelQuestioner":
        return _ModelQuestioner(self, subject, requests)

    def simulator(self, requests: bool) -> "Simulator[Any]":
        from functools import partial

        from bactrian.evaluate.interaction.patients import PatientSimulator
        from bactrian.evaluate.interaction.request_simulator import RequestSimulator

        if requests:
            return RequestSimulator()
        patient, decision = (
            None if each is None else partial(self.told, each.label, title)
            for each, title in ((self.stage.patient, "patient"), (self.stage.decision, "decision"))
        )
        return PatientSimulator(
            patient, decision, self.stage.confident, self._weigher() if self.stage.weighed else None
        )

    def _weigher(self) -> "Weigher":
        """Letters are weighed by the model of `decision`; what was weighed before is not weighed again."""
        from functools import partial

        from bactrian.generate.choices import ChoiceReply, ChoiceRequest
        from bactrian.generate.choosers import open_chooser
        from bactrian.generate.kept import KeptChooser
        from bactrian.progress import progress

        who, workspace = self.stage.decision, self.askers.workspace
        assert who is not None
        where = model_or_server(workspace, who.model, who.server)
        chooser = KeptChooser(
            partial(open_chooser, where, workspace.hardware, rows=self.stage.rows_at_once), self.journal
        )

        def weigh(asked: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[tuple[float, ...]]:
            replies = [ChoiceReply(fault="no reply")] * len(asked)
            requests = [
                ChoiceRequest(({"role": "user", "content": prompt},), letters, f"decision: {name}", prefilled=OPENING)
                for prompt, name, letters in asked
            ]
            with progress(f"interact · {self.label} · decision", total=len(asked), unit="answer") as bar:

                def keep(place: int, reply: ChoiceReply) -> None:
                    replies[place] = reply
                    bar.advance()

                chooser.choose(requests, keep)
            check_refused(replies, self.stage.failures, "interact: decision")
            return [reply.probabilities for reply in replies]

        return weigh

    def told(self, who: str, title: str, asked: Sequence[tuple[str, str]]) -> list[str]:
        """What a patient or decider says to each prompt, greedy; "" where it failed."""
        from bactrian.generate.chat_request import ChatRequest

        requests = {}
        for number, (prompt, name) in enumerate(asked):
            turn = {"role": "user", "content": prompt}
            requests[str(number)] = (who, ChatRequest((turn,), f"{title}: {name}", 0, JUDGED_TOKENS, 0.0))
        replies = self.askers.ask(requests, f"interact · {self.label} · {title}")
        check_refused(replies.values(), self.stage.failures, f"interact: {title}")
        return ["" if replies[key].fault else replies[key].text for key in requests]


class _ModelQuestioner:
    """The model under test."""

    def __init__(self, asking: _Asking, subject: str, requests: bool) -> None:
        self.asking, self.subject, self.requests = asking, subject, requests

    def ask(self, dialogues: "Sequence[Dialogue[Any]]") -> list[tuple[str, int]]:
        """The next question of each conversation; the seed is the case's, the sample's and the turn's."""
        from bactrian.evaluate.interaction.patients import patient_messages
        from bactrian.evaluate.interaction.request_simulator import request_messages, share_of
        from bactrian.generate.chat_request import ChatRequest

        stage, requests = self.asking.stage, {}
        for number, each in enumerate(dialogues):
            messages = request_messages(each) if self.requests else patient_messages(each)
            seed = int(share_of(self.asking.seed, each.id, each.sample, len(each.exchanges)) * 2**31)
            request = ChatRequest(
                tuple(messages), f"case {each.id}", seed, stage.max_new_tokens, stage.temperature, stage.top_p
            )
            requests[str(number)] = (self.subject, request)
        replies = self.asking.askers.ask(requests, f"interact · {self.asking.label} · question")
        check_refused(replies.values(), stage.failures, "interact: questions")
        return [(replies[key].text.strip(), replies[key].tokens) for key in requests]


def _first_words(dialogue: "Dialogue[Any]") -> str:
    """What a conversation begins with, as a record's prompt."""
    from bactrian.data.synth.asking.requests import UnderspecifiedRequest

    case = dialogue.case
    return (
        case.text() if isinstance(case, UnderspecifiedRequest) else f"{case.first}\n\n{case.inquiry}\n{case.listed()}"
    )


def _label(who: DataGenerator | None) -> str:
    return "rules" if who is None else who.label
