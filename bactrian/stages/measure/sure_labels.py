"""Setting `sure` of stage `evaluate`: a judge that labels answers only where people's labels say that it may."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import JudgeRefs, model_or_server
from bactrian.stages.stage import HeldOutRef, Settings

if TYPE_CHECKING:
    from bactrian.evaluate.task import Loaded
    from bactrian.judge.answer_labels import SureLabels
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge

FILE = "sure_labels.json"
"""What the calibration was made on, and what it allows."""


class SureLabelSettings(Settings):
    """From which probability of its label a judge is trusted, by answers that people have labelled."""

    labels: HeldOutRef = Field(description="rows with prompt, completion, kind and label; or XSTest's labelled answers")
    alpha: float = Field(0.15, gt=0, lt=1, description="share of given labels that may differ from people's")
    delta: float = Field(0.1, gt=0, lt=1, description="probability with which that may fail")
    least: int = Field(30, ge=1, description="answers that a threshold must accept to be tested")


def sure_judge(
    workspace: "Workspace", settings: SureLabelSettings, given: JudgeRefs, tasks: "Sequence[Loaded]", held: ExitStack
) -> "dict[str, Judge]":
    """The judge of the verifier `judge`, calibrated, for `Pool(judges=…)`; what it rests on goes into FILE.

    Args:
        given: who judges. held: what the judge says is kept until this is closed.

    Raises:
        BactrianError: questions that are not labelled stand among them; the labels cannot be read, are too few, or say
            that the judge may be trusted with nothing.
    """
    from bactrian.data.io.journal import Journal
    from bactrian.data.io.tally import Tally
    from bactrian.judge.answer_labels import calibrated_labels, read_labelled_answers
    from bactrian.judge.panel import open_weigher
    from bactrian.progress import say

    wanted, tally = _wanted(tasks), Tally()
    path = workspace.input(settings.labels).path
    answers = read_labelled_answers(path, tally)
    journal = held.enter_context(Journal(workspace.scratch / "sure_labels.jsonl"))
    model = model_or_server(workspace, given.judge, given.judge_server)
    weigher = open_weigher(model, workspace.hardware, journal)
    try:
        found = calibrated_labels(
            weigher,
            answers,
            wanted,
            alpha=settings.alpha,
            delta=settings.delta,
            least=settings.least,
            seed=workspace.seed,
        )
    except BactrianError as error:
        raise BactrianError(f"evaluate: sure: {path}: {error}") from None
    _write(workspace, found)
    say(f"evaluate: sure: {tally}\n" + "\n".join(_line(name, found) for name in wanted))
    return {"judge": found}


def _wanted(tasks: "Sequence[Loaded]") -> list[str]:
    """Which sets of labels the questions have that a judge is to label.

    Raises:
        BactrianError: a question is to be rated, not labelled.
    """
    from bactrian.evaluate.grading import verifier_of
    from bactrian.evaluate.noncompliance_labels import is_noncompliance
    from bactrian.judge.answer_labels import set_of
    from bactrian.verify import Problem

    sets = dict[str, None]()
    for loaded in tasks:
        for question in loaded.questions:
            if verifier_of(loaded.task, question) != "judge":
                continue
            if not is_noncompliance(question.settings):
                raise BactrianError(
                    f"evaluate: sure: task {loaded.task.name}, question {question.id}: found a rubric by which answers "
                    "are rated; expected those of noncompliance, which have labels. Ask it in a step of its own"
                )
            sets[set_of(Problem("", question.settings))] = None
    if not sets:
        raise BactrianError("evaluate: sure: no question of these tasks is labelled by a judge")
    return list(sets)


def _write(workspace: "Workspace", found: "SureLabels") -> None:
    record = {name: threshold.to_json() for name, threshold in found.thresholds.items()}
    (workspace.output / FILE).write_text(json.dumps(record, indent=1) + "\n")
    workspace.metrics.update({f"sure/{name}": threshold.value for name, threshold in found.thresholds.items()})


def _line(name: str, found: "SureLabels") -> str:
    threshold = found.thresholds[name]
    return (
        f"  {name}: labels from a probability of {threshold.value:.3f} on; {threshold.errors} of {threshold.n} such "
        f"were wrong, at most {threshold.bound:.1%} are"
    )
