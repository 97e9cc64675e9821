"""What the stages that move weights have in common: the settings of the loop, and loading and saving around it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import Field, model_validator

from bactrian.stages.stage import TOKENS_PER_ROW, Facts, Forecast, ModelPass, SamplingLoad, Stage, rows_sampled
from bactrian.stages.tune.watch_settings import LookSettings, open_look
from bactrian.store.manifest import Kind
from bactrian.train.memory import training_memory
from bactrian.train.options import (
    CHECKPOINTS,
    AdapterSettings,
    CheckpointSettings,
    LearningRate,
    MemorySettings,
    OptimiserSettings,
    ScheduleName,
    SpikeSettings,
    TemplateName,
    Warmup,
)

if TYPE_CHECKING:
    import torch

    from bactrian.data.io.rows import RowKind
    from bactrian.model.language_model import Decoder, LanguageModel
    from bactrian.store.artifact import Input, Workspace
    from bactrian.train.backend import Backend, LoopSettings, Trained
    from bactrian.train.kept_models import KeptModels
    from bactrian.train.loop import TrainingTask

Row = dict[str, Any]


class TrainingStage(Stage):
    """Settings of the training loop. A stage that may train adapters has `adapter: AdapterField` besides."""

    makes: ClassVar[Kind] = Kind.MODEL
    joint: ClassVar[bool] = True

    learning_rate: LearningRate = 1e-5
    schedule: ScheduleName = "linear"
    warmup: Warmup = 0.03
    template: TemplateName = None
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings, description="AdamW, and what it moves")
    memory: MemorySettings = Field(default_factory=MemorySettings, description="what a step takes of it")
    checkpoints: CheckpointSettings = Field(default_factory=CheckpointSettings, description="what is kept on the way")
    spikes: SpikeSettings | None = Field(None, description="skip updates that are outliers: {} for the usual rule")

    @model_validator(mode="after")
    def _keeps_what_it_can(self) -> Self:
        if self.checkpoints.keep_every is not None and adapter_of(self) is not None:
            raise ValueError(
                "keep_every: expected none beside adapter: a whole model needs the adapters merged into the weights, "
                "and training goes on from weights that are not"
            )
        return self

    def resolved(self) -> Self:
        watch = watch_of(self)
        return self if watch is None else self.model_copy(update={"watch": watch.resolved()})

    def seconds_limit(self) -> float | None:
        minutes = self.checkpoints.time_limit_minutes
        return None if minutes is None else 60 * minutes


def adapter_of(stage: TrainingStage) -> AdapterSettings | None:
    """The adapters that a stage trains; None where it trains the weights, as `pretrain` always does."""
    found: AdapterSettings | None = getattr(stage, "adapter", None)
    return found


def watch_of(stage: TrainingStage) -> LookSettings | None:
    """What is looked at while a stage trains; None where nothing is."""
    found: LookSettings | None = getattr(stage, "watch", None)
    return found if found is not None and found.watches else None


def quantised(stage: TrainingStage) -> bool:
    """Whether the weights beside the adapters are in 4 bits."""
    adapter = adapter_of(stage)
    return adapter is not None and adapter.weights == "nf4"


def rows_of(workspace: "Workspace", ref: str, form: "RowKind | None" = None, verifier: str | None = None) -> list[Row]:
    """The rows of an input, of this form; their licences go into the manifest. `verifier`: as of `read_rows`.

    Raises:
        BactrianError: the file cannot be read, or a row has another form.
    """
    from bactrian.data.io.files import read_rows
    from bactrian.data.io.rows import licences

    rows = read_rows(workspace.input(ref).path, form, verifier)
    for licence in licences(rows):
        workspace.add_licence(licence)
    return rows


def read_model(workspace: "Workspace", stage: TrainingStage, ref: str, masters: bool = True) -> "LanguageModel":
    """A model in the workspace's dtype. Without `masters`, one that is not to be trained; beside adapters none is."""
    from bactrian.model.language_model import LanguageModel

    hardware = workspace.hardware
    return LanguageModel.load(
        workspace.input(ref).path,
        hardware.dtype,
        stage.template,
        hardware.device,
        masters=masters and adapter_of(stage) is None,
        quantised=quantised(stage),
        exact=adapter_of(stage) is None,  # adapters are trained beside the weights that others will load
    )


def load_model(workspace: "Workspace", stage: TrainingStage, ref: str) -> "LanguageModel":
    """A model in the workspace's dtype, made ready to be trained."""
    model = read_model(workspace, stage, ref)
    make_ready(workspace, stage, model, ref)
    return model


def make_ready(workspace: "Workspace", stage: TrainingStage, model: "Decoder", ref: str | None = None) -> None:
    """Parts frozen, then `equip`. `ref`: what the model was read from."""
    from bactrian.train.freezing import freeze

    freeze(model.network, stage.optimiser.freeze)
    equip(workspace, stage, model, ref)


def equip(workspace: "Workspace", stage: TrainingStage, model: "Decoder", ref: str | None = None) -> None:
    """Float32 weights put where the optimiser has its part, activations dropped, adapters put in, if asked for.

    And what the weights will be saved in.
    """
    from bactrian.model.adapters import add_adapters
    from bactrian.model.recompute import drop_activations
    from bactrian.train.optimiser import in_main_memory

    if stage.optimiser.offload:
        model.masters = {name: in_main_memory(weight) for name, weight in model.masters.items()}
    drop_activations(model.network, stage.memory.recompute, stage.memory.recompute_every)
    if (dtype := stage.checkpoints.save_dtype) != "base":
        model.stored = dtype
    model.keeps_residue = stage.checkpoints.keep_float32
    if (adapter := adapter_of(stage)) is not None:
        base, revision = base_of(workspace.input(ref)) if ref else ("", None)
        add_adapters(model.network, base, adapter.rank, adapter.alpha, adapter.targets, workspace.seed, revision)


def base_of(given: "Input") -> tuple[str, str | None]:
    """What peft finds a base by: a Hub id and its commit, or the whole path of a folder on this machine."""
    if given.path.parent.name == "snapshots" and "/" in given.name:  # the Hub's cache
        return given.name.partition("@")[0], given.path.name
    return str(given.path.resolve()), None


def start_of(workspace: "Workspace", stage: TrainingStage, model: "LanguageModel", ref: str) -> "LanguageModel":
    """The start of a model that is being trained: without its adapters, if it has some, else read once more.

    In shards, where weights are sharded.
    """
    from bactrian.model.adapters import WithoutAdapters
    from bactrian.train.choose_backend import in_shards

    if adapter_of(stage) is not None:
        return WithoutAdapters.of(model)
    return in_shards(read_model(workspace, stage, ref, masters=False), workspace.hardware)


def start_hash(workspace: "Workspace", stage: TrainingStage, ref: str) -> str:
    """What names the model that training starts from; in 4 bits it is another one."""
    return workspace.input(ref).content_hash + (" in nf4" if quantised(stage) else "")


def take_over(workspace: "Workspace", stage: TrainingStage, model: "Decoder") -> "Backend":
    """What has a model's weights from now on: in shards already, where its start is read first by all processes."""
    from bactrian.train.choose_backend import open_backend

    backend = open_backend(workspace.hardware, whole=quantised(stage))
    backend.wrap(model, loop_settings(stage, {}))
    return backend


def train_model(
    workspace: "Workspace",
    stage: TrainingStage,
    model: "Decoder",
    task: "TrainingTask",
    backend: "Backend | None" = None,
) -> None:
    """Run the loop, save the model, note the totals. `backend`: what took the model over."""
    backend = backend or take_over(workspace, stage, model)
    workspace.metrics.update(run_loop(workspace, stage, model, task, backend))
    save_model(workspace, stage, model, backend)


def run_loop(
    workspace: "Workspace",
    stage: TrainingStage,
    model: "Decoder",
    task: "TrainingTask",
    backend: "Backend",
    *,
    trained: "Trained | None" = None,
    rates: Mapping[str, float] | None = None,
    keep_last: bool = False,
    settings: "LoopSettings | None" = None,
    moments: "dict[str, torch.Tensor] | None" = None,
) -> dict[str, float]:
    """Run the loop; returns its totals.

    Args:
        trained: what has the weights, where that is not the model alone.
        rates: beginning of weights' names → multiple of the learning rate.
        keep_last: `keep_every` leaves the last step's model too, as the artifact may be another's.
        settings: of the loop, where the stage's alone do not say them; `rates` is then in them.
        moments: of the optimiser to begin with (see `train`).
    """
    from bactrian.train.looking import LookingTask
    from bactrian.train.loop import train

    settings = settings or loop_settings(stage, rates or {})
    keeper = _keeper(workspace, stage, model, task.steps if keep_last else task.steps - 1, backend)
    watch = watch_of(stage)
    if watch is None:
        return train(stage.name, trained or model, task, settings, workspace, keeper, backend, moments)
    look = open_look(workspace, watch, cast("LanguageModel", model))
    looking = LookingTask(task, look, watch.look_every, backend)
    totals = train(stage.name, trained or model, looking, settings, workspace, keeper, backend, moments)
    return totals | looking.last()


def loop_settings(stage: TrainingStage, rates: Mapping[str, float]) -> "LoopSettings":
    from bactrian.train.backend import LoopSettings
    from bactrian.train.guard import SkipRule
    from bactrian.train.rewinding import RewindRule

    spikes = stage.spikes
    back = None
    if spikes is not None and spikes.rewind_after is not None:
        back = RewindRule(spikes.rewind_after, spikes.last, spikes.rewind_every)
    return LoopSettings(
        learning_rate=stage.learning_rate,
        schedule=stage.schedule,
        warmup=stage.warmup,
        betas=stage.optimiser.betas,
        weight_decay=stage.optimiser.weight_decay,
        clip=stage.optimiser.max_grad_norm,
        states=stage.optimiser.states,
        offload=stage.optimiser.offload,
        rates=rates,
        checkpoint_seconds=stage.checkpoints.checkpoint_seconds,
        background=stage.checkpoints.background,
        time_limit=stage.seconds_limit(),
        skip=None if spikes is None else SkipRule(spikes.last, spikes.sigma),
        rewind=back,
    )


def _keeper(
    workspace: "Workspace", stage: TrainingStage, model: "Decoder", last: int, backend: "Backend"
) -> "KeptModels | None":
    """What leaves checkpoints in the artifact, if there are to be any."""
    from bactrian.train.kept_models import KeptModels

    every = stage.checkpoints.keep_every
    return None if every is None else KeptModels(model, workspace.output / CHECKPOINTS, every, last, backend)


def save_model(workspace: "Workspace", stage: TrainingStage, model: "Decoder", backend: "Backend") -> None:
    """The model with its adapters, if it has some, merged into it, and beside it the adapters alone."""
    from bactrian.model.adapters import merge_adapters

    if adapter_of(stage) is not None and backend.settle(model):
        merge_adapters(model.network, workspace.output / "adapter")
    if model.stored != "float32":
        _note_rounding(workspace, stage, model, backend)
    backend.save(model, workspace.output)


ROUNDED_AWAY = 0.1  # of what training changed: from here on it is said


def _note_rounding(workspace: "Workspace", stage: TrainingStage, model: "Decoder", backend: "Backend") -> None:
    """How much of what was learnt the artifact's dtype cannot hold."""
    from bactrian.model.weight_files import lost_in_rounding
    from bactrian.progress import say

    ref: str | None = getattr(stage, "model", None)
    exact = backend.exact(model) if ref else {}
    share = lost_in_rounding(exact, workspace.input(ref).path, model.stored) if ref and exact else None
    if share is None:
        return
    workspace.metrics["rounded_away"] = share
    if share > ROUNDED_AWAY:
        starts = "" if model.keeps_residue else ", and a next stage starts so"
        say(
            f"{stage.name}: {model.stored} cannot hold {share:.0%} of what training changed (a ratio of norms): the "
            f"artifact is evaluated and exported without it{starts}; "
            "checkpoints: {save_dtype: float32} keeps all of it in the model's own file"
        )


def train_pass(stage: TrainingStage, model: Facts, tokens: float, rows: float, passes: float = 1.0) -> ModelPass:
    """Rows trained on, `passes` times each, with what is computed again where activations are dropped.

    A layer computed again costs a forward more, 2 FLOPs a parameter and token; its MLP alone about two thirds of that.
    """
    again = {"none": 0.0, "mlp": 1.3, "layer": 2.0}[stage.memory.recompute] / stage.memory.recompute_every
    return ModelPass(
        model.parameters,
        tokens,
        rows,
        passes * (6 + again),
        micro_tokens=stage.memory.micro_tokens,
        batch=float(getattr(stage, "batch_size", 0.0)),
        active=model.active,
    )


def read_pass(stage: TrainingStage, model: Facts, tokens: float, rows: float, passes: float = 1.0) -> ModelPass:
    """Rows read by a model that learns nothing from it: a reference, or the policy before its update."""
    return ModelPass(
        model.parameters, tokens, rows, passes * 2, micro_tokens=stage.memory.micro_tokens, active=model.active
    )


def forecast(
    stage: TrainingStage,
    makes: Facts,
    passes: Sequence[ModelPass],
    *,
    sampling: Sequence[SamplingLoad] = (),
    trained: float | None = None,
    frozen: float = 0.0,
) -> Forecast:
    """What training will take.

    Args:
        makes: the model that the stage leaves.
        passes: what goes through which model. The first is that of the tokens trained on.
        trained: parameters that are trained, by default those of the model that is left.
        frozen: parameters of models beside it that are not trained.
    """
    tokens = passes[0].tokens
    adapter = adapter_of(stage)
    memory = training_memory(
        makes.parameters if trained is None else trained, tokens, stage.optimiser, stage.memory, adapter, frozen
    )
    flops = sum(each.flops for each in passes) + sum(each.flops for each in sampling)
    made = Facts(parameters=makes.parameters, active=makes.active)
    return Forecast(tokens, flops, memory, made, tuple(passes), tuple(sampling))


def tokens_of(data: Facts, epochs: float, tokens_per_row: float = TOKENS_PER_ROW) -> float:
    """Tokens of some epochs; `tokens_per_row` where it is not known."""
    return data.rows * epochs * (data.tokens_per_row or tokens_per_row)


def looks_of(stage: TrainingStage, trained: ModelPass, inputs: Mapping[str, Facts]) -> Sequence[SamplingLoad]:
    """What looks at a model take while it is trained, for forecasts. `stage`: with a `batch_size`."""
    watch, batch = watch_of(stage), float(getattr(stage, "batch_size", 1))
    return [] if watch is None else watch.loads(trained, inputs, trained.rows / batch)


def rollouts(
    stage: TrainingStage, model: Facts, data: Facts, rounds: int, problems: int, samples: int, most: int
) -> tuple[SamplingLoad, ModelPass]:
    """A policy's own answers: how they are sampled, and one forward over them.

    The trainer reads the prompt of a group's answers once; padded, each answer stands behind its own prompt and is as
    long as it may be, as one of hundreds always is.

    Args:
        rounds: steps. problems, samples: problems of a step, answers to each. most: tokens of an answer.
    """
    prompt = data.tokens_per_row or 100.0
    load = replace(rows_sampled(model, rounds * problems, prompt, most, samples), rounds=rounds)
    seen = read_pass(stage, model, load.all_tokens, load.answers)
    return load, replace(seen, padded=load.answers * (prompt + most))
