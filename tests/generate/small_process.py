"""A small engine in a process of its own, with no cache: what `ProcessEngine` is tested on where there is no vLLM.

It draws for itself, from weights that came by file through the four phases, and it can be killed. Its process is a fork
of the test's, so that it starts in no time; its model is built anew there, without weights.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from bactrian.generate.engine_process import EngineDied, EngineProcess, News, TokenRun
from bactrian.generate.sampling import choose, uniform_stream
from bactrian.generate.weight_transfer import digest, read_piece
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment

FORK = multiprocessing.get_context("fork")


class SmallProcess(EngineProcess):
    """The parent's end: each method is a message, and a broken pipe is a dead engine."""

    def __init__(self, model: LanguageModel) -> None:
        ours, theirs = FORK.Pipe()
        self._pipe: Connection = ours
        self.process = FORK.Process(target=_serve, args=(theirs, ours, model), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def longest(self) -> int:
        return 256

    @property
    def pids(self) -> list[int]:
        assert self.process.pid is not None
        return [self.process.pid]

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((method, arguments))
            found = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise EngineDied(f"{method}: {error!r}") from error
        if isinstance(found, Exception):
            raise found
        return found

    def add(self, key: str, run: TokenRun) -> None:
        self._ask("add", key, run)

    def step(self) -> list[News]:
        found: list[News] = self._ask("step")
        return found

    def drop(self, keys: Sequence[str]) -> None:
        self._ask("drop", list(keys))

    def pause(self) -> None:
        self._ask("pause")

    def resume(self) -> None:
        self._ask("resume")

    def label(self, version: int) -> None:
        self._ask("label", version)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._ask("init_weight_transfer_engine", init_info)

    def start_weight_update(self) -> None:
        self._ask("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._ask("update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._ask("finish_weight_update", weight_version)

    def received_weights(self) -> dict[str, str]:
        found: dict[str, str] = self._ask("received_weights")
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()


def _serve(pipe: Connection, other: Connection, model: LanguageModel) -> None:
    other.close()
    torch.set_num_threads(1)  # a fork has no others
    engine = _Engine(model)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(getattr(engine, method)(*arguments))
        except Exception as error:
            pipe.send(error)


class _Engine:
    """The child's end."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        with torch.no_grad():
            for weight in model.network.parameters():
                weight.data = torch.full_like(weight, torch.nan)  # memory of its own, and nothing can be drawn from it
        model.network.tie_weights()
        self.runs: dict[str, tuple[TokenRun, list[int], list[int]]] = {}
        self.version = -1
        self.updating = self.paused = False
        self.arrived: dict[str, str] = {}

    def add(self, key: str, run: TokenRun) -> None:
        self.runs[key] = run, [], []

    def drop(self, keys: list[str]) -> None:
        for key in keys:
            self.runs.pop(key, None)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def label(self, version: int) -> None:
        self.version = version

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        assert set(init_info) == {"check"}

    def start_weight_update(self) -> None:
        assert self.paused and not self.updating, "weights change under what is drawn"
        self.updating, self.arrived = True, {}

    def update_weights(self, update_info: dict[str, Any]) -> None:
        assert self.updating
        weights = read_piece(update_info)
        self.arrived |= {name: digest(weight) for name, weight in weights.items()}
        self.model.network.load_state_dict(weights, strict=False)

    def finish_weight_update(self, weight_version: str | None) -> None:
        assert self.updating and weight_version is not None
        self.updating, self.version = False, int(weight_version)
        if missing := {name for name, _ in self.model.network.named_parameters()} - {*self.arrived}:
            raise ValueError(f"parameters that got no weights: {sorted(missing)[:3]}")

    def received_weights(self) -> dict[str, str]:
        return self.arrived

    def step(self) -> list[News]:
        assert not self.paused and not self.updating
        drawn = {key: run.score_from is None for key, (run, _, _) in self.runs.items()}
        news = [self._drawn(key) if mine else self._scored(key) for key, mine in drawn.items()]
        for each in news:
            if each.finish:
                del self.runs[each.key]
        return news

    @torch.no_grad()
    def _logits(self, ids: Sequence[int]) -> torch.Tensor:
        states = self.model.forward(Forest.of([Segment(tuple(ids))]))
        return states @ self.model.head.T

    def _drawn(self, key: str) -> News:
        run, ids, versions = self.runs[key]
        logits = self._logits([*run.prompt, *ids])[-1:].clone()
        logits[:, list(run.banned)] = -torch.inf
        logits[:, sorted(set(ids))] -= run.presence_penalty
        uniform = torch.from_numpy(uniform_stream(run.seed, 0, run.most)[len(ids) : len(ids) + 1])
        how = torch.tensor([run.temperature]), torch.tensor([run.top_p]), torch.tensor([run.top_k])
        token, logprob = choose(logits, uniform, *how)
        ids.append(int(token))
        versions.append(self.version)
        text = self.model.tokenizer.decode(ids, skip_special_tokens=True)
        stopped = ids[-1] in run.ends or any(stop in text for stop in run.stop)
        finish = "stop" if stopped else "length" if len(ids) == run.most else None
        spans = tuple((version, place, place + 1) for place, version in enumerate(versions)) if finish else ()
        return News(key, (ids[-1],), (float(logprob),), finish, spans)  # type: ignore[arg-type]

    def _scored(self, key: str) -> News:
        run = self.runs[key][0]
        assert run.score_from is not None
        logits = self._logits(run.prompt)[run.score_from - 1 : -1]
        targets = torch.tensor(run.prompt[run.score_from :])
        scores = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].tolist()
        tops = (logits.argmax(-1) == targets).tolist()
        return News(key, finish="stop", scores=tuple(zip(scores, tops, strict=True)))
