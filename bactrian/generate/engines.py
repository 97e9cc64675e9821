"""The one door to engines, by the name that stands in `hardware: {engine: …}`: ours, and those that others register."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.generate.engine import Engine
from bactrian.model.language_model import LanguageModel
from bactrian.store.hardware import Hardware
from bactrian.store.plugins import Plugins

LOCAL = "local"

Maker = Callable[[Path | LanguageModel, Hardware, str | None, int], Engine]
"""From a model's folder (or, where a policy is being trained, the model itself), the hardware, the chat template (None:
the model's own) and the number of rows side by side, to an engine. It reads the weights of a given model anew in every
call, or raises BactrianError for one that is no folder."""
PLUGINS: Plugins[Maker] = Plugins("bactrian.engines", "engine", "a function that makes an engine", callable)
"""Entry points of `bactrian.engines` name a `Maker`; the entry point's name is the engine's."""


def open_engine(
    model: Path | LanguageModel, hardware: Hardware, *, template: str | None = None, rows: int = 64
) -> Engine:
    """The engine that the hardware names, on a model.

    Args:
        model: a folder, or a model that is being trained in this process.
        template: a chat template's name, for a folder; by default the model's own.
        rows: completions sampled side by side, where the engine has no better number.

    Raises:
        BactrianError: the folder is no model; no engine has this name; it cannot be loaded.
    """
    return _maker(hardware.engine)(model, hardware, template, rows)


def _maker(name: str) -> Maker:
    if name == LOCAL:
        return _local
    others = PLUGINS.names(own=[LOCAL])
    if name not in others:
        near = get_close_matches(name, [LOCAL, *others], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BactrianError(
            f'hardware, field "engine": found {name!r}, expected {LOCAL!r} or an engine that an installed package '
            f"registers ({', '.join(others) or 'none does'}){hint}"
        )
    return PLUGINS.use(name)


def _local(model: Path | LanguageModel, hardware: Hardware, template: str | None, rows: int) -> Engine:
    from bactrian.generate.local import LocalEngine

    if isinstance(model, LanguageModel):
        return LocalEngine(model, rows=rows)
    return LocalEngine.load(model, hardware.dtype, template, device=hardware.device, rows=rows)
