"""What the stages of reinforcement learning share: problems with verifiers, and held-out ones to look at."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.judge.judged import Judged
from bactrian.stages.stage import HeldOutRef
from bactrian.stages.tune.training import Tuning

if TYPE_CHECKING:
    from bactrian.generate.engine import Engine
    from bactrian.model.language_model import Decoder, LanguageModel
    from bactrian.stages.tune.training import Kept
    from bactrian.store.artifact import Workspace
    from bactrian.train.loop import Task, Trained
    from bactrian.train.rl.watch import Look
    from bactrian.verify import Pool

Row = dict[str, Any]


class Watching(Tuning, Judged):
    """Settings of looking at held-out problems during training."""

    held_out: HeldOutRef | None = Field(
        None, description="problems to look at during training; none of their questions may be trained on"
    )
    look_every: int = Field(20, ge=1, description="steps between two looks: greedy answers to all of held_out")
    keep: Literal["last", "best"] = Field(
        "last", description="weights that the stage leaves: the last, or those of the best look at held_out"
    )
    stop_on_alarm: bool = Field(
        False, description="stop once the held-out score has surely fallen while the reward has not"
    )

    @model_validator(mode="after")
    def _has_what_to_look_at(self) -> Self:
        if self.held_out is None and (self.keep == "best" or self.stop_on_alarm):
            raise ValueError("keep: best and stop_on_alarm need held_out, problems to look at")
        return self

    def problem_rows(self, workspace: "Workspace", ref: str, held_out: bool = False) -> list[Row]:
        """Problem rows whose verifiers exist; their licences go into the manifest, but for held-out ones.

        Raises:
            BactrianError: a row is no problem, or its verifier is not known or cannot judge it.
        """
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.verify import check_verifiers

        rows = read_rows(workspace.input(ref).path, "problem")
        if not held_out:
            for licence in licences(rows):
                workspace.add_licence(licence)
        check_verifiers(rows, str(workspace.input(ref).path))
        return rows

    def held_out_rows(self, workspace: "Workspace", trained: list[Row], name: str) -> list[Row]:
        """The held-out problems; none of them may be among the trained. Empty where there are none to look at."""
        from bactrian.data.io.problem_rows import refuse_trained

        if self.held_out is None:
            return []
        rows = self.problem_rows(workspace, self.held_out, held_out=True)
        refuse_trained(f"held_out, {workspace.input(self.held_out).name}", rows, trained, name)
        return rows

    def keeper(self, workspace: "Workspace", model: "Decoder", task: "Task") -> "Kept | None":
        """As in all training; but with the best weights kept, the last step's are not the artifact's."""
        kept = super().keeper(workspace, model, task)
        if kept is not None and self.keep == "best":
            kept.last = task.steps
        return kept

    def train_watched(
        self,
        workspace: "Workspace",
        model: "LanguageModel",
        task: "Task",
        look: "HeldOut | None",
        trained: "Trained | None" = None,
    ) -> None:
        """Run the loop, with looks if there are problems for them, and save the weights that are to be kept."""
        if look is None:
            self.train(workspace, model, task, trained)
            return
        from bactrian.progress import say
        from bactrian.train.loop import train
        from bactrian.train.rl.watch import Watched

        folder = workspace.scratch / "looks"
        watched = Watched(task, model, look, folder, every=self.look_every, stop=self.stop_on_alarm)
        keeper = self.keeper(workspace, model, task)
        totals = train(self.name, trained or model, watched, self._settings(), workspace, keeper)
        made = watched.steps - int(totals.get("steps_left", 0))
        workspace.metrics.update({**totals, **watched.finish(made)})
        (workspace.output / "looks.json").write_bytes((folder / "looks.json").read_bytes())
        if self.keep == "best":
            best = watched.restore_best()
            say(f"{self.name}: the weights after {best} of {made} steps are kept, the best on held_out")
        self.save(workspace, model)


class HeldOut:
    """Greedy answers of the policy to the held-out problems, verified."""

    def __init__(self, engine: "Engine", rows: list[Row], pool: "Pool", max_new_tokens: int) -> None:
        from bactrian.chat import prompt_ids
        from bactrian.generate.engine import Request

        self.engine, self.rows, self.pool = engine, rows, pool
        prompts = [tuple(prompt_ids(row["messages"], engine.template, f"held-out problem {row['id']}")) for row in rows]
        engine.check_fits(prompts, max_new_tokens, [f"held-out problem {row['id']}" for row in rows])
        self.requests = [Request(prompt, max_new_tokens=max_new_tokens, temperature=0.0) for prompt in prompts]

    def __call__(self) -> "Look":
        from bactrian.train.rl.watch import Look
        from bactrian.verify import Item

        answers = [group[0] for group in self.engine.generate(self.requests)]
        items = [Item.of(row, answer.text) for row, answer in zip(self.rows, answers, strict=True)]
        verdicts = self.pool.verify_all(items)
        return Look(
            step=0,
            scores=[verdict.score for verdict in verdicts],
            length=sum(len(answer.ids) for answer in answers) / len(answers),
            truncated=sum(answer.finish == "length" for answer in answers) / len(answers),
        )
