"""What is set up before a step is made: device, memory, threads, determinism and seeds."""

import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.model.folders import check_folder
from bactrian.progress import say
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import Recipe, Step
from bactrian.recipe.references import find_path
from bactrian.run.remedies import remedy
from bactrian.store.artifact import Input
from bactrian.store.hardware import Hardware, device_memory, gpu_name
from bactrian.store.manifest import Kind
from bactrian.train.heap import give_back

ASKED = ("prompts",)
"""Settings that name rows of any kind, which a model is asked."""


def prepare(hardware: Hardware, seed: int) -> None:
    """Threads, determinism and every global random stream, so that a step depends on nothing that
    ran before it.

    Nor does its memory: what earlier steps needed is given back.

    Raises:
        BactrianError: for a device that is not there.
    """
    import numpy
    import torch

    give_back()
    if hardware.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it products may differ from run to run
    check_device(hardware)
    torch.set_num_threads(hardware.threads)
    if hardware.device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:  # the same, without the import of torch's compiler, whose operations are no others here: it takes seconds
        torch.set_deterministic_debug_mode("warn")
    # a debugging aid that costs a pass over each new tensor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def check_device(hardware: Hardware) -> None:
    """
    Raises:
        BactrianError: if a GPU is asked for and torch finds none.
    """
    if hardware.device == "cuda" and gpu_name() is None:
        raise BactrianError('hardware, field "device": found "cuda", and no GPU that torch can use; expected "cpu"')


def check_models(recipe: Recipe, steps: Iterable[Step]) -> None:
    """Whether the folders that steps read as models hold some; what a step has made or a Hub has is seen later.

    Raises:
        BactrianError: naming step, field and folder.
    """
    for step in steps:
        for use in step.stage.references():
            path = find_path(use.ref, recipe.folder) if use.kind is Kind.MODEL and use.ref not in step.reads else None
            if path is not None and path.is_dir():
                try:
                    check_folder(path)
                except BactrianError as error:
                    raise BactrianError(f'step "{step.name}", field "{use.field}": {error}') from None


def check_tool_places(recipe: Recipe, steps: Iterable[Step]) -> None:
    """Whether chat templates have a place for the tools that the first rows of files have: where both files are there
    already. What other steps make is looked at by `check_rows`.

    Raises:
        BactrianError: naming step, field and template.
    """
    from bactrian.recipe.adopted import rows_as_read

    stages = {step.name: step.stage for step in recipe.steps}
    for step in steps:
        models = [
            path
            for use in step.stage.references()
            if use.kind is Kind.MODEL and (path := find_path(use.ref, recipe.folder)) is not None and path.is_dir()
        ]
        for use in step.stage.references() if models else ():
            if use.rows or use.field in ASKED:
                _check_tools(step, use.field, models, rows_as_read(use.ref, stages, recipe.folder))


def _check_tools(step: Step, field: str, models: Iterable[Path], rows: Iterable[Mapping[str, Any]]) -> None:
    """
    Raises:
        BactrianError: rows have tools, and a template has no place for them.
    """
    from bactrian.chat.tool_places import lacks_tools, tools_in

    listed, called = tools_in(rows)
    if not (listed or called):
        return
    template = getattr(step.stage, "template", None)
    for folder in models:
        if said := lacks_tools(folder, template, listed, called):
            raise BactrianError(f'step "{step.name}", field "{field}": these rows have tools, and {said}')


def say_what_is_adopted(recipe: Recipe) -> None:
    """Say how files of others are read, and once which data do not state on what terms they are given."""
    from bactrian.stages.data.source import DataSource

    for step in recipe.steps:
        if step.implicit and isinstance(step.stage, DataSource) and step.stage.verifier:
            say(f"{step.name}: its answers are checked by the verifier {step.stage.verifier} (verifier: … for another)")
    if recipe.unlicensed:
        names = ", ".join(recipe.unlicensed)
        say(
            f"warning: no licence is stated for {names}: what is made of it is marked unclear "
            "(state it by license: …; demand it by licences: strict)"
        )


def check_rows(step: Step, inputs: Mapping[str, Input]) -> None:
    """Whether what other steps made for a step is of the kind that it needs, by the first rows, before any model is
    loaded; files were looked at with the recipe.

    Raises:
        BactrianError: with what was found in which row, and what was expected.
    """
    from bactrian.data.io.adoption import Adoption
    from bactrian.data.io.first_rows import examine, first_rows
    from bactrian.data.io.formats import Fault
    from bactrian.recipe.adopted import asks
    from bactrian.verify.registry import NO_TRUTH

    models = [inputs[use.ref].path for use in step.stage.references() if use.kind is Kind.MODEL and use.ref in inputs]
    own = any(part.kind == "verifier" for part in step.stage.own_parts())  # then any row that asks something will do
    truthless = any(name in NO_TRUTH for name in step.stage.judged_by())  # likewise
    for use in step.stage.references():
        if use.ref not in step.reads or not (use.rows or use.field in ASKED):
            continue
        rows = first_rows(inputs[use.ref].path)
        _check_tools(step, use.field, models, (row for row, _ in rows if not isinstance(row, Fault)))
        if use.rows and not (own and "problem" in use.rows):
            if truthless and "problem" in use.rows and all(not isinstance(row, Fault) and asks(row) for row, _ in rows):
                continue
            finding = examine(rows, use.rows, Adoption(source=use.ref))
            if not finding.own:
                found, expected = finding.misfit or ("rows of another form", "rows that a source has adopted")
                raise BactrianError(f'field "{use.field}": {f"found {found}, expected " if found else ""}{expected}')


def warn_of_memory(step: Step, inputs: Mapping[str, Input], hardware: Hardware) -> None:
    """Say so if the step's forecast needs more memory than there is, and which settings would make it fit."""
    known = {ref: facts_of(item.path, item.kind) for ref, item in inputs.items()}
    needed, there = step.stage.forecast(known).peak_memory, device_memory(hardware.device)
    if 0 < there < needed:
        helps = remedy(step.stage, known, hardware, there)
        way = f"; {helps.settings} brings {helps.peak_memory / 2**30:.1f} GiB" if helps else ""
        say(
            f"{step.name}: warning: may need {needed / 2**30:.1f} GiB of memory, and this machine has "
            f"{there / 2**30:.1f} GiB{way}"
        )
