"""From settings to samplers: in this process, or in processes of their own on a Ray cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bactrian.errors import BactrianError
from bactrian.generate.engine_names import LOCAL, VLLM
from bactrian.stages.judge.judge_refs import check_judges, judge_models
from bactrian.stages.rl.reward_settings import RewardSettings
from bactrian.stages.tune.training import Row, TrainingStage, equip, read_model
from bactrian.train.options import AsynchronousSettings, SamplingSettings

if TYPE_CHECKING:
    from bactrian.generate.engine import Engine
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.store.hardware import Hardware, HardwareSettings
    from bactrian.train.rl.rollouts import Sampler
    from bactrian.train.rl.verified import VerifiedSampler


def server_clash(
    settings: AsynchronousSettings | None, hardware: "HardwareSettings"
) -> list[tuple[tuple[str | int, ...], str, str]]:
    """Samplers have weights of different steps at a time, and one server holds those of one (`Stage.clashes_with`)."""
    if settings is None or hardware.engine != VLLM or hardware.vllm.server is None:
        return []
    found = f"samplers: {settings.samplers} beside hardware.vllm.server, which can follow one policy at a time"
    return [(("asynchronous",), found, "hardware: {engine: vllm} without server: each sampler then starts its own")]


def trainers_engine(
    model: "LanguageModel",
    hardware: "Hardware",
    settings: AsynchronousSettings | None,
    sampling: SamplingSettings,
    *,
    looks: bool,
) -> "Engine":
    """The engine beside the trainer: it samples, unless workers do, and looks at held-out problems, if there are looks.

    Where it has neither to do, it only says which prompts fit, and no processes are started for that.
    """
    from bactrian.generate.engines import open_engine

    if settings is not None and not looks:
        hardware = replace(hardware, engine=LOCAL)
    return open_engine(model, hardware, rows=sampling.rows_at_once)


@contextmanager
def whoever_samples(
    workspace: "Workspace",
    stage: TrainingStage,
    ref: str,
    model: "LanguageModel",
    local: "VerifiedSampler",
    settings: AsynchronousSettings | None,
    sampling: SamplingSettings,
    reward: RewardSettings,
) -> "Iterator[Sampler]":
    """The sampler of this process, or, with `settings`, workers in its place; they end with the block.

    Args:
        ref: of the model that training begins with.
        local: samples here; workers have its problems and ask alike.

    Raises:
        BactrianError: several processes train together, or Ray is not installed.
    """
    if settings is None:
        yield local
        return
    from bactrian.judge.panel import open_judges
    from bactrian.store import processes
    from bactrian.train.rl.asynchronous.ray_workers import RayWorkers
    from bactrian.train.rl.asynchronous.remote_sampler import RemoteSampler
    from bactrian.train.rl.asynchronous.sampling_worker import Post

    group = processes.present()
    if group.size > 1:
        raise BactrianError(
            f"{stage.name}, asynchronous: found {group.size} processes that train together, expected one; "
            "without this setting each of them samples a share"
        )
    named = check_judges(local.rows, reward, stage.name)
    models = {name: where for name, where in judge_models(workspace, reward).items() if name in named}
    post = Post(
        partial(policy_like, workspace, stage, ref),
        partial(open_judges, models, workspace.hardware),
        workspace.hardware,
        local.rows,
        local.seed,
        local.samples,
        local.max_new_tokens,
        local.temperature,
        sampling.rows_at_once,
        reward.verify_timeout,
        own_verifiers(local.rows),
        settings.piece if settings.in_flight else None,
        settings.verifiers,
    )
    with RayWorkers(
        post, settings.samplers, model, compare=settings.compare_weights, patience=settings.patience
    ) as crew:
        yield RemoteSampler(
            crew,
            local.prompts,
            parts=settings.samplers,
            exact=not settings.in_flight,
            gap_limit=sampling.gap_limit,
        )


def policy_like(workspace: "Workspace", stage: TrainingStage, ref: str) -> "LanguageModel":
    """A model like the policy that is trained from this reference, which computes with the same weights."""
    model = read_model(workspace, stage, ref, masters=False)
    equip(workspace, stage, model, ref)
    return model


def own_verifiers(rows: Sequence[Row]) -> tuple[str, ...]:
    """Verifiers in users' own files that rows name."""
    from bactrian.store.own_files import is_own

    return tuple(sorted({row["dataset"] for row in rows if is_own(row["dataset"])}))
