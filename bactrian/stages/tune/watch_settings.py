"""Group `watch`: what is measured of a model while it is trained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, HeldOutRef, ModelPass, SamplingLoad
from bactrian.store.own_files import OwnCode
from bactrian.train.options import SettingsGroup

if TYPE_CHECKING:
    from bactrian.evaluate.task import Loaded, Task
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.looking import Look

QUESTION_TOKENS = 250.0
"""Of a question with its options, for forecasts."""


class LookSettings(SettingsGroup):
    """What a person can see of the training: held-out texts by domain, and public tasks whose answers are ranked."""

    look_every: int = Field(20, ge=1, description="steps between two looks")
    texts: dict[str, HeldOutRef] = Field(
        {}, description="domain → text rows; their bits per byte are measured at every look and at the end"
    )
    tasks: list[Annotated[str, OwnCode("task")]] = Field(
        [], description="public tasks with ranked answers, by name, asked at every look and at the end"
    )
    limit: int | None = Field(None, ge=1, description="texts of each domain, and questions of each task")
    files: dict[str, str] = Field({}, description="task → SHA-256 of its file; found, and checked where given")

    @model_validator(mode="after")
    def _asks_what_can_be_ranked(self) -> Self:
        public = watched_tasks(self)
        if written := [task.name for task in public if task.form != "rank"]:
            raise ValueError(
                f"tasks: found {written[0]!r}, whose answers are written, expected tasks whose answers are "
                "ranked; stage evaluate asks the others of the checkpoints that keep_every leaves"
            )
        if unseen := [task.name for task in public if task.unseen]:
            raise ValueError(f"tasks: found {unseen[0]!r}, which is unseen: it is for final candidates alone")
        if both := sorted(set(self.texts) & {task.name for task in public}):
            raise ValueError(f"texts: {both[0]!r} is the name of a task too; call the texts otherwise")
        return self

    @property
    def watches(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.texts or self.tasks)

    def resolved(self) -> Self:
        """With the hashes of the tasks' files.

        Raises:
            BactrianError: for a folder of the environment that is not there.
        """
        from bactrian.evaluate.task_rows import file_hashes

        if not self.tasks:
            return self
        return self.model_copy(update={"files": file_hashes(watched_tasks(self), []) | self.files})

    def loads(self, trained: ModelPass, inputs: Mapping[str, Facts], steps: float) -> list[SamplingLoad]:
        """What all looks together take, for forecasts."""
        if not self.watches:
            return []
        rows, tokens = 0.0, 0.0
        for ref in self.texts.values():
            facts = inputs.get(ref, Facts())
            own = min(facts.rows, self.limit or facts.rows)
            rows, tokens = rows + own, tokens + own * (facts.tokens_per_row or QUESTION_TOKENS)
        asked = len(self.tasks) * float(self.limit or 1000)
        rows, tokens = rows + asked, tokens + asked * QUESTION_TOKENS
        looks = int(steps // self.look_every) + 2
        once = SamplingLoad(trained.parameters, 0, 0, 0, rows, tokens / max(1.0, rows), 1, trained.active)
        return [replace(once, prompts=rows * looks, rounds=looks)]


def watched_tasks(watch: LookSettings) -> "list[Task]":
    """The public tasks of a group.

    Raises:
        ValueError: for an unknown one.
    """
    from bactrian.evaluate.catalogue import chosen

    if not watch.tasks:
        return []
    try:
        return chosen(None, watch.tasks)
    except BactrianError as error:
        raise ValueError(f"tasks: {error}") from None


def open_look(workspace: "Workspace", watch: LookSettings, model: "LanguageModel") -> "Look":
    """What measures a model that is being trained, by the evaluator that stage `evaluate` asks by.

    Raises:
        BactrianError: rows are no texts, or a task's data are absent.
    """
    from bactrian.evaluate.task_rows import load_all
    from bactrian.evaluate.text_task import load_texts

    texts = [load_texts(name, workspace.input(ref).path, watch.limit) for name, ref in watch.texts.items()]
    public = watched_tasks(watch)
    limits = {task.name: watch.limit for task in public}
    asked, _ = load_all(public, [], limits, [task.name for task in public], watch.files)
    loaded = [*texts, *asked]

    def look() -> dict[str, float]:
        return scores(loaded, model, workspace)

    return look


def scores(loaded: "list[Loaded]", model: "LanguageModel", workspace: "Workspace") -> dict[str, float]:
    """Each task's score: `bits/NAME` per byte of texts, `METRIC/NAME` of ranked answers, such as `acc_norm/piqa`."""
    import shutil

    from bactrian.evaluate.answer_store import AnswerStore
    from bactrian.evaluate.answering import Subject, answer
    from bactrian.evaluate.grading import grade
    from bactrian.evaluate.scoring import measure
    from bactrian.generate.engines import open_engine
    from bactrian.progress import hushed
    from bactrian.verify import Pool

    folder: Path = workspace.scratch / "watched"
    shutil.rmtree(folder, ignore_errors=True)  # of other weights
    subject = Subject.of(open_engine(model, workspace.hardware))
    with hushed(), Pool(1) as pool, AnswerStore(folder) as kept:
        found = answer(subject, loaded, kept, "plain", workspace.seed)
        graded = [(each.loaded, grade(each, pool)) for each in found]
    return {f"{task.task.metric}/{task.task.name}": measure(task, "", records).score for task, records in graded}
