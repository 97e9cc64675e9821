"""`ablate:` of a recipe step → further steps: the same chain below it once more for each part that is left out.

    mixture:
      stage: mix
      sources: [{data: word_problems, capability: stories}, {data: sums, capability: sums}]
      ablate: {without: [stories, sums]}
    sft: {stage: sft, model: base, data: mixture}
    scores: {stage: evaluate, models: [base, sft], data: unseen}

makes mixture~no-stories, sft~no-stories, scores~no-stories, the same for sums, and mixture~ablation, which compares.
A step of any stage may be made otherwise: `ablate: {instead: {random: {by: random}}}` of a `select` step makes
selection~random and all below it with that setting changed.
They are steps as any other: what they share with the recipe's own is the same artifact, made once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from bactrian.errors.wording import nearest, show
from bactrian.recipe.document import Place
from bactrian.recipe.groups import regrouped
from bactrian.stages.measure.ablation import Ablation
from bactrian.stages.stage import Divisible, Settings, Stage, changed_stage

COMPARED = ("evaluate", "scaling", "interact")
"""Stages whose results the table compares."""
Steps = dict[str, Stage]
Problem = tuple[Place, str, str]
"""A place below the step's `ablate`, what is found there and what was expected."""


class Ablate(Settings):
    """What `ablate:` may say."""

    without: list[str] = Field([], description="a run without each of these parts or groups: leave one out")
    only: list[str] = Field([], description="a run with each of these parts or groups alone: its upper bound")
    instead: dict[str, dict[str, Any]] = Field({}, description="name → settings of the step that are others in a run")

    def variants(self) -> Iterator[tuple[Place, str, str]]:
        """(place, "no" or "only", part) of each."""
        yield from ((("without", i), "no", part) for i, part in enumerate(self.without))
        yield from ((("only", i), "only", part) for i, part in enumerate(self.only))


def expand(name: str, steps: Mapping[str, Stage], ablate: Ablate) -> tuple[Steps, list[Problem]]:
    """The steps that `ablate` of step `name` adds to those of the recipe, in their order, and what is wrong with it."""
    stage = steps[name]
    added, problems, variants = Steps(), list[Problem](), dict[str, str]()
    below = _below(name, steps)
    for label, changes in ablate.instead.items():
        suffix = f"~{_in_a_name(label)}"
        changed = _changed(stage, changes)
        if not isinstance(changed, Stage):
            problems.append((("instead", label), show(changes), changed))
        elif suffix in variants.values():
            problems.append((("instead", label), f"{show(label)} again", "each name once"))
        else:
            variants[label] = suffix
            added |= _variant(name, changed, suffix, below, steps)
    for place, how, part in ablate.variants():
        if not isinstance(stage, Divisible):
            found = f"a step of stage {stage.name}, which has no parts"
            return {}, [((), found, "one that has, such as mix or filter, or `instead`")]
        kept = [i for i, names in enumerate(stage.parts()) if (part in names) != (how == "no")]
        suffix = f"~{how}-{_in_a_name(part)}"
        if not 0 < len(kept) < len(stage.parts()):
            problems.append((place, *_unusable(part, stage.parts(), bool(kept) == (how == "no"))))
        elif suffix in variants.values():
            problems.append((place, f"{show(part)} again", "each part once"))
        else:
            variants[f"without {part}" if how == "no" else f"only {part}"] = suffix
            added |= _variant(name, stage.keeping(kept), suffix, below, steps)
    evaluated = [step for step in below if steps[step].name in COMPARED]
    if evaluated and variants:
        named = {label: [step + suffix for step in evaluated] for label, suffix in variants.items()}
        added[f"{name}~ablation"] = Ablation(full=evaluated, variants=named)
    return added, problems


def _in_a_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def _variant(name: str, stage: Stage, suffix: str, below: Sequence[str], steps: Mapping[str, Stage]) -> Steps:
    """Another stage in a step's place, and all steps below it once more."""
    renamed = {old: old + suffix for old in (name, *below)}
    return {name + suffix: stage, **{step + suffix: _renamed(steps[step], renamed) for step in below}}


def _changed(stage: Stage, changes: Mapping[str, Any]) -> Stage | str:
    """The stage with other settings, or what would have been expected of them."""
    if spellings := regrouped(type(stage), changes)[1]:
        return f"settings of {stage.name}; this setting is now {next(iter(spellings.values()))}"
    try:
        changed = changed_stage(stage, changes)
    except ValidationError as error:
        first = error.errors()[0]
        return f"settings of {stage.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return changed if changed != stage else "settings that are others than the step's own"


def _below(name: str, steps: Mapping[str, Stage]) -> list[str]:
    """The steps that read `name`, directly or through others, in the order of the recipe."""
    reads = {step: {found.ref for found in stage.references()} for step, stage in steps.items()}
    found, size = {name}, 0
    while len(found) > size:
        size = len(found)
        found |= {step for step, read in reads.items() if read & found}
    return [step for step in steps if step in found and step != name]


def _renamed(stage: Stage, names: Mapping[str, str]) -> Stage:
    """The stage with references to some steps replaced."""
    settings: dict[str, Any] = stage.model_dump()
    for found in stage.references():
        holder: Any = settings
        for key in found.path[:-1]:
            holder = holder[key]
        holder[found.path[-1]] = names.get(found.ref, found.ref)
    return type(stage).model_validate(settings)


def _unusable(part: str, parts: Sequence[tuple[str, ...]], unknown: bool) -> tuple[str, str]:
    names = list(dict.fromkeys(name for names in parts for name in names))
    if not unknown:
        return f"{show(part)}, which is all there is", "a part among others"
    meant = nearest(part, names)
    return f"{show(part)}, which is no part of it", f"one of: {', '.join(names)}" + (
        f'; did you mean "{meant}"?' if meant else ""
    )
