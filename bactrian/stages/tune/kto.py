"""Stage `kto`: preference tuning on answers that are each good or bad, without pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, FeedbackRef, Forecast, ModelRef
from bactrian.stages.tune.pairs import remembered
from bactrian.stages.tune.training import (
    TrainingStage,
    forecast,
    load_model,
    looks_of,
    read_pass,
    rows_of,
    start_hash,
    take_over,
    tokens_of,
    train_model,
    train_pass,
)
from bactrian.stages.tune.watch_settings import LookSettings
from bactrian.train.options import AdapterField, Epochs, LearningRate, Warmup

if TYPE_CHECKING:
    from bactrian.chat import ChatTemplate
    from bactrian.store.artifact import Workspace
    from bactrian.train.unpaired import LabelledAnswer


class KTO(TrainingStage):
    """Tuning on single answers that are labelled good or bad [Ethayarajh et al. 2024].

    The baseline against which an answer counts as better or worse is the step's mean log-ratio of answers put under
    other prompts, at least 0. The reference is the model that training starts from.
    """

    name: ClassVar[str] = "kto"

    model: ModelRef = Field(description="the model to tune, and the reference")
    data: FeedbackRef = Field(description="conversation rows with `label`: whether the last answer is a good one")
    beta: float = Field(0.1, gt=0, description="inverse temperature of the implicit reward")
    desirable_weight: float = Field(1.0, gt=0, description="of good answers; balance it against their number")
    undesirable_weight: float = Field(1.0, gt=0, description="of bad answers")
    learning_rate: LearningRate = 5e-7
    warmup: Warmup = 0.1
    epochs: Epochs = 1.0
    batch_size: int = Field(32, ge=2, description="answers per optimiser step")
    max_length: int = Field(2048, ge=2, description="tokens; longer conversations are dropped, and counted")
    adapter: AdapterField = None
    watch: LookSettings = Field(default_factory=LookSettings, description="texts and tasks that are looked at")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.train.unpaired import Unpaired, reference_sums

        path, rows = str(workspace.input(self.data).path), rows_of(workspace, self.data, "conversation")
        model = load_model(workspace, self, self.model)
        answers = self._opinions(rows, path, model.template, workspace)
        backend = take_over(workspace, self, model)
        reference = remembered(
            workspace,
            lambda journal: backend.reading(
                lambda: reference_sums(model, answers, self.memory.micro_tokens, journal, in_step=backend.in_step)
            ),
            model=start_hash(workspace, self, self.model),
            tokens=[(o.prompt, o.answer) for o in answers],
            micro_tokens=self.memory.micro_tokens,
        )
        task = Unpaired(
            model,
            answers,
            reference,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
            batch=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.memory.micro_tokens,
        )
        train_model(workspace, self, model, task, backend)

    def _opinions(
        self, rows: list[dict[str, Any]], path: str, template: "ChatTemplate", workspace: "Workspace"
    ) -> "list[LabelledAnswer]":
        """Each row's prompt and last answer as token ids; rows that are too long are dropped and counted."""
        from bactrian.chat import prompt_ids, render_answer
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say
        from bactrian.train.unpaired import LabelledAnswer

        answers, tally = [], Tally()
        for i, row in enumerate(rows, 1):
            where = f"{path}, row {i}"
            if not isinstance(row.get("label"), bool):
                raise BactrianError(f"{where}, field 'label': found {row.get('label')!r}, expected true or false")
            if row["messages"][-1]["role"] != "assistant":
                raise BactrianError(f"{where}, field 'messages': the last turn is not the assistant's")
            before, answer = row["messages"][:-1], row["messages"][-1:]
            prompt = prompt_ids(before, template, where, row.get("tools"))
            ids = render_answer(before, answer, template, where, row.get("tools")).ids
            if len(ids) > self.max_length:
                tally.drop(f"longer than {self.max_length} tokens", where)
                continue
            tally.keep()
            answers.append(LabelledAnswer(tuple(prompt), tuple(ids[len(prompt) :]), row["label"]))
        say(f"kto: {tally}")
        workspace.metrics.update(tally.counts())
        if len({o.desirable for o in answers}) < 2:
            raise BactrianError(f"{path}: KTO needs good and bad answers; these are all of one kind\n{tally}")
        return answers

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, model = inputs[self.data], inputs[self.model]
        tokens, rows = tokens_of(data, 1), data.rows
        trained = train_pass(self, model, self.epochs * tokens, self.epochs * rows)
        # answers of others for the KL are read in each epoch; both kinds of answers by the start, once
        passes = [trained, read_pass(self, model, tokens, rows, self.epochs + 2)]
        return forecast(self, model, passes, sampling=looks_of(self, trained, inputs))
