"""Stage `respond`: answers of several models to each prompt, each with its author."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import ModelServer, responder
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage, answer_tokens, rows_sampled
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.generate.chat_request import Responder
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SEEDS_APART = 1_000_003


class PricedServer(ModelServer):
    """A server, and what it costs."""

    price_in: float = Field(0.0, ge=0, description="money for a million tokens that it reads")
    price_out: float = Field(0.0, ge=0, description="money for a million tokens that it writes")

    def cost(self, read: float, written: float) -> float:
        """Money for so many tokens."""
        return (read * self.price_in + written * self.price_out) / 1e6


class Respond(Stage):
    """Completions from a pool of models, and on-policy ones [UltraFeedback, Cui et al. 2023; Tülu 3].

    For each prompt `per_prompt` models are drawn from `pool` and `servers`, none twice; those of `always` answer every
    prompt (for on-policy data, the model that is to be tuned). Each answer is on disk as soon as it is there: a run
    that was killed, or whose server went away, asks only for the rest.
    """

    name: ClassVar[str] = "respond"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    prompts: DataRef = Field(description="problems, conversations or pairs: their prompts are answered")
    pool: list[ModelRef] = Field([], description="models of which some answer each prompt")
    servers: list[PricedServer] = Field([], description="more of them, behind servers")
    always: list[ModelRef] = Field([], description="models that answer every prompt")
    per_prompt: int = Field(4, ge=0, description="models drawn for each prompt from pool and servers")
    samples: int = Field(1, ge=1, description="answers of each model to a prompt")
    limit: int | None = Field(None, ge=1, description="prompts, from the first")
    temperature: float = Field(1.0, ge=0, description="of sampling; 0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(512, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.pool or self.servers or self.always):
            raise ValueError("expected at least one model in pool, servers or always")
        labels = [*self.pool, *self.always, *(server.label for server in self.servers)]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"found two models called {twice[0]!r}; tell a server apart by its `name`")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.problem_rows import prompt_of
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.store.manifest import Licence

        path = workspace.input(self.prompts).path
        rows: list[Row] = []
        for row, where in stream_rows(path):
            if self.limit is not None and len(rows) == self.limit:
                break
            rows.append(complete_row({**row, "messages": prompt_of(row, where)}, path.name))
        drawn = [self._drawn(row, workspace.seed) for row in rows]
        with Journal(workspace.scratch / "answers.jsonl") as journal:
            for label in self._labels():
                mine = [number for number, labels in enumerate(drawn) if label in labels]
                self._answers(workspace, label, rows, mine, journal)
            replies = dict(journal.found)
        refused = sum(bool(reply["fault"]) for reply in replies.values())
        if refused > self.failures * len(replies):
            shown = next(reply["fault"] for reply in replies.values() if reply["fault"])
            raise BactrianError(
                f"respond: {refused:,} of {len(replies):,} answers were refused, more than failures "
                f"({self.failures:g}) allows; one of them: {shown}"
            )
        with RowWriter(workspace.output, f"# Answers\n\n{self._authors(replies)}") as writer:
            for number, (row, labels) in enumerate(zip(rows, drawn, strict=True)):
                answers = [
                    self._answer(label, sample, replies[key(number, label, sample)])
                    for label in labels
                    for sample in range(self.samples)
                ]
                writer.write({**row, "answers": [answer for answer in answers if answer is not None]})
        for licence in writer.licences:
            workspace.add_licence(licence)
        for server in self.servers:
            workspace.add_licence(Licence.of(f"answers of {server.label}", server.licence))
        cost = self._cost(rows, replies)
        workspace.metrics.update(
            prompts=float(len(rows)),
            answers=float(len(replies) - refused),
            refused=float(refused),
            tokens=float(sum(reply["tokens"] for reply in replies.values())),
            **cost,
        )
        money = f", {cost['money']:,.2f} of money" if cost["money"] else ""
        say(f"respond: {len(rows):,} prompts, {len(replies) - refused:,} answers, {refused:,} refused{money}")

    def _cost(self, rows: Sequence[Row], replies: Mapping[str, Row]) -> dict[str, float]:
        """Tokens that were read and written, and money for those of servers; what nobody counted is estimated."""
        from bactrian.generate.chat_request import ChatReply, ChatRequest
        from bactrian.generate.generator_pool import counted

        served, money, whole = {server.label: server for server in self.servers}, 0.0, [0, 0]
        for name, reply in replies.items():
            number, label, _ = _parted(name)
            asked = ChatRequest(tuple(rows[number]["messages"]), name)
            said = ChatReply(reply["text"], tokens=reply["tokens"], prompt_tokens=reply.get("prompt_tokens", 0))
            read, written = counted(asked, said)
            whole = [whole[0] + read, whole[1] + written]
            money += served[label].cost(read, written) if label in served else 0.0
        return {"tokens_read": float(whole[0]), "tokens_written": float(whole[1]), "money": money}

    def _labels(self) -> list[str]:
        return [*self.pool, *(server.label for server in self.servers), *self.always]

    def _drawn(self, row: Row, seed: int) -> list[str]:
        """The models that answer a prompt: a function of the seed and the row's id alone."""
        from random import Random

        candidates = [*self.pool, *(server.label for server in self.servers)]
        some = Random(f"respond/{seed}/{row['id']}").sample(candidates, min(self.per_prompt, len(candidates)))
        return [*some, *self.always]

    def _responder(self, workspace: "Workspace", label: str) -> "Responder":
        served = {server.label: server for server in self.servers}
        return responder(workspace, label, served.get(label), self.rows_at_once)

    def _answers(
        self, workspace: "Workspace", label: str, rows: Sequence[Row], mine: Sequence[int], journal: "Journal"
    ) -> None:
        """Have one model answer what the journal lacks of it."""
        from bactrian.generate.chat_request import ChatRequest
        from bactrian.generate.kept import ask_missing

        requests = {
            key(number, label, sample): ChatRequest(
                tuple(rows[number]["messages"]),
                f"respond: {label}: prompt {rows[number]['id']}",
                (workspace.seed * SEEDS_APART + number) * SEEDS_APART % 2**31 + sample,
                self.max_new_tokens,
                self.temperature,
                self.top_p,
                rows[number].get("tools"),
            )
            for number in mine
            for sample in range(self.samples)
        }
        ask_missing(requests, journal, lambda: self._responder(workspace, label), f"respond · {label}", "answer")

    @staticmethod
    def _answer(label: str, sample: int, reply: Row) -> Row | None:
        if reply["fault"]:
            return None
        return {
            "model": label,
            "sample": sample,
            "text": reply["text"],
            "finish": reply["finish"],
            "tokens": reply["tokens"],
        }

    def _authors(self, replies: Mapping[str, Row]) -> str:
        from collections import Counter

        given = (name for name, reply in replies.items() if not reply["fault"])
        counts = Counter(name.split("/", 1)[1].rsplit("/", 1)[0] for name in given)
        return "\n".join(f"- {label}: {count:,} answers" for label, count in sorted(counts.items()))

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Tokens and operations of the models of this run; of servers the money, at their prices."""
        data = inputs.get(self.prompts, Facts())
        prompts, per_answer = min(data.rows, self.limit or data.rows), answer_tokens(self.max_new_tokens)
        candidates = len(self.pool) + len(self.servers)
        share = min(1.0, self.per_prompt / candidates) if candidates else 0.0
        each = [(inputs[ref], share) for ref in self.pool]
        each += [(inputs[ref], 1.0) for ref in self.always]
        tokens = prompts * self.samples * ((data.tokens_per_row or 50) + per_answer)
        flops = sum(2.0 * model.multiplied * part * tokens for model, part in each)
        answers = (min(self.per_prompt, candidates) + len(self.always)) * self.samples
        made = Facts(rows=prompts, tokens_per_row=(data.tokens_per_row or 50) + answers * per_answer)
        memory = 4.0 * max((model.parameters for model, _ in each), default=0) + 1e9
        asked = (data.tokens_per_row or 50, self.max_new_tokens, self.samples)
        sampling = tuple(rows_sampled(model, prompts * part, *asked) for model, part in each)
        read, written = prompts * share * self.samples * asked[0], prompts * share * self.samples * per_answer
        money = sum(server.cost(read, written) for server in self.servers)
        return Forecast(tokens * sum(part for _, part in each), flops, memory, made, sampling=sampling, money=money)


def key(number: int, label: str, sample: int) -> str:
    """Under which the journal has an answer."""
    return f"{number}/{label}/{sample}"


def _parted(name: str) -> tuple[int, str, int]:
    """What a key of the journal was made of."""
    number, rest = name.split("/", 1)
    label, sample = rest.rsplit("/", 1)
    return int(number), label, int(sample)
