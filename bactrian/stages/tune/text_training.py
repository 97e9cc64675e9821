"""What `pretrain` and `midtrain` have in common: their settings, the course of training, the loss of plain text."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, ModelPass
from bactrian.stages.tune.decoder_size import attention_flops
from bactrian.stages.tune.next_token import take_stock
from bactrian.stages.tune.training import (
    Row,
    TrainingStage,
    loop_settings,
    rows_of,
    run_loop,
    save_model,
    tokens_of,
    train_pass,
)
from bactrian.stages.tune.watch_settings import LookSettings
from bactrian.train.base_options import (
    BaseCheckpoints,
    CourseSettings,
    PretrainOptimiser,
    RouterSettings,
)
from bactrian.train.options import Epochs, TooLong

if TYPE_CHECKING:
    import torch

    from bactrian.chat import Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.backend import Backend, LoopSettings
    from bactrian.train.supervised import Growth
    from bactrian.train.token_rows import TokenRows

OPTIMISER = "optimiser/state.safetensors"
"""In a model artifact, what AdamW remembered of each weight when training ended."""


class PlainTextStage(TrainingStage):
    """Next-token training on plain text: every token is trained."""

    data: DataRef = Field(description="text rows, or the tokens that `tokenize` made of them with the same tokenizer")
    epochs: Epochs = 1.0
    batch_size: int = Field(64, ge=1, description="texts per optimiser step")
    too_long: TooLong = "cut"
    across_documents: bool = Field(
        False, description="of tokens: a document sees those before it in its instance, as OLMo 2's did"
    )
    z_loss: float = Field(0.0, ge=0, description="weight of (log Z)², which keeps logits small; OLMo 2's is 1e-5")
    mask_repeats: bool = Field(
        False, description="leave out texts in which a span of 1 to 13 tokens stands 32 times or more in a row"
    )
    course: CourseSettings = Field(default_factory=CourseSettings, description="how far training goes")
    router: RouterSettings = Field(default_factory=RouterSettings, description="losses of a mixture of experts")
    optimiser: PretrainOptimiser = Field(default_factory=PretrainOptimiser, description="AdamW, and what it moves")
    checkpoints: BaseCheckpoints = Field(default_factory=BaseCheckpoints, description="what is kept on the way")
    watch: LookSettings = Field(default_factory=LookSettings, description="texts and tasks that are looked at")


def text_pass(stage: PlainTextStage, model: Facts, attended: float, data: Facts, context: int) -> ModelPass:
    """What training takes, for a plan. `attended`: see `DecoderSize`."""
    rows, tokens = data.rows * stage.epochs, tokens_of(data, stage.epochs)
    if stage.course.tokens is not None:
        rows, tokens = rows * min(1.0, stage.course.tokens / tokens) if tokens else 0.0, stage.course.tokens
    trained = train_pass(stage, model, tokens, rows)
    length = min(float(context), tokens / rows if rows else context)
    return replace(trained, attention=attention_flops(attended, tokens, length))


class Course(NamedTuple):
    """How far training goes, in rows and updates."""

    most_rows: int | None
    horizon: int | None
    warmup: float
    growth: "Growth | None"


def train_on_text(
    workspace: "Workspace",
    stage: PlainTextStage,
    model: "LanguageModel",
    context: int,
    *,
    floor: float,
    moments: "dict[str, torch.Tensor] | None" = None,
) -> None:
    """Train on the stage's data within `context` tokens a row; saves the model and, if asked for, AdamW's moments.

    Args:
        floor: of the schedule, as a share of the peak.
        moments: of the optimiser to begin with.

    Raises:
        BactrianError: the rows cannot be read, or none is left.
    """
    from bactrian.data.io.tally import Tally
    from bactrian.train.choose_backend import open_backend
    from bactrian.train.supervised import ExtraLosses, RowSource, ShuffledRows, Supervised

    path, tally = workspace.input(stage.data).path, Tally()
    rows: RowSource
    if has_tokens(path):
        rows = token_rows(stage, model, path, context, workspace.seed)
        tally.keep(len(rows))
        mean = rows.mean_tokens
    else:
        texts = encoded(stage, model, rows_of(workspace, stage.data, "text"), context, tally)
        rows, mean = ShuffledRows(texts, workspace.seed), sum(len(row.ids) for row in texts) / max(1, len(texts))
    take_stock(workspace, stage.name, model, rows, tally, str(path), context)
    plan = course_of(stage, len(rows), mean)
    task = Supervised(
        model,
        rows,
        batch_rows=stage.batch_size,
        epochs=stage.epochs,
        seed=workspace.seed,
        micro_tokens=stage.memory.micro_tokens,
        extra=ExtraLosses(stage.z_loss, stage.router.balance, stage.router.router_z),
        growth=plan.growth,
        most_rows=plan.most_rows,
    )
    backend, settings = open_backend(workspace.hardware), settings_of(stage, plan, floor)
    totals = run_loop(workspace, stage, model, task, backend, settings=settings, moments=moments)
    workspace.metrics.update(totals)
    save_model(workspace, stage, model, backend)
    if stage.checkpoints.keep_optimiser:
        save_moments(backend, workspace.output / OPTIMISER)


def save_moments(backend: "Backend", file: Path) -> None:
    """Write the optimiser's part of a backend's state, whole, without the weights; of several processes one does."""
    from safetensors.torch import save_file

    from bactrian.store import processes
    from bactrian.train.units import whole

    state: dict[str, torch.Tensor] = {}
    group = processes.present()
    for name, tensor in backend.state().items():
        if "#" in name:
            moment = whole(tensor)  # made by all, kept by one
            if group.leader:
                state[name] = moment.cpu().contiguous()
    if group.leader:
        file.parent.mkdir(exist_ok=True)
        save_file(state, file)
    group.barrier()


def encoded(
    stage: PlainTextStage, model: "LanguageModel", rows: list[Row], context: int, tally: "Tally"
) -> "list[Rendered]":
    """Each text between the tokens of its beginning and end, within the context."""
    from bactrian.chat import Rendered
    from bactrian.data.curate.token_repeats import repeats
    from bactrian.train.supervised import fitted

    tokenizer, rendered = model.tokenizer, list[Rendered]()
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    found = tokenizer([row["text"] for row in rows], add_special_tokens=False).input_ids
    for row, ids in zip(rows, found, strict=True):
        if stage.mask_repeats and repeats(ids):
            tally.drop("a span of tokens is repeated over and over", f"text {row['id']}")
            continue
        whole = [first, *ids, tokenizer.eos_token_id]
        full = Rendered(whole, [1.0] * len(whole))
        rendered += fitted(full, context, stage.too_long, f"text {row['id']}", tally)
    return rendered


def has_tokens(path: Path) -> bool:
    """Whether data are files of tokens."""
    from bactrian.data.corpus.token_files import ABOUT

    return (path / ABOUT).is_file()


def token_rows(stage: PlainTextStage, model: "LanguageModel", path: Path, context: int, seed: int) -> "TokenRows":
    """Instances of `context` tokens, begun and ended as text rows are.

    Raises:
        BactrianError: the tokens are another tokenizer's, or the files are not what they say.
    """
    from bactrian.data.corpus.token_reader import TokenReader
    from bactrian.train.token_rows import TokenRows

    tokenizer, reader = model.tokenizer, TokenReader(path, context, seed)
    about = reader.about
    if about.end != tokenizer.eos_token_id or about.vocabulary != len(tokenizer):
        raise BactrianError(
            f"{path}: found tokens of a vocabulary of {about.vocabulary:,} with the end token {about.end}, expected "
            f"those of the model's tokenizer: {len(tokenizer):,}, {tokenizer.eos_token_id}"
        )
    first = about.end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return TokenRows(reader, first, stage.across_documents, stage.mask_repeats)


def course_of(stage: PlainTextStage, rows: int, mean: float) -> Course:
    """The course's tokens as rows and updates, `mean` tokens a row."""
    from bactrian.progress import say
    from bactrian.train.supervised import BatchPlan, Growth

    course, total = stage.course, max(1, round(rows * stage.epochs))
    if course.tokens is not None and course.tokens > total * mean + 1:
        say(f"{stage.name}: the data end after {total * mean:,.0f} of the course's {course.tokens:,.0f} tokens")

    def rows_in(tokens: float) -> int:
        return max(1, -int(-tokens // mean))

    most = None if course.tokens is None else rows_in(course.tokens)
    growth = None
    if course.first_batch is not None:
        growth = Growth(course.first_batch, max(1, round(course.batch_warmup * min(total, most or total))))

    def updates_in(tokens: float) -> int:
        return BatchPlan(rows_in(tokens), stage.batch_size, growth).steps

    trained = BatchPlan(min(total, most or total), stage.batch_size, growth).steps
    horizon = None if course.horizon is None else updates_in(course.horizon)
    warmup = stage.warmup
    if course.warmup_tokens is not None:  # a little less than the share, whose product with the horizon is rounded up
        warmup = (
            max(0.0, updates_in(course.warmup_tokens) - 0.5) / (horizon or trained) if course.warmup_tokens else 0.0
        )
    return Course(most, horizon, min(warmup, 1.0), growth)


def settings_of(stage: PlainTextStage, course: Course, floor: float) -> "LoopSettings":
    """How the loop moves the weights."""
    return replace(
        loop_settings(stage, {}),
        floor=floor,
        warmup=course.warmup,
        horizon=course.horizon,
        decay_all=stage.optimiser.decay_all,
    )
