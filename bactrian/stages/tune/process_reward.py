"""Stage `process_reward`: a reward model of thoughts that are not over, from traces whose steps are labelled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, ModelRef
from bactrian.stages.tune.training import (
    TrainingStage,
    forecast,
    make_ready,
    read_model,
    rows_of,
    tokens_of,
    train_model,
    train_pass,
)
from bactrian.train.options import AdapterField, Epochs

if TYPE_CHECKING:
    from bactrian.chat import ThinkingFormat
    from bactrian.model.reward_model import RewardModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.step_rewards import Trace

Row = dict[str, Any]


class ProcessRewardModel(TrainingStage):
    """How likely a thought ends right, after each of its steps: −v log σ(s) − (1 − v) log σ(−s) [Wang et al. 2024].

    The model's trunk with a new scalar head s, read at the last token of a step; v is the step's value in the data,
    made by stage `label_steps`. Saved as a reward model; `scaling` takes it for tree search.
    """

    name: ClassVar[str] = "process_reward"

    model: ModelRef = Field(description="the model that thinks: its trunk is trained on")
    data: DataRef = Field(description="problem rows with `steps` and `values`")
    held_out: HeldOutRef | None = Field(None, description="such rows to judge it by; none of their questions in data")
    format: str = Field("auto", description="how thinking is told from answer: auto, tags, think, s1")
    epochs: Epochs = 1.0
    batch_size: int = Field(64, ge=1, description="traces per optimiser step")
    max_length: int = Field(4096, ge=2, description="of prompt and thought in tokens; longer are dropped, and counted")
    adapter: AdapterField = None

    def run(self, workspace: "Workspace") -> None:
        from bactrian.chat import thinking_format
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.problem_rows import refuse_trained
        from bactrian.model.reward_model import RewardModel
        from bactrian.train.step_rewards import StepRewards, told_apart

        source, rows = workspace.input(self.data), rows_of(workspace, self.data, "problem")
        model = RewardModel.of(read_model(workspace, self, self.model), workspace.seed, shared=True)
        form = thinking_format(model.template, self.format)
        make_ready(workspace, self, model, self.model)
        traces = self._traces(rows, str(source.path), model, form, workspace)
        unseen: list[Trace] = []
        if self.held_out is not None:
            held_out = workspace.input(self.held_out)
            others = read_rows(held_out.path, "problem")
            refuse_trained("held_out", others, rows, source.name)
            unseen = self._traces(others, str(held_out.path), model, form, workspace)
        task = StepRewards(
            model,
            traces,
            batch_traces=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.memory.micro_tokens,
        )
        train_model(workspace, self, model, task)
        if unseen:
            found = told_apart(model, unseen, self.memory.micro_tokens)
            workspace.metrics.update({f"held_out_{name}": value for name, value in found.items()})

    def _traces(
        self, rows: list[Row], path: str, model: "RewardModel", form: "ThinkingFormat", workspace: "Workspace"
    ) -> "list[Trace]":
        """Each row's thought as token ids, step by step; too long ones are dropped and counted.

        Raises:
            BactrianError: naming a row whose steps or values are missing, or where none is
                left.
        """
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say
        from bactrian.think.forcing import opened_prompt
        from bactrian.train.step_rewards import Trace

        traces, tally = [], Tally()
        for number, row in enumerate(rows, 1):
            where = f"{path}, row {number}"
            steps, values = labelled(row, where)
            ids, ends = list[int](), list[int]()
            for step in steps:
                ids += model.template.encoder.text(step)
                ends.append(len(ids))
            prompt = opened_prompt(row["messages"], model.template, form, where)
            if len(prompt) + len(ids) > self.max_length:
                tally.drop(f"longer than {self.max_length} tokens", where)
                continue
            tally.keep()
            traces.append(Trace(prompt, tuple(ids), tuple(ends), tuple(values)))
        say(f"process_reward: {tally}")
        workspace.metrics.update(tally.counts())
        if not traces:
            raise BactrianError(f"{path}: no trace is left\n{tally}")
        return traces

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, model = inputs[self.data], inputs[self.model]
        trained = train_pass(self, model, tokens_of(data, self.epochs), data.rows * self.epochs)
        return forecast(self, model, [trained])


def labelled(row: Row, where: str) -> tuple[list[str], list[float]]:
    """The steps of a row and their values.

    Raises:
        BactrianError: naming the field that is not as it should be.
    """
    steps, values = row.get("steps"), row.get("values")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) and step for step in steps):
        raise BactrianError(f"{where}, field 'steps': found {steps!r:.60}, expected a list of texts (label_steps)")
    numbers = values if isinstance(values, list) and all(isinstance(v, int | float) for v in values) else []
    if len(numbers) != len(steps) or not all(0 <= v <= 1 for v in numbers):
        raise BactrianError(
            f"{where}, field 'values': found {values!r:.60}, expected {len(steps)} numbers from 0 to 1, one a step"
        )
    return steps, [float(value) for value in numbers]
