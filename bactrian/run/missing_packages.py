"""What a recipe needs of the package's extras, told before anything runs: all that lacks, and how to install it."""

import importlib.util
from collections.abc import Iterable

from bactrian.errors import BactrianError
from bactrian.generate.engine_names import VLLM
from bactrian.model.embedded import EMBEDDED, is_at_hand
from bactrian.recipe.recipe import Recipe, Step
from bactrian.recipe.references import EMBEDDED_PREFIX
from bactrian.report.track.trackers import BACKENDS
from bactrian.stages.stage import Need
from bactrian.store.extras import install_line, lacking
from bactrian.store.remote import client_extra


def needs(recipe: Recipe, step: Step) -> list[Need]:
    """What a step needs, by its settings. What its rows will name, such as their verifiers, is not known yet."""
    found = [Need(*each) for each in step.stage.all_needs()]
    if recipe.hardware.data == "ray":
        found.append(Need("hardware.data: ray", "ray"))
    if recipe.hardware.engine == VLLM:
        served = recipe.hardware.vllm.server is not None
        found.append(Need("hardware.vllm.server", "servers") if served else Need("hardware.engine: vllm", "vllm"))
    found += [Need(EMBEDDED_PREFIX + name, "embedded") for name in _embedded(step) if not is_at_hand(name)]
    return list(dict.fromkeys(found))


def extras_of(recipe: Recipe) -> set[str]:
    """The extras that a recipe needs."""
    return {need.extra for step in recipe.steps for need in needs(recipe, step)}


def what_lacks(recipe: Recipe, steps: Iterable[Step]) -> str:
    """What the steps need and is not installed here: a line for each step, and a command; "" where nothing lacks."""
    lines, extras, weights = list[str](), set[str](), set[str]()
    for step in steps:
        wanting = [need for need in needs(recipe, step) if lacking(need.extra)]
        if wanting:
            said = "; ".join(f"{need.what} (extra {need.extra}: {', '.join(lacking(need.extra))})" for need in wanting)
            lines.append(f'step "{step.name}": {said}')
            extras |= {need.extra for need in wanting}
        for name in _embedded(step):
            if not is_at_hand(name) and importlib.util.find_spec(EMBEDDED[name].module) is None:
                lines.append(f'step "{step.name}": {EMBEDDED_PREFIX}{name} comes inside {EMBEDDED[name].package}')
                weights.add(EMBEDDED[name].install)
    for name in recipe.track:
        if importlib.util.find_spec(BACKENDS[name].package) is None:
            lines.append(f"track: {name} (extra {BACKENDS[name].extra}: {BACKENDS[name].package})")
            extras.add(BACKENDS[name].extra)
    if (extra := client_extra(recipe.remote)) is not None and lacking(extra):
        lines.append(f"remote: {recipe.remote} (extra {extra}: {', '.join(lacking(extra))})")
        extras.add(extra)
    if not lines:
        return ""
    command = " && ".join([*([install_line(extras)] if extras else []), *sorted(weights)])
    where = str(recipe.path or f"recipe {recipe.name}")
    return "\n".join([f"{where} needs packages that are not installed", *lines, command])


def refuse_without_extras(recipe: Recipe, steps: Iterable[Step]) -> None:
    """
    Raises:
        BactrianError: packages are not installed; with all of them and the command that installs them.
    """
    if said := what_lacks(recipe, steps):
        raise BactrianError(said)


def _embedded(step: Step) -> list[str]:
    """The models of the step that come inside packages, by name."""
    refs = (item.ref for item in step.stage.references())
    return list(dict.fromkeys(ref.removeprefix(EMBEDDED_PREFIX) for ref in refs if ref.startswith(EMBEDDED_PREFIX)))
