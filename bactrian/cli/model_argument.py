"""The MODEL of a command: an artifact (as in `show`), embedded:NAME, a folder or a Hub id."""

from pathlib import Path


def model_folder(model: str, run_name: str | None, store: Path) -> Path:
    """The folder of a model. Raises BactrianError for what is none."""
    from bactrian.recipe.references import problem_with, resolve
    from bactrian.store.artifact import Store
    from bactrian.store.manifest import Kind

    if run_name is None and problem_with(model, Kind.MODEL, Path(), ()) is None:
        return resolve(model, Kind.MODEL, Path()).input().path
    return Store(store).locate(model, run_name)
