"""An engine of many: requests go to models on a Ray cluster, block by block, and come back as blocks are done.

The models are in worker processes (`data.io.fleet`), as many as there is room for; one that dies is replaced, and its
block answered by another. A sample depends on its request alone (`Request.seed`), so it does not
matter who takes a block, nor which requests are in it: the answers are one process's. Who asks hears of a block when it
is done, and keeps what it hears (`kept`, `AnswerStore`): after a kill no such block is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bactrian.chat import ChatTemplate, template_for
from bactrian.data.io.fleet import Room, fleet
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Engine, OnFinish, Request
from bactrian.generate.local import in_order
from bactrian.model.folders import check_folder
from bactrian.model.language_model import context_of, load_tokenizer
from bactrian.model.ranking import Ask, Likelihood
from bactrian.store.hardware import Hardware

BATCHES = 4
"""Blocks hold as many completions as so many running batches at most: the end of a block, where rows are few, is one of
several parts of it."""
SHARES = 4
"""And so few that each model gets so many blocks: none works long after the others."""
ASKS = 512
"""Continuations whose likelihood is asked for in one block, at most."""
FIELD = 'hardware, field "samplers"'


class ElasticEngine(Engine):
    """The model of a folder on a cluster, `hardware.samplers` times. Every machine must see the folder by its path."""

    schedules = True

    def __init__(
        self, folder: Path, hardware: Hardware, template: str | None, rows: int, opener: Callable[..., Engine]
    ) -> None:
        """
        Args:
            opener: opens each of the models, as `engines.open_engine` does.

        Raises:
            BactrianError: the folder is no model.
        """
        check_folder(folder)
        self.folder, self.hardware, self.rows, self.version = folder.resolve(), hardware, rows, 0
        self._template, self._opener = template, opener

    @cached_property
    def template(self) -> ChatTemplate:
        tokenizer = load_tokenizer(self.folder)
        return ChatTemplate.load(tokenizer, self._template or template_for(tokenizer))

    @cached_property
    def longest(self) -> int:
        return context_of(self.folder) or 2**30

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """As `Engine.generate`; `on_finish` hears of a block's completions together, and lets each go.

        Raises:
            BactrianError: a request does not fit the model's context; the model cannot be loaded there; the cluster
                has no room for it.
        """
        for number, asked in enumerate(requests):
            self.check_fits([asked.prompt], asked.max_new_tokens, [f"request {number}"])
        answers: dict[int, list[Completion]] = {}
        order, whole = in_order(requests), sum(request.n for request in requests)
        most = self._most(BATCHES * self.rows, whole)
        for block, found in self._mapped(blocks(order, [each.n for each in requests], most), requests):
            for number, completions in zip(block, found, strict=True):
                answers[number] = completions
                for sample, completion in enumerate(completions):
                    if on_finish is not None and on_finish(number, sample, completion) is not None:
                        raise BactrianError("a model on the cluster cannot go on from an answer that it has given")
            if on_tokens is not None:
                on_tokens(sum(len(each.ids) for completions in found for each in completions))
        return [answers[number] for number in range(len(requests))]

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """Blocks of (number of the ask, a `Likelihood` for each of its continuations), as they are done."""
        sizes = [len(ask.options) for ask in asks]
        order = sorted(range(len(asks)), key=lambda number: (asks[number].context[: asks[number].shared], number))
        for block, found in self._mapped(blocks(order, sizes, self._most(ASKS, sum(sizes))), asks):
            yield list(zip(block, found, strict=True))

    def stream(self, request: Request) -> Iterator[str]:
        """The whole text at once: a block is heard of when it is done."""
        yield self.generate([replace(request, n=1)])[0][0].text

    def text(self, ids: Sequence[int]) -> str:
        """What a completion's tokens say; control tokens say nothing."""
        said = ids[:-1] if ids and ids[-1] in self.template.end_ids else ids
        text: str = self.template.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _most(self, most: int, whole: int) -> int:
        """Of a block."""
        return max(1, min(most, -(-whole // (SHARES * self.hardware.samplers))))

    def _mapped(self, parts: Sequence[list[int]], asked: Sequence[Any]) -> Iterator[tuple[list[int], list[Any]]]:
        """What the cluster says to each part of what is asked, part by part as they are done.

        Raises:
            BactrianError: the cluster has no room; a model failed.
        """
        if not parts:
            return
        workers = fleet(FIELD, lambda has: room_for_each(self.hardware, has), self.hardware.samplers)
        there = replace(self.hardware, samplers=0, data="local", threads=workers.room.cpus)
        answers = EngineAnswers(str(self.folder), there, self._template, self.rows, self._opener)
        for number, found in workers.map(answers, [[asked[each] for each in part] for part in parts]):
            yield parts[number], found


@dataclass(frozen=True)
class EngineAnswers:
    """In a worker's process: a model, which answers block after block."""

    folder: str
    hardware: Hardware
    template: str | None
    rows: int
    opener: Callable[..., Engine]

    @cached_property
    def engine(self) -> Engine:
        import torch

        torch.set_num_threads(self.hardware.threads)
        return self.opener(Path(self.folder), self.hardware, template=self.template, rows=self.rows)

    def __call__(self, asked: list[Any]) -> list[Any]:
        if isinstance(asked[0], Request):
            return list(self.engine.generate(asked))
        found = {number: each for batch in self.engine.likelihoods(asked) for number, each in batch}
        return [found[number] for number in range(len(asked))]


def blocks(order: Sequence[int], sizes: Sequence[int], most: int) -> list[list[int]]:
    """Numbers in this order, cut into blocks of at most `most` by their sizes, or of one that is larger."""
    found: list[list[int]] = []
    room = 0
    for number in order:
        if not found or sizes[number] > room:
            found.append([])
            room = most
        found[-1].append(number)
        room -= sizes[number]
    return found


def room_for_each(hardware: Hardware, has: dict[str, float]) -> Room:
    """A GPU each, or threads: as many as the recipe says, or as a cluster of so few has for each.

    Args:
        has: the cluster's resources, as Ray tells them.

    Raises:
        BactrianError: there is no room for a single one.
    """
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if hardware.device == "cuda":
        if gpus < 1:
            raise BactrianError(
                f'{FIELD}: each takes a GPU (field "device"), and the Ray cluster has none; expected "device": "cpu", '
                "or a cluster with GPUs (RAY_ADDRESS)"
            )
        return Room(1, 1)
    if cpus < 1:
        raise BactrianError(f"{FIELD}: the Ray cluster (RAY_ADDRESS) has no CPUs")
    return Room(max(1, min(hardware.threads, cpus // hardware.samplers)), 0)
