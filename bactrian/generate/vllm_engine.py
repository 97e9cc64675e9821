"""The engine `vllm`: a model's folder, or a policy that is trained here, sampled by vLLM in processes of its own or
behind a server."""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from bactrian.chat import ChatTemplate, template_for
from bactrian.errors import BactrianError
from bactrian.generate.engine_process import EngineDied, EngineProcess
from bactrian.generate.process_engine import ProcessEngine
from bactrian.generate.vllm_process import VllmProcess, require_vllm
from bactrian.model.folders import check_folder
from bactrian.model.language_model import DTYPES, LanguageModel, load_tokenizer
from bactrian.store import processes
from bactrian.store.extras import lacking, lacks
from bactrian.store.hardware import Hardware


def open_vllm(
    model: Path | LanguageModel, hardware: Hardware, template: str | None = None, rows: int = 64
) -> ProcessEngine:
    """
    Args:
        model: a folder, or a policy, whose weights are sent to vLLM when they have moved.
        rows: completions drawn side by side at most.

    Raises:
        BactrianError: vLLM is not installed, does not start, or several processes train together.
    """
    how = hardware.vllm
    if how.server is None:
        require_vllm()
    elif lacking("servers"):
        raise lacks("hardware.vllm.server", "servers")
    if isinstance(model, LanguageModel):
        if processes.present().size > 1:
            raise BactrianError(
                'hardware, field "engine": found "vllm" with several processes that train together, for which its '
                'weights were never sent; expected "local"'
            )
        chat, policy = model.template, model
    else:
        check_folder(model)
        tokenizer = load_tokenizer(model)
        chat, policy = ChatTemplate.load(tokenizer, template or template_for(tokenizer)), None
        if how.server is not None:  # what it serves may be another model
            policy = LanguageModel.load(model, hardware.dtype, template, hardware.device)
    start = _starter(model, policy, hardware, rows)
    try:
        return ProcessEngine(start, chat, name="vllm", policy=policy, check=how.check_weights)
    except EngineDied as error:
        raise BactrianError(f"hardware.engine: vllm: {error}") from error


def _starter(
    model: Path | LanguageModel, policy: LanguageModel | None, hardware: Hardware, rows: int
) -> Callable[[], EngineProcess]:
    """What opens the processes, or the way to the server."""
    if hardware.vllm.server is not None:
        from bactrian.generate.vllm_server import VllmServer

        return partial(VllmServer, hardware.vllm.server, rows=rows)
    if isinstance(model, LanguageModel):
        mine = next(name for name, known in DTYPES.items() if known == model.dtype)
        hardware = replace(hardware, dtype=mine)  # type: ignore[arg-type]
    folder = _without_weights(model) if isinstance(model, LanguageModel) else model
    return partial(VllmProcess, folder, hardware, rows=rows, empty=policy is not None)


def _without_weights(model: LanguageModel) -> Path:
    """A folder with the model's configuration and tokenizer, for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="bactrian-vllm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = copy.deepcopy(model.network.config)
    config.architectures = [type(model.network).__name__]
    config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder
