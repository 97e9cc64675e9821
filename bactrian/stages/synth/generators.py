"""Settings that name who writes, on what terms and at what price; and asking them so that nothing is asked twice."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import ModelServer, responder
from bactrian.stages.stage import Facts, ModelRef, SamplingLoad, Settings, answer_tokens, rows_sampled
from bactrian.store.manifest import Licence

if TYPE_CHECKING:
    from bactrian.evaluate.answer_store import AnswerStore
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.generate.choices import ChoiceReply
    from bactrian.generate.generator_pool import PoolMember
    from bactrian.store.artifact import Workspace

LISTED_FAULTS = 3


class DataGenerator(Settings):
    """A model that writes data: one of this run, or one behind a server."""

    model: ModelRef | None = Field(None, description="a model of this run")
    server: ModelServer | None = Field(None, description="one behind a server, in its place")
    weight: float = Field(1.0, gt=0, description="share of the requests that it gets, beside the other generators'")
    price_in: float = Field(0.0, ge=0, description="money for a million tokens that it reads")
    price_out: float = Field(0.0, ge=0, description="money for a million tokens that it writes")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.model is None) == (self.server is None):
            raise ValueError("expected either model or server")
        return self

    @property
    def label(self) -> str:
        return self.server.label if self.server else str(self.model)


class SynthesisBudget(Settings):
    """Where asking stops. What is on its way by then still counts and is kept."""

    tokens: int | None = Field(None, ge=1, description="read and written, of all generators together")
    money: float | None = Field(None, gt=0, description="at the generators' prices")


def check_generators(generators: Sequence[DataGenerator], budget: SynthesisBudget) -> None:
    """For validators of settings.

    Raises:
        ValueError: two generators of one label, or a budget of money without prices.
    """
    labels = [each.label for each in generators]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"found two generators called {twice[0]!r}; tell a server apart by its `name`")
    if budget.money is not None and not any(each.price_in or each.price_out for each in generators):
        raise ValueError("found a budget of money, expected price_in or price_out of a generator")


def drawn(generators: Sequence[DataGenerator], seed: int, key: str) -> DataGenerator:
    """Who is asked: a function of the seed and the request's key alone."""
    from random import Random

    weights = [each.weight for each in generators]
    return Random(f"generator/{seed}/{key}").choices(generators, weights)[0]


class Askers:
    """The generators of a step, and what they have answered, kept in the store by what was asked.

    So a step that was killed asks only for what is missing; and one whose gates, budget or rows have changed asks for
    nothing that it, or another step, has been told before.
    """

    def __init__(
        self, workspace: "Workspace", generators: Sequence[DataGenerator], budget: SynthesisBudget, rows: int
    ) -> None:
        from contextlib import ExitStack

        from bactrian.generate.generator_pool import Spending

        self.workspace, self.generators, self.rows = workspace, {each.label: each for each in generators}, rows
        self.spending: Spending = Spending(budget.tokens, budget.money)
        self.members = {label: self._member(each) for label, each in self.generators.items()}
        self.asked = 0
        self.sent = 0
        self._stores: dict[str, AnswerStore] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        for label in self.generators:
            self._stores[label] = self._open.enter_context(self._store(label))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, requests: Mapping[str, tuple[str, "ChatRequest"]], title: str) -> "dict[str, ChatReply]":
        """The answers to requests (label of a generator, request) by their keys; those that a spent budget left are
        missing.

        Raises:
            BactrianError: a generator cannot be opened, or stopped answering; what was answered is kept.
        """
        from bactrian.generate.chat_request import ChatReply
        from bactrian.generate.generator_pool import Asked, ask_pool, counted
        from bactrian.progress import progress

        replies: dict[str, ChatReply] = {}
        missing: dict[str, list[Asked]] = {label: [] for label in self.generators}
        self.asked += len(requests)
        for key, (label, request) in requests.items():
            found = self._stores[label].get(_content(request))
            if found is None:
                missing[label].append((key, request))
            else:
                replies[key] = ChatReply(*found)
                self.spending.add(self.members[label], *counted(request, replies[key]))
        with progress(title, total=len(requests), unit="answer", done=len(replies)) as bar:

            def keep(key: str, request: "ChatRequest", reply: "ChatReply") -> None:
                said = [reply.text, reply.finish, reply.tokens, reply.fault, reply.prompt_tokens]
                self._stores[requests[key][0]].put(_content(request), said)
                replies[key] = reply
                self.sent += 1
                bar.advance()

            ask_pool(missing, self.members, keep, self.spending)
        return {key: replies[key] for key in requests if key in replies}

    def licence(self, label: str) -> str:
        """The terms of what a generator writes: the server's, or those of the model's own inputs together."""
        each = self.generators[label]
        if each.server is not None:
            return each.server.licence or "unknown"
        names = dict.fromkeys(found.licence for found in self.workspace.input(str(each.model)).licences)
        return " + ".join(names) or "unknown"

    def note_licences(self) -> None:
        """For the manifest: the terms of the servers."""
        for label, each in self.generators.items():
            if each.server is not None:
                self.workspace.add_licence(Licence.of(f"answers of {label}", each.server.licence))

    def metrics(self) -> dict[str, float]:
        """Of the manifest. `answers` and tokens are all that the step used, whenever they were paid for."""
        spent = self.spending
        return {
            "requests": float(self.asked),
            "answers": float(spent.answers),
            "tokens_read": float(spent.read),
            "tokens_written": float(spent.written),
            "tokens": float(spent.tokens),
            "money": spent.money,
        }

    def _member(self, each: DataGenerator) -> "PoolMember":
        from functools import cache

        from bactrian.generate.generator_pool import PoolMember

        return PoolMember(
            each.label,
            cache(lambda: responder(self.workspace, each.model, each.server, self.rows)),  # opened once, if at all
            each.server is not None,
            each.price_in,
            each.price_out,
        )

    def _store(self, label: str) -> "AnswerStore":
        from bactrian.evaluate.answer_store import AnswerStore

        each = self.generators[label]
        if each.server is not None:
            by: tuple[str, ...] = ("server", each.server.url, each.server.model, each.server.revision)
        else:
            found = self.workspace.input(str(each.model))
            by = ("model", found.content_hash, self.workspace.hardware.dtype, self.workspace.code)
        return AnswerStore(self.workspace.memos / "synthesis", *by)


def _content(request: "ChatRequest") -> str:
    """All that shapes an answer besides who gives it.

    What requests could not say at first counts only where it says something: so answers paid for before are still
    found.
    """
    from dataclasses import asdict, fields

    from bactrian.evaluate.answer_store import request_key

    later = {
        each.name: each.default for each in fields(request) if each.name in ("presence_penalty", "opening", "stop")
    }
    said = {name: value for name, value in asdict(request).items() if name != "name"}
    return request_key("chat", **{name: value for name, value in said.items() if later.get(name, ...) != value})


def check_refused(replies: "Collection[ChatReply | ChoiceReply]", allowed: float, where: str) -> None:
    """
    Raises:
        BactrianError: servers refused more answers than `allowed`, a share; the message shows some.
    """
    faults = [reply.fault for reply in replies if reply.fault]
    if len(faults) > allowed * len(replies):
        shown = "; ".join(list(dict.fromkeys(faults))[:LISTED_FAULTS])
        raise BactrianError(
            f"{where}: {len(faults):,} of {len(replies):,} answers were refused, more than failures ({allowed:g}) "
            f"allows: {shown}"
        )


def sampling_loads(
    generators: Sequence[DataGenerator], inputs: Mapping[str, Facts], requests: float, asked: float, most: int
) -> tuple[SamplingLoad, ...]:
    """What the models of this run will sample of so many requests of `asked` tokens each."""
    whole = sum(each.weight for each in generators)
    own = [each for each in generators if each.model is not None]
    return tuple(
        rows_sampled(inputs.get(str(each.model), Facts()), requests * each.weight / whole, asked, most) for each in own
    )


def expected_money(generators: Sequence[DataGenerator], requests: float, asked: float, most: int) -> float:
    """Money that so many requests of `asked` tokens will cost at the generators' prices."""
    whole = sum(each.weight for each in generators)
    read = sum(each.weight * each.price_in for each in generators) / whole
    written = sum(each.weight * each.price_out for each in generators) / whole
    return requests * (asked * read + answer_tokens(most) * written) / 1e6
