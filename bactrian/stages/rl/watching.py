"""What the stages of reinforcement learning do alike: problems with verifiers, and looks at held-out ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bactrian.stages.judge.judge_refs import known_verifier
from bactrian.stages.rl.reward_settings import WatchSettings
from bactrian.stages.stage import Facts, SamplingLoad, rows_sampled
from bactrian.stages.tune.training import Row, TrainingStage, quantised, rows_of, run_loop, save_model

if TYPE_CHECKING:
    from bactrian.generate.engine import Engine
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.backend import Trained
    from bactrian.train.loop import TrainingTask
    from bactrian.train.rl.held_out import HeldOutAnswers
    from bactrian.train.rl.kept_rollouts import Keep
    from bactrian.train.rl.verified import VerifiedSampler
    from bactrian.verify import Pool


def problem_rows(workspace: "Workspace", ref: str, verifier: str | None = None) -> list[Row]:
    """Problem rows whose verifiers exist; their licences go into the manifest.

    Args:
        verifier: scores the answers in place of those that the rows name.

    Raises:
        BactrianError: a row is no problem, or its verifier is not known or cannot judge it.
    """
    from bactrian.verify import check_verifiers

    rows = rows_of(workspace, ref, "problem", known_verifier(verifier))
    check_verifiers(rows, str(workspace.input(ref).path))
    return rows


def held_out_rows(
    workspace: "Workspace", watch: WatchSettings, trained: list[Row], data: str, verifier: str | None = None
) -> list[Row]:
    """The held-out problems, whose licences go nowhere; empty where there are none to look at.

    Args:
        trained: the problems of the reference `data`.
        verifier: of rows that name none: what they name is no part of the reward, and can tell whether it misleads.

    Raises:
        BactrianError: a row is no problem, or among the trained; or its verifier cannot judge it.
    """
    from bactrian.data.io.files import read_rows
    from bactrian.data.io.problem_rows import refuse_trained
    from bactrian.verify import check_verifiers

    if watch.held_out is None:
        return []
    source = workspace.input(watch.held_out)
    rows = read_rows(source.path, "problem", known_verifier(verifier), instead=False)
    check_verifiers(rows, str(source.path))
    refuse_trained(f"held_out, {source.name}", rows, trained, workspace.input(data).name)
    return rows


def look_at(engine: "Engine", rows: list[Row], pool: "Pool", max_new_tokens: int) -> "HeldOutAnswers | None":
    """What looks at held-out problems, if there are some."""
    from bactrian.train.rl.held_out import HeldOutAnswers

    return HeldOutAnswers(engine, rows, pool, max_new_tokens) if rows else None


def looks_at(
    watch: WatchSettings, model: Facts, inputs: Mapping[str, Facts], steps: int, most: int
) -> list[SamplingLoad]:
    """The answers of all looks together, for forecasts."""
    if watch.held_out is None:
        return []
    facts, looks = inputs.get(watch.held_out, Facts()), steps // watch.look_every + 1
    load = rows_sampled(model, facts.rows * looks, facts.tokens_per_row, most)
    return [replace(load, rounds=looks)]


def keep_rollouts(workspace: "Workspace", watch: WatchSettings, sampler: "VerifiedSampler") -> "Keep":
    """What writes some answers of each step down for people to read."""
    from bactrian.train.rl.kept_rollouts import KeptRollouts

    return KeptRollouts(workspace.show_rollouts, sampler, watch.rollouts)


def train_watched(
    workspace: "Workspace",
    stage: TrainingStage,
    watch: WatchSettings,
    model: "LanguageModel",
    task: "TrainingTask",
    look: "HeldOutAnswers | None",
    *,
    trained: "Trained | None" = None,
    rates: Mapping[str, float] | None = None,
) -> None:
    """Run the loop, with looks if there are problems for them, and save the weights that are to be kept.

    Arguments are those of `run_loop`.
    """
    from bactrian.progress import say
    from bactrian.train.choose_backend import open_backend
    from bactrian.train.rl.held_out import WatchedTask

    backend = open_backend(workspace.hardware, whole=quantised(stage))
    folder = workspace.common / "looks"
    if look is None:
        workspace.metrics.update(run_loop(workspace, stage, model, task, backend, trained=trained, rates=rates))
        save_model(workspace, stage, model, backend)
        return
    watched = WatchedTask(task, model, look, folder, every=watch.look_every, stop=watch.stop_on_alarm, backend=backend)
    best = watch.keep == "best"
    totals = run_loop(workspace, stage, model, watched, backend, trained=trained, rates=rates, keep_last=best)
    made = watched.steps - int(totals.get("steps_left", 0))
    workspace.metrics.update({**totals, **watched.finish(made)})
    (workspace.output / "looks.json").write_bytes((folder / "looks.json").read_bytes())
    if best:
        step = watched.restore_best()
        say(f"{stage.name}: the weights after {step} of {made} steps are kept, the best on held_out")
    save_model(workspace, stage, model, backend)
