"""What the stages that move weights have in common: the settings of the loop, and loading and saving around it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import Settings, Stage
from bactrian.store.manifest import Kind
from bactrian.train.options import Options
from bactrian.train.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from bactrian.chat import Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.model.language_model import Decoder, LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.loop import Settings as LoopSettings
    from bactrian.train.loop import Task, Trained


CHECKPOINTS = "checkpoints"
"""In a model artifact, the folder of the models after some of the steps, each in a folder called by the step."""


class Kept:
    """Leaves whole models of the steps that are multiples of `every`, up to the step `last`, in folders by step."""

    def __init__(self, model: "Decoder", folder: Path, every: int, last: int) -> None:
        self.model, self.folder, self.every, self.last = model, folder, every, last

    def rewind(self, step: int) -> None:
        """Remove later steps' models, which may not be made again if time runs out, and what a kill left half."""
        for path in self.folder.glob("*"):
            if not path.name.isdecimal() or int(path.name) > step:
                shutil.rmtree(path)

    def after(self, step: int) -> None:
        from bactrian.store.disk import naming_full_disk, sync_folder

        if step % self.every or step > self.last:
            return
        final = self.folder / str(step)
        draft = final.with_suffix(".partial")
        with naming_full_disk(self.folder):
            self.model.save(draft)
            sync_folder(draft)
            draft.rename(final)


class Optimiser(Settings):
    """What AdamW keeps of each weight, and where."""

    states: Literal["float32", "8bit"] = Field(
        "float32", description="its two moments; 8bit: a quarter of their memory, slow on a CPU; needs extra quantised"
    )
    offload: bool = Field(
        False, description="float32 weights, gradients and moments in main memory, where the model is on a GPU"
    )


class Training(Stage, Options):
    """Settings of the training loop."""

    makes = Kind.MODEL

    learning_rate: float = Field(1e-5, gt=0, description="peak of the schedule")
    schedule: Schedule = Field("linear", description=f"after the warm-up. {SCHEDULES.described()}")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the updates over which the rate rises")
    weight_decay: float = Field(0.0, ge=0, description="of matrices; never of embeddings and norms")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's decay rates")
    optimiser: Optimiser = Field(Optimiser(), description="memory of the optimiser: {states: 8bit, offload: true}")
    max_grad_norm: float | None = Field(1.0, gt=0, description="the gradient is scaled down to this norm")
    checkpoint_seconds: float | None = Field(
        None, ge=0, description="between checkpoints, which a killed run resumes from; by default as their price allows"
    )
    keep_every: int | None = Field(
        None, ge=1, description="steps after each of which a model is left in checkpoints/STEP, for stage checkpoint"
    )
    time_limit_minutes: float | None = Field(
        None, gt=0, description="stop after this long and keep what was learnt; the result depends on the machine"
    )
    recompute: Literal["none", "mlp", "layer"] = Field(
        "none", description="activations computed again in the backward, for memory: of MLPs, or of whole layers"
    )
    recompute_every: int = Field(1, ge=1, description="in each so-many-th layer only; more memory, less time")
    freeze: list[str] = Field(
        [], description="weights that stay as they are, by name; * stands for any part: model.embed_tokens.*"
    )
    template: str | None = Field(
        None, description="chat template: model, tulu, chatml, …; by default the tokenizer's own, else tulu"
    )

    def seconds_limit(self) -> float | None:
        return None if self.time_limit_minutes is None else 60 * self.time_limit_minutes

    def load(self, workspace: "Workspace", ref: str) -> "LanguageModel":
        """A model in the workspace's dtype, made ready to be trained."""
        model = self.read(workspace, ref)
        self.prepare(workspace, model, ref)
        return model

    def read(self, workspace: "Workspace", ref: str, masters: bool = True) -> "LanguageModel":
        """A model in the workspace's dtype; without `masters`, one that is not to be trained."""
        from bactrian.model.language_model import LanguageModel

        hardware, folder = workspace.hardware, workspace.input(ref).path
        return LanguageModel.load(
            folder, hardware.dtype, self.template, hardware.device, masters=masters, quantised=self.quantised
        )

    @property
    def quantised(self) -> bool:
        """Whether weights are in 4 bits."""
        return False

    def prepare(self, workspace: "Workspace", model: "Decoder", ref: str | None = None) -> None:
        """Parts frozen, then `equip`. `ref`: what the model was read from."""
        from bactrian.train.freezing import freeze

        freeze(model.network, self.freeze)
        self.equip(workspace, model, ref)

    def equip(self, workspace: "Workspace", model: "Decoder", ref: str | None = None) -> None:
        """Weights in float32 put where the optimiser has its part, activations dropped, if asked for."""
        from bactrian.model.recompute import drop_activations
        from bactrian.train.optimiser import in_main_memory

        if self.optimiser.offload:
            model.masters = {name: in_main_memory(weight) for name, weight in model.masters.items()}
        drop_activations(model.network, self.recompute, self.recompute_every)

    def train(
        self, workspace: "Workspace", model: "Decoder", task: "Task", trained: "Trained | None" = None, **changes: Any
    ) -> None:
        """Run the loop, save the model, note the totals. `trained`: what has the weights, where not the model alone."""
        from bactrian.train.loop import train

        settings, keeper = self._settings(**changes), self.keeper(workspace, model, task)
        totals = train(self.name, trained or model, task, settings, workspace, keeper)
        workspace.metrics.update(totals)
        self.save(workspace, model)

    def keeper(self, workspace: "Workspace", model: "Decoder", task: "Task") -> "Kept | None":
        """What leaves checkpoints in the artifact, if there are to be any; the last step is the artifact itself."""
        if self.keep_every is None:
            return None
        return Kept(model, workspace.output / CHECKPOINTS, self.keep_every, task.steps - 1)

    def save(self, workspace: "Workspace", model: "Decoder") -> None:
        model.save(workspace.output)

    def copies(self) -> float:
        """How many times the weights' number of floats training holds: weights, gradient, two moments."""
        return 4.0 if self.optimiser.states == "float32" else 2.5

    def memory(self, parameters: float, tokens: float, frozen: float = 0.0) -> float:
        """Peak bytes of training this many parameters, roughly, beside as many `frozen` ones."""
        weights = 4 * (self.copies() * parameters + frozen)
        return weights + activation_memory(parameters, min(self.micro_tokens, tokens))

    def _settings(self, **changes: Any) -> "LoopSettings":
        from bactrian.train.loop import Settings

        values = {
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "warmup": self.warmup,
            "betas": self.betas,
            "weight_decay": self.weight_decay,
            "clip": self.max_grad_norm,
            "states": self.optimiser.states,
            "offload": self.optimiser.offload,
            "checkpoint_seconds": self.checkpoint_seconds,
            "time_limit": self.seconds_limit(),
        }
        return Settings(**{**values, **changes})


class Adapter(Settings):
    """Low-rank adapters: W + (alpha / rank)·B·A is trained through A and B alone, W stays as it is [Hu et al. 2021]."""

    rank: int = Field(64, ge=1, description="columns of B, rows of A")
    alpha: float = Field(16.0, gt=0, description="scale, divided by the rank")
    targets: list[str] = Field(
        [], description="names of linear layers, such as q_proj; by default all of the decoder layers"
    )
    weights: Literal["plain", "nf4"] = Field(
        "plain", description="nf4: W in 4 bits each, a quarter of the memory of bfloat16; needs extra quantised"
    )


class Tuning(Training):
    """Training that may go through adapters."""

    adapter: Adapter | None = Field(None, description="train low-rank adapters in place of the weights")

    @model_validator(mode="after")
    def _keeps_what_it_can(self) -> Self:
        if self.keep_every is not None and self.adapter is not None:
            raise ValueError(
                "keep_every: expected none beside adapter: a whole model needs the adapters merged into the weights, "
                "and training goes on from weights that are not"
            )
        return self

    def read(self, workspace: "Workspace", ref: str, masters: bool = True) -> "LanguageModel":
        return super().read(workspace, ref, masters and self.adapter is None)  # beside adapters, weights stay

    @property
    def quantised(self) -> bool:
        return self.adapter is not None and self.adapter.weights == "nf4"

    def start_hash(self, workspace: "Workspace", ref: str) -> str:
        """What names the model that training starts from; in 4 bits it is another one."""
        return workspace.input(ref).content_hash + (" in nf4" if self.quantised else "")

    def equip(self, workspace: "Workspace", model: "Decoder", ref: str | None = None) -> None:
        """As in all training; and adapters put in, if asked for."""
        from bactrian.model.adapters import add_adapters

        super().equip(workspace, model, ref)
        if self.adapter is not None:
            a, base = self.adapter, workspace.input(ref).name if ref else ""
            add_adapters(model.network, base, a.rank, a.alpha, a.targets, workspace.seed)

    def reference(self, workspace: "Workspace", model: "LanguageModel", ref: str) -> "LanguageModel":
        """The start of a model that is being trained: without its adapters, if it has some, else read once more."""
        from bactrian.model.adapters import WithoutAdapters

        return self.read(workspace, ref, masters=False) if self.adapter is None else WithoutAdapters.of(model)

    def save(self, workspace: "Workspace", model: "Decoder") -> None:
        """The model with the adapters merged into it and, beside it, the adapters alone."""
        from bactrian.model.adapters import merge_adapters

        if self.adapter is not None:
            merge_adapters(model.network, workspace.output / "adapter")
        super().save(workspace, model)

    def copies(self) -> float:
        return super().copies() if self.adapter is None else 0.5 if self.quantised else 1.0


class LongRows(Settings):
    """What becomes of rows that are too long."""

    too_long: Literal["cut", "split"] = Field(
        "cut", description="cut: on the right; split: into rows of their own, each going on where the last one ended"
    )

    def fit(self, full: "Rendered", most: int, where: str, tally: "Tally") -> "list[Rendered]":
        """A row within `most` tokens, in pieces if it may be split; nothing if no trained token is left."""
        from bactrian.chat import split, truncate

        if len(full.ids) <= most:
            tally.keep()
            return [full]
        if self.too_long == "split":
            tally.repair(f"longer than {most} tokens: split", where)
            return split(full, most)
        cut = truncate(full, most)
        if cut is None:
            tally.drop(f"no trained token within {most} tokens", where)
            return []
        tally.truncate(f"longer than {most} tokens", where)
        return [cut]


def activation_memory(parameters: float, micro_tokens: float) -> float:
    """Bytes of a micro-batch's activations, roughly, and of what is always there.

    34 floats per token and hidden unit and layer, for a model of the usual proportions, and a chunk of logits.
    """
    size: float = (parameters / 135e6) ** 0.6
    return 6e5 * micro_tokens * size + 1.5e9
