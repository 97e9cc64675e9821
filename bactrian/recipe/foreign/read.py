"""Another trainer's configuration as plain settings: a YAML or JSON file, or a command line as it was typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bactrian.errors import BactrianError
from bactrian.recipe.document import parse_value

Trainer = Literal["axolotl", "trl"]
KINDS = {"sft": "sft", "dpo": "dpo", "kto": "kto", "reward": "reward", "grpo": "rlvr", "rloo": "rlvr"}
"""Trainers of TRL and values of axolotl's `rl` → stages."""


@dataclass(frozen=True)
class ForeignSettings:
    """What was read: from where, whose it is, the stage that does the same here, and the settings as written there."""

    label: str
    trainer: Trainer
    kind: str
    values: Mapping[str, Any]


def read_file(path: Path, kind: str | None = None) -> ForeignSettings:
    """A file for `axolotl train FILE` or `trl KIND --config FILE`, or of scripts built on TRL.

    Raises:
        BactrianError: for what cannot be read, belongs to neither, or does not say what it trains.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BactrianError(f"{path}: the configuration cannot be read ({error})") from None
    values = parse_value(text, str(path))
    if not isinstance(values, Mapping):
        raise BactrianError(f"{path}: found no settings, expected the YAML or JSON of axolotl or TRL")
    return _settings(str(path), values, kind)


def read_command(words: Sequence[str], kind: str | None = None) -> ForeignSettings:
    """A command such as `trl dpo --model_name_or_path M --dataset_name D`, in words.

    Raises:
        BactrianError: for a word that is no option, or as `read_file`.
    """
    rest, label = list(words), " ".join(words[:2])
    values: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):  # python train.py, accelerate launch …, trl sft
            kind = kind or next((stage for name, stage in KINDS.items() if name in _parts(word)), None)
            continue
        name, equals, given = word[2:].partition("=")
        following = [given] if equals else _until_option(rest)
        texts = [parse_value(each, f"--{name} {each}") for each in following]
        values[name.replace("-", "_")] = texts[0] if len(texts) == 1 else texts or True
    if "config" in values:
        file = read_file(Path(values.pop("config")), kind)
        return ForeignSettings(label, file.trainer, file.kind, {**file.values, **values})
    return _settings(label, values, kind)


def _parts(word: str) -> list[str]:
    """ "examples/scripts/dpo_vlm.py" → its words."""
    return Path(word).stem.replace("-", "_").split("_")


def _until_option(rest: list[str]) -> list[str]:
    taken = []
    while rest and not rest[0].startswith("--"):
        taken.append(rest.pop(0))
    return taken


def _settings(label: str, values: Mapping[str, Any], kind: str | None) -> ForeignSettings:
    if "base_model" in values:
        return ForeignSettings(label, "axolotl", kind or _axolotl_kind(label, values), values)
    if "model_name_or_path" in values or "model" in values:
        return ForeignSettings(label, "trl", kind or _trl_kind(label, values), values)
    raise BactrianError(
        f"{label}: found neither base_model (axolotl) nor model_name_or_path (TRL), expected one of them"
    )


def _axolotl_kind(label: str, values: Mapping[str, Any]) -> str:
    rl = values.get("rl")
    if rl is None:
        return "reward" if values.get("reward_model") else "sft"
    named = {**KINDS, "ipo": "dpo", "simpo": "dpo"}
    if str(rl) not in named:
        raise BactrianError(f"{label}, rl: found {rl!r}, expected one of {', '.join(named)}: Bactrian has no {rl}")
    return named[str(rl)]


def _trl_kind(label: str, values: Mapping[str, Any]) -> str:
    """By settings that one of the trainers alone has."""
    if any(name in values for name in ("num_generations", "reward_funcs", "max_completion_length")):
        return "rlvr"
    if "desirable_weight" in values or "undesirable_weight" in values:
        return "kto"
    if "center_rewards_coefficient" in values:
        return "reward"
    if "beta" in values or values.get("loss_type") in ("sigmoid", "sigmoid_norm", "ipo"):
        return "dpo"
    if any(name in values for name in ("packing", "max_seq_length", "assistant_only_loss", "completion_only_loss")):
        return "sft"
    raise BactrianError(f"{label}: does not say what it trains; add --kind {', --kind '.join(dict.fromkeys(KINDS))}")
