"""The one door to engines, by the name that stands in `hardware: {engine: …}`: ours, and those that others register."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bactrian.chat.plain_text import PlainText
from bactrian.data.overlap.gram_set import GramSet
from bactrian.errors import BactrianError
from bactrian.generate.engine import Engine
from bactrian.generate.engine_names import LOCAL, PLUGINS, VLLM, check_engine
from bactrian.generate.memfree import MemFree
from bactrian.model.language_model import LanguageModel
from bactrian.store.hardware import Hardware

Maker = Callable[[Path | LanguageModel, Hardware, str | None, int], Engine]
"""From a model's folder (or, where a policy is being trained, the model itself), the hardware, the chat template (None:
the model's own) and the number of rows side by side, to an engine. It reads the weights of a given model anew in every
call, or raises BactrianError for one that is no folder."""


def open_engine(
    model: Path | LanguageModel,
    hardware: Hardware,
    *,
    template: str | None = None,
    rows: int = 64,
    elastic: bool = False,
) -> Engine:
    """The engine that the hardware names, on a model.

    Args:
        model: a folder, or a model that is being trained in this process.
        template: a chat template's name, for a folder; by default the model's own.
        rows: completions sampled side by side, where the engine has no better number.
        elastic: many requests come in one call, and none goes on from its answer; so where the hardware has `samplers`,
            a folder's model may be on the cluster, so many times.

    Raises:
        BactrianError: the folder is no model; no engine has this name; it cannot be loaded.
    """
    check_engine(hardware.engine)
    if elastic and hardware.samplers and isinstance(model, Path):
        from bactrian.generate.elastic import ElasticEngine

        return ElasticEngine(model, hardware, template, rows, open_engine)
    own: dict[str, Maker] = {LOCAL: _local, VLLM: _vllm}
    maker = own.get(hardware.engine) or PLUGINS.use(hardware.engine)
    return maker(model, hardware, template, rows)


def _local(model: Path | LanguageModel, hardware: Hardware, template: str | None, rows: int) -> Engine:
    from bactrian.generate.local import LocalEngine

    if isinstance(model, LanguageModel):  # a policy, which takes many steps
        compiled = model.device.type == "cuda" if hardware.compile is None else hardware.compile
        return LocalEngine(model, rows=rows, compiled=compiled)
    compiled = bool(hardware.compile)
    return LocalEngine.load(model, hardware.dtype, template, device=hardware.device, rows=rows, compiled=compiled)


def _vllm(model: Path | LanguageModel, hardware: Hardware, template: str | None, rows: int) -> Engine:
    from bactrian.generate.vllm_engine import open_vllm

    return open_vllm(model, hardware, template, rows)


def without_reciting(engine: Engine, texts: Iterable[str], n: int) -> Engine:
    """The engine, which from now on completes no n-gram of `n` tokens of these texts (memfree.py).

    Raises:
        BactrianError: the engine is not the local one, which alone can take tokens out.
    """
    from bactrian.generate.local import LocalEngine

    if not isinstance(engine, LocalEngine):
        raise BactrianError(f"memfree: found the engine {type(engine).__name__}, expected the local one")
    plain = PlainText(engine.template.tokenizer)
    engine.avoid = MemFree(GramSet.of_tokens(map(plain.ids, texts), n))
    return engine
