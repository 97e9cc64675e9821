"""Another trainer's data sets as steps of a recipe: one `source` each, and a `mix` where there are several."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import show
from bactrian.recipe.foreign.read import ForeignSettings

_LOADERS = ("json", "csv", "parquet", "text")
_LAYOUTS = {"alpaca": "alpaca", "sharegpt": "sharegpt", "completion": "text"}
"""axolotl's `type` → layout; what is not here is found by the columns."""

Steps = dict[str, dict[str, Any]]


def data_steps(given: ForeignSettings, differs: list[str]) -> tuple[str, Steps]:
    """The step that the training reads, and the steps that make it. What is done differently is added to `differs`.

    Raises:
        BactrianError: where no data set is named.
    """
    sets = list(_data_sets(given.values))
    if not sets:
        raise BactrianError(f"{given.label}: found no data set, expected datasets (axolotl, TRL) or dataset_name (TRL)")
    steps: Steps = {}
    shares: dict[str, float] = {}
    for each in _one_file_each(sets):
        path = each.get("path")
        if not isinstance(path, str) or not path:
            raise BactrianError(f"{given.label}, datasets: found {show(each)}, expected a path or name in each")
        name = _step_name(path, steps)
        steps[name] = _source(path, each, differs)
        if each.get("fraction") is not None:
            shares[name] = float(each["fraction"])
    if len(steps) == 1 and not any(share != 1 for share in shares.values()):
        return next(iter(steps)), steps
    steps["mixture"] = {
        "stage": "mix",
        "sources": [{"data": name, "amount": shares.get(name, 1.0)} for name in list(steps)],
    }
    return "mixture", steps


def _data_sets(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each with path, and maybe name, split, data_files, type, fraction."""
    if isinstance(values.get("datasets"), list):
        return [dict(each) if isinstance(each, Mapping) else {"path": each} for each in values["datasets"]]
    if (mixer := values.get("dataset_mixer")) is not None:
        split = (values.get("dataset_splits") or ["train"])[0]
        return [{"path": path, "fraction": share, "split": split} for path, share in dict(mixer).items()]
    if (flat := values.get("dataset_mixer_list")) is not None:
        words = flat.split() if isinstance(flat, str) else list(flat)
        return [
            {"path": path, "fraction": share} for path, share in zip(words[::2], map(float, words[1::2]), strict=False)
        ]
    if values.get("dataset_name"):
        names = {"name": values.get("dataset_config"), "split": values.get("dataset_train_split", "train")}
        return [{"path": values["dataset_name"], **names}]
    return []


def _one_file_each(sets: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Loaders of the datasets library ("json", …) with several files, as one set for each file."""
    for each in sets:
        files = each.get("data_files")
        if each.get("path") in _LOADERS and files:
            yield from ({**each, "path": str(file), "data_files": None, "local": True} for file in _listed(files))
        else:
            yield each


def _listed(files: Any) -> list[Any]:
    """data_files as it may be written: a path, a list of them, or splits with either."""
    if isinstance(files, Mapping):
        return [file for split in files.values() for file in _listed(split)]
    return list(files) if isinstance(files, list) else [files]


def _source(path: str, each: Mapping[str, Any], differs: list[str]) -> dict[str, Any]:
    files = each.get("data_files")
    local = bool(each.get("local")) or _is_local(path)
    step: dict[str, Any] = {"stage": "source"}
    if local:
        step["data"] = path
    else:
        step["hub"] = path
        if each.get("name"):
            step["subset"] = each["name"]
        if each.get("split") and each["split"] != "train":
            step["split"] = each["split"]
        if isinstance(files, str):
            step["files"] = files
    kind = each.get("type")
    if isinstance(kind, str) and kind.split(".")[0] in _LAYOUTS:
        step["layout"] = _LAYOUTS[kind.split(".")[0]]
    elif isinstance(kind, Mapping):
        step |= _own_columns(kind, differs)
    if each.get("field_messages"):
        step["columns"] = {"messages": each["field_messages"]}
    for name in ("shards", "format", "message_property_mappings", "roles_to_train", "train_on_eos"):
        if each.get(name) not in (None, ""):
            differs.append(f"datasets, {path}, {name}: {show(each[name])}: not carried over")
    return step


def _own_columns(kind: Mapping[str, Any], differs: list[str]) -> dict[str, Any]:
    """axolotl's own columns (field_instruction, …), as those of the alpaca layout."""
    named = {
        "instruction": kind.get("field_instruction"),
        "input": kind.get("field_input"),
        "output": kind.get("field_output"),
        "system": kind.get("field_system"),
    }
    if kind.get("format") not in (None, "", "{instruction} {input}", "{instruction}"):
        differs.append(f"datasets, format: {show(kind['format'])}: the chat template says how turns are written")
    columns = {column: there for column, there in named.items() if there and there != column}
    return {"layout": "alpaca", **({"columns": columns} if columns else {})}


def _is_local(path: str) -> bool:
    return path.startswith((".", "/", "~")) or path.count("/") != 1 or Path(path).exists()


def _step_name(path: str, taken: Mapping[str, Any]) -> str:
    base = "".join(letter if letter.isalnum() else "_" for letter in Path(path).stem).strip("_") or "data"
    name, number = base, 2
    while name in taken or name in ("sft", "dpo", "kto", "reward", "rlvr", "mixture"):
        name, number = f"{base}_{number}", number + 1
    return name
