"""Rewards and verifiers of a user's own are tried before anything is loaded: does the file import, can it be called."""

from concurrent.futures import ThreadPoolExecutor

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import Recipe
from bactrian.run.keys import KeyedStep, to_make
from bactrian.store.artifact import Store


def try_own_parts(recipe: Recipe, todo: list[KeyedStep], store: Store) -> None:
    """Import what the steps that are to be made name, each in a process of its own that can hang or crash.

    Tasks, templates and stages were read with the recipe: those are run in this process.

    Raises:
        BactrianError: with a line for each that does not work: the recipe, step and field, what was found, what was
            expected.
    """
    uses = [
        (step.name, part) for step in to_make(todo, store) for part in step.stage.own_parts() if part.kind == "verifier"
    ]
    names = list(dict.fromkeys(part.ref for _, part in uses))
    if not names:
        return
    with ThreadPoolExecutor(2) as threads:
        said = dict(zip(names, threads.map(_tried, names), strict=True))
    label = str(recipe.path or f"recipe {recipe.name}")
    lines = [
        f'{label}, step "{name}", field "{".".join(map(str, part.path))}": {said[part.ref]}'
        for name, part in uses
        if said[part.ref]
    ]
    if lines:
        raise BactrianError("\n".join(lines))


def _tried(name: str) -> str:
    """What is wrong with a function; "" if nothing is."""
    from bactrian.verify import check_own

    try:
        check_own([name])
    except BactrianError as error:
        return str(error)
    return ""
