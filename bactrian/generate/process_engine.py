"""The engine interface over processes that draw tokens elsewhere: kept at the trainer's weights, replaced if they die.

What a completion is made of (bans, a least length, going on after the end) is decided here, run by run. A run that an
engine took with it is asked for again, with the same seed; what was finished is not asked for twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from bactrian.chat import ChatTemplate
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Engine, OnFinish, Request
from bactrian.generate.engine_process import EngineDied, EngineProcess, News, TokenRun
from bactrian.generate.local import in_order
from bactrian.generate.row import Row
from bactrian.generate.weight_transfer import Sent, WeightSender
from bactrian.model.language_model import LanguageModel
from bactrian.model.ranking import Ask, Likelihood
from bactrian.model.served_weights import Fingerprint, fingerprint, served_weights
from bactrian.progress import say

DEATHS = 3  # in a row, with no completion between them, after which an engine is not opened again
SCORED = 256  # runs of likelihoods under way at once


@dataclass(eq=False)
class _Asked:
    """A row, the run that is under way for it, and where in the row's ids that begins."""

    row: Row
    key: str = ""
    start: int = 0
    told: int = 0  # tokens that `on_tokens` has heard of
    banned: tuple[int, ...] = ()  # what the run's first token may not be
    spans: list[tuple[int, int, int]] = field(default_factory=list)


class ProcessEngine(Engine):
    """Samples in other processes; the policy, if one is trained here, is sent to them when its weights have moved."""

    schedules = True

    def __init__(
        self,
        open_process: Callable[[], EngineProcess],
        template: ChatTemplate,
        *,
        name: str,
        policy: LanguageModel | None = None,
        check: bool = False,
    ) -> None:
        """
        Args:
            open_process: opens the processes; again, when they have died.
            name: of the engine, for messages.
            policy: whose weights are sampled; None: those that the processes were opened with.
            check: compare the SHA-256 of each weight after every transfer.
        """
        self.version = 0
        self.name, self.policy, self.check = name, policy, check
        self.replaced = 0  # how often the processes died and were opened anew
        self.sent: list[Sent] = []  # transfers so far
        self._open, self._template = open_process, template
        self._runs = 0
        self._sender: WeightSender | None = None
        self._known: tuple[Fingerprint, int] | None = None  # weights and version that the processes have
        self.process = open_process()
        self._longest = self.process.longest

    @property
    def template(self) -> ChatTemplate:
        return self._template

    @property
    def longest(self) -> int:
        return self._longest

    def text(self, ids: Sequence[int]) -> str:
        if ids and ids[-1] in self.template.end_ids:
            ids = ids[:-1]
        said: str = self.template.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return said

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """The completions of each request, in order.

        Raises:
            BactrianError: a prompt and its completion do not fit; weights did not arrive as they were sent; the engine
                died again and again.
        """
        for number, asked in enumerate(requests):
            self.check_fits([asked.prompt], asked.max_new_tokens, [f"request {number}"])
        rows = [_Asked(Row(i, sample, requests[i])) for i in in_order(requests) for sample in range(requests[i].n)]
        answers: list[list[Completion | None]] = [[None] * asked.n for asked in requests]
        under_way: dict[str, _Asked] = {}
        waiting, deaths, fresh = deque(rows), 0, True
        try:
            while waiting or under_way:
                try:
                    if fresh:
                        self.follow_policy()
                    fresh = False
                    while waiting:
                        self._begin(waiting[0], under_way)
                        waiting.popleft()
                    for news in self.process.step():
                        if (mine := under_way.get(news.key)) is None:
                            continue  # of a run that an interrupted call left behind
                        self._hear(mine, news, on_tokens)
                        if news.finish is None:
                            continue
                        del under_way[news.key]
                        if (done := self._finished(mine, news, on_finish)) is None:
                            waiting.append(mine)
                        else:
                            answers[mine.row.request][mine.row.sample] = done
                            deaths = 0
                except EngineDied as error:
                    deaths += 1
                    self._replace(error, deaths)
                    fresh = True
                    for each in under_way.values():
                        _take_back(each)
                    waiting.extendleft(reversed(under_way.values()))
                    under_way.clear()
        finally:
            if under_way:  # the caller stopped us: what is under way is nobody's
                with suppress(EngineDied):
                    self.process.drop(list(under_way))
        return [[completion for completion in group if completion is not None] for group in answers]

    def stream(self, request: Request) -> Iterator[str]:
        """The text of one completion, in one piece."""
        yield self.generate([replace(request, n=1)])[0][0].text

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """Each continuation is scored behind its context; what contexts share is the engine's business."""
        runs = [
            (number, place, TokenRun(ask.context + option, score_from=len(ask.context)))
            for number, ask in enumerate(asks)
            for place, option in enumerate(ask.options)
        ]
        for _, _, run in runs:
            self.check_fits([run.prompt], run.most, ["a context and its continuation"])
        found: dict[int, dict[int, Likelihood]] = {}
        deaths = 0
        for start in range(0, len(runs), SCORED):
            todo = runs[start : start + SCORED]
            while todo:
                try:
                    self.follow_policy()
                    for number, place, scores in self._scores(todo):
                        total = sum(score for score, _ in scores)
                        likelihood = Likelihood(total, len(scores), all(top for _, top in scores))
                        found.setdefault(number, {})[place] = likelihood
                        deaths = 0
                except EngineDied as error:
                    deaths += 1
                    self._replace(error, deaths)
                todo = [(n, p, run) for n, p, run in todo if p not in found.get(n, {})]
            whole = [number for number, mine in found.items() if len(mine) == len(asks[number].options)]
            if whole:
                yield [
                    (number, [likelihood for _, likelihood in sorted(found.pop(number).items())]) for number in whole
                ]

    def follow_policy(self) -> None:
        """Send the policy's weights, where they are others than the processes have. Between steps, and by `generate`.

        A caller that trains while samples are under way may call it from `on_tokens`: completions then say in
        `versions` which weights made which tokens.

        Raises:
            EngineDied: the processes are gone.
            BactrianError: what arrived is not what was sent.
        """
        if self.policy is None:
            if self._known is None or self._known[1] != self.version:
                self.process.label(self.version)
                self._known = ((), self.version)
            return
        if self._known is not None and not self.process.holds(self._known[1]):
            self._known = None
        now = fingerprint(self.policy)
        if self._known is not None and self._known[0] == now:
            if self._known[1] != self.version:
                self.process.label(self.version)
        else:
            self._known = None
            try:
                self.process.pause()
                if self._sender is None:
                    self._sender = WeightSender(self.process, check=self.check)
                self.sent.append(self._sender.send(served_weights(self.policy), self.version))
                self.process.resume()
            except BaseException:  # the processes may have half of the weights: nobody is to sample from them
                self.process.close()
                raise
        self._known = (now, self.version)

    def close(self) -> None:
        """End the processes. They end with this one too."""
        self.process.close()

    def _replace(self, error: EngineDied, deaths: int) -> None:
        self.process.close()
        if deaths > DEATHS:
            raise BactrianError(f"the engine {self.name} died {deaths} times in a row: {error}") from error
        say(f"the engine {self.name} died ({error}); it is opened again, and what it was drawing is drawn again")
        self._sender, self._known = None, None
        self.replaced += 1
        try:
            self.process = self._open()
        except EngineDied as again:
            raise BactrianError(f"the engine {self.name} died and cannot be opened again: {again}") from again

    def _begin(self, mine: _Asked, under_way: dict[str, _Asked]) -> None:
        key = f"{self._runs}"
        self.process.add(key, self._run(mine))
        self._runs += 1
        mine.key = key
        under_way[key] = mine

    def _run(self, mine: _Asked) -> TokenRun:
        """The next run of a row: to where something changes, a ban or the least length, or to its end."""
        row, asked = mine.row, mine.row.asked
        if row.ids and asked.presence_penalty:
            raise BactrianError(
                f"request {row.request}: presence_penalty with min_new_tokens, a ban or a completion that goes on: the "
                f"engine {self.name} would forget what was said before; use the engine local"
            )
        ends, room = tuple(self.template.end_ids), row.limit - len(row.ids)
        banned, most = row.banned, 1 if row.banned else room
        if len(row.ids) < asked.min_new_tokens:
            banned, most = (*banned, *ends), min(most, asked.min_new_tokens - len(row.ids))
        mine.start, mine.banned = len(row.ids), row.banned
        return TokenRun(
            (*asked.prompt, *row.ids),
            min(most, room),
            _stream(asked.seed, row.sample, mine.start),
            asked.temperature,
            asked.top_p,
            asked.top_k,
            asked.stop,
            (*ends, *asked.stop_ids),
            banned,
            asked.presence_penalty,
        )

    def _hear(self, mine: _Asked, news: News, on_tokens: Callable[[int], None] | None) -> None:
        row = mine.row
        for token, logprob in zip(news.ids, news.logprobs, strict=True):
            row.take(token, logprob)
        fresh = len(row.ids) - max(mine.told, len(row.ids) - len(news.ids))
        if fresh > 0:  # of a run that is drawn again they were heard before
            mine.told = len(row.ids)
            if on_tokens:
                on_tokens(fresh)

    def _finished(self, mine: _Asked, news: News, on_finish: OnFinish | None) -> Completion | None:
        """The completion, if the row has come to its end; None where it goes on."""
        row, start = mine.row, mine.start
        known = news.versions or ((self.version, 0, len(row.ids) - start),)
        mine.spans += [(version, start + a, start + b) for version, a, b in known if b > a]
        if news.finish == "length" and len(row.ids) < row.limit:
            return None
        row.finish = news.finish
        completion = self._completion(mine)
        more = on_finish(row.request, row.sample, completion) if on_finish else None
        if more is None:
            return completion
        ids = (*row.asked.prompt, *row.ids[: len(row.ids) - more.drop], *more.ids)
        self.check_fits([ids], more.max_new_tokens, [f"request {row.request}, sample {row.sample} going on"])
        kept = len(row.ids) - more.drop
        row.go_on(more)
        mine.spans = [(version, a, min(b, kept)) for version, a, b in mine.spans if a < kept]
        mine.told = min(mine.told, len(row.ids))
        return None

    def _completion(self, mine: _Asked) -> Completion:
        row, spans = mine.row, _joined(mine.spans)
        assert row.finish is not None
        cut = row.asked.top_p < 1 or row.asked.top_k > 0
        return Completion(
            tuple(row.ids),
            self.text(row.ids),
            () if cut else tuple(row.logprobs),
            row.finish,
            spans[0][0] if spans else self.version,
            tuple(row.forced),
            spans if len(spans) > 1 else (),
        )

    def _scores(
        self, runs: Sequence[tuple[int, int, TokenRun]]
    ) -> Iterator[tuple[int, int, tuple[tuple[float, bool], ...]]]:
        keys: dict[str, tuple[int, int]] = {}
        for number, place, run in runs:
            key = f"{self._runs}"
            self.process.add(key, run)
            self._runs += 1
            keys[key] = number, place
        try:
            while keys:
                for news in self.process.step():
                    if news.finish is not None and news.key in keys:
                        yield *keys.pop(news.key), news.scores
        finally:
            if keys:  # the caller has enough: what is under way is nobody's
                with suppress(EngineDied):
                    self.process.drop(list(keys))


def _stream(seed: int, sample: int, start: int) -> int:
    """The seed of a run: each run of each sample draws from a stream of its own."""
    return int(np.random.SeedSequence([seed, sample, start]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _take_back(mine: _Asked) -> None:
    """Forget what a run that was lost had drawn."""
    row = mine.row
    del row.ids[mine.start :], row.logprobs[mine.start :]
    row.banned = mine.banned


def _joined(spans: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Spans with neighbours of one version made one; tokens that were appended belong to none."""
    joined: list[tuple[int, int, int]] = []
    for version, start, stop in spans:
        if joined and joined[-1][0] == version:
            joined[-1] = (version, joined[-1][1], stop)
        else:
            joined.append((version, start, stop))
    return tuple(joined)
