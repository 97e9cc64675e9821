"""Stage `synthesise`: template, seeds and generators make rows; what does not pass is dropped, with a reason."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Need, Stage, VerifierName, answer_tokens
from bactrian.stages.synth.gates import Gates, check_against, decontamination_gate, own_flaw, verdict_flaws
from bactrian.stages.synth.generators import (
    Askers,
    DataGenerator,
    SynthesisBudget,
    check_generators,
    check_refused,
    drawn,
    expected_money,
    sampling_loads,
)
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.made_rows import Origin
    from bactrian.data.synth.prompt_templates import PromptTemplate
    from bactrian.data.synth.replies import Reading
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
Made = tuple[str, Row, str, tuple[str, ...]]
"""Key of the answer, the row, what the generator wrote in it, and what was mended."""
CHARACTERS_A_TOKEN = 12
"""Of an answer more than this many characters for each token that it may have are no answer of a sane server."""
SEEDS_APART = 1_000_003
PROMPT_TOKENS = 150.0
"""Of a filled template, about, beside its seed."""


class Synthesise(Stage):
    """Rows that models write: a template filled with each seed, asked of a pool of generators, read and gated.

    Every answer is on disk as soon as it is there, under what was asked: a killed run asks for the rest, and changed
    gates, budgets or limits ask for nothing twice. Every row says which model, template, prompt, seed and persona made
    it, and on what terms; every answer of which none was made is in dropped.jsonl, with the reason.
    """

    name: ClassVar[str] = "synthesise"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    seeds: DataRef = Field(description="rows that fill the template: personas, problems, documents, anything")
    template: str = Field("", description="a shipped template's name, or a file ending in .jinja")
    prompt: str = Field("", description="the template itself, in place of a name")
    system: str = Field("", description="system turn")
    fields: dict[str, str] = Field({}, description="variable of the template: column of the seed, where not the same")
    keep: list[str] = Field([], description="columns of the seed that its rows have too, such as a kind")
    generators: list[DataGenerator] = Field(min_length=1, description="who writes; requests are drawn by weight")
    per_seed: int = Field(1, ge=1, description="answers to each seed")
    limit: int | None = Field(None, ge=1, description="seeds, from the first")
    into: Literal["prompt", "conversation", "problem", "solution", "text"] = Field(
        "prompt", description="what an answer becomes; solution: the seed's problem with the answer as its solution"
    )
    label: str = Field("", description="words that every answer must begin with, and that are cut off")
    answer_schema: dict[str, Any] | None = Field(None, description="JSON schema of an answer; by default it is text")
    verifier: VerifierName = Field(
        None, description="verifier of the problems made; of solutions, in place of their own"
    )
    verified: bool = Field(False, description="keep only what has a solution that its verifier calls right")
    temperature: float = Field(0.7, ge=0, description="of sampling; 0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(1024, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")
    gates: Gates = Field(Gates(), description="what rows must pass")
    against: list[HeldOutRef] = Field([], description="test items that no row may hold: files, Hub ids or steps")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.template or self.prompt):
            raise ValueError("expected template or prompt")
        if self.into in ("conversation", "problem") and self.answer_schema is None:
            raise ValueError(f"into: {self.into} needs an answer_schema with its fields")
        if self.into == "problem" and self.verifier is None:
            raise ValueError("into: problem needs the verifier of its answers")
        if self.verified and self.into not in ("problem", "solution"):
            raise ValueError("verified: expected into: problem or solution; other rows have nothing to verify")
        check_generators(self.generators, self.budget)
        check_against(self.gates, self.against)
        return self

    def needs(self) -> "Iterable[Need]":
        """Answers by schema are checked by jsonschema."""
        return [Need("answer_schema", "synthesis")] if self.answer_schema is not None else []

    def resolved(self) -> Self:
        """With the template's text, which is what shapes the rows."""
        from bactrian.data.synth.prompt_templates import prompt_text

        return self if self.prompt else self.model_copy(update={"prompt": prompt_text(self.template)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.texts import prompt_text
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.diversity import diversity
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        template, seeds = self._template(), self._seeds(workspace)
        fates = Fates()
        with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
            requests = dict(self._requests(template, seeds, workspace.seed))
            replies = askers.ask(requests, "synthesise")
            check_refused(replies.values(), self.failures, "synthesise")
            fates.reach("requests", len(requests))
            fates.reach("answers", len(replies))
            made = list(self._read(askers, template, seeds, requests, replies, fates))
            cost = askers.metrics()
            askers.note_licences()
        kept = self._passed(workspace, made, seeds, fates)
        if not kept:
            raise BactrianError(f"synthesise: no row is left\n{fates.tally}")
        card = (
            f"# Made rows\n\nTemplate {template.name} ({template.hash}). {cost_lines(cost)}\n\n```\n{fates.tally}\n```"
        )
        with RowWriter(workspace.output, card) as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        told = diversity([prompt_text(row) for row in kept], workspace.seed)
        fates.write(workspace.output, cost=cost, diversity=told, prompts={template.name: template.hash})
        workspace.metrics.update(fates.tally.counts(), **cost, unasked=float(len(requests) - len(replies)))
        short = f"; the budget left {len(requests) - len(replies):,} unasked" if len(replies) < len(requests) else ""
        say(f"synthesise: {cost_lines(cost)}{short} {fates.tally}")

    def _template(self) -> "PromptTemplate":
        from bactrian.data.synth.prompt_templates import PromptTemplate, prompt_text
        from bactrian.data.synth.replies import check_schema

        if self.answer_schema is not None:
            try:
                check_schema(self.answer_schema)
            except ValueError as error:
                raise BactrianError(f"synthesise: answer_schema: {error}") from None
        return PromptTemplate(self.template or "prompt", self.prompt or prompt_text(self.template))

    def _seeds(self, workspace: "Workspace") -> list[Row]:
        from itertools import islice

        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row

        path = workspace.input(self.seeds).path
        seeds = [complete_row(row, path.name) for row, _ in islice(stream_rows(path), self.limit)]
        if self.into == "solution" and (bad := next((row for row in seeds if not row.get("messages")), None)):
            raise BactrianError(f"{path}: row {bad['id']}: no messages; into: solution needs problems as seeds")
        return seeds

    def _requests(
        self, template: "PromptTemplate", seeds: Sequence[Row], seed: int
    ) -> "Iterator[tuple[str, tuple[str, ChatRequest]]]":
        """Key "seed/draw" → label of a generator and what it is asked."""
        from bactrian.data.synth.made_rows import seed_fields
        from bactrian.generate.chat_request import ChatRequest

        before = ({"role": "system", "content": self.system},) if self.system else ()
        for number, row in enumerate(seeds):
            where = f"synthesise: seed {row['id']}"
            text = template.render(seed_fields(row, self.fields), where)
            for draw in range(self.per_seed):
                key = f"{number}/{draw}"
                request = ChatRequest(
                    (*before, {"role": "user", "content": text}),
                    f"{where}, answer {draw}",
                    (seed * SEEDS_APART + number) * SEEDS_APART % 2**31 + draw,
                    self.max_new_tokens,
                    self.temperature,
                    self.top_p,
                )
                yield key, (drawn(self.generators, seed, key).label, request)

    def _read(
        self,
        askers: Askers,
        template: "PromptTemplate",
        seeds: Sequence[Row],
        requests: "Mapping[str, tuple[str, ChatRequest]]",
        replies: "Mapping[str, ChatReply]",
        fates: "Fates",
    ) -> Iterator[Made]:
        """The rows that answers make, in the order of the requests; what makes none is dropped."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.made_rows import made_row

        for key, reply in replies.items():
            label, request = requests[key]
            reading = self._reading(reply, request)
            if isinstance(reading, Flaw):
                fates.drop(key, reading, reply.text)
                continue
            fates.reach("read", 1)
            seed = seeds[int(key.partition("/")[0])]
            origin = self._origin(template, label, askers.licence(label), request, seed, key)
            row = made_row(self.into, seed, reading.fields, origin, self.verifier or "")
            written = reply.text if self.answer_schema is None else " ".join(_texts(reading.fields))
            flaw = row if isinstance(row, Flaw) else own_flaw(row, self.gates, written)
            if isinstance(row, Flaw) or flaw is not None:
                fates.drop(key, flaw or Flaw(""), reply.text)
                continue
            row |= {name: seed[name] for name in self.keep if name in seed and name not in row}
            fates.reach("well formed", 1)
            yield key, row, reply.text, reading.mended

    def _reading(self, reply: "ChatReply", request: "ChatRequest") -> "Reading | Flaw":
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import read_json, read_text, text_flaw

        if reply.fault:
            return Flaw("refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("cut at the limit", f"{self.max_new_tokens:,} tokens")
        asked = str(request.messages[-1]["content"])
        if flaw := text_flaw(reply.text, asked, self.max_new_tokens * CHARACTERS_A_TOKEN):
            return flaw
        if self.answer_schema is None:
            return read_text(reply.text, self.label)
        return read_json(reply.text, self.answer_schema)

    def _origin(
        self, template: "PromptTemplate", label: str, licence: str, request: "ChatRequest", seed: Row, key: str
    ) -> "Origin":
        from hashlib import sha256

        from bactrian.data.synth.made_rows import Origin, joined_licence, seed_fields

        asked = "\n".join(str(turn["content"]) for turn in request.messages)
        persona = seed_fields(seed, self.fields).get("persona", "") if "persona" in template.variables else ""
        return Origin(
            model=label,
            template=template.name,
            template_hash=template.hash,
            prompt=sha256(asked.encode()).hexdigest()[:16],
            seed=str(seed["id"]),
            draw=int(key.partition("/")[2]),
            persona=str(persona),
            licence=joined_licence(str(seed["license"]), licence),
        )

    def _passed(self, workspace: "Workspace", made: Sequence[Made], seeds: Sequence[Row], fates: "Fates") -> list[Row]:
        """The rows that pass what looks at several: the verifier, test items, and what was kept before."""
        from bactrian.data.synth.row_gates import NoveltyGate

        flaws: list[Flaw | None] = [None] * len(made)
        if self.verified:
            flaws = verdict_flaws([(self._judged(row), str(row.get("solution") or "")) for _, row, _, _ in made])
        if gate := decontamination_gate(workspace, self.gates, self.against, "synthesise"):
            found = gate.flaws([row for _, row, _, _ in made])
            flaws = [flaw or other for flaw, other in zip(flaws, found, strict=True)]
        unlike = self.gates.novelty if self.into != "solution" else None  # solutions to one problem share its prompt
        novel = NoveltyGate(unlike) if unlike is not None else None
        kept = []
        for (key, row, text, mended), flaw in zip(made, flaws, strict=True):
            if flaw := flaw or (novel.flaw(row) if novel else None):
                fates.drop(key, flaw, text)
            else:
                fates.keep(mended, key)
                kept.append(row)
        fates.reach("kept", len(kept))
        return kept

    def _judged(self, row: Row) -> Row:
        """The row as its solution is judged: by the verifier of the settings, where another than the row's own."""
        if self.verifier is None or row.get("dataset") == self.verifier:
            return row
        return {**{name: value for name, value in row.items() if name != "settings"}, "dataset": self.verifier}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Tokens of all requests; operations of the models of this run alone."""
        data = inputs.get(self.seeds, Facts())
        requests = min(data.rows, self.limit or data.rows) * self.per_seed
        asked = PROMPT_TOKENS + (data.tokens_per_row or 50)
        loads = sampling_loads(self.generators, inputs, requests, asked, self.max_new_tokens)
        made = Facts(rows=requests, tokens_per_row=answer_tokens(self.max_new_tokens))
        memory = 4.0 * max((load.parameters for load in loads), default=0.0) + 1e9
        tokens = requests * (asked + answer_tokens(self.max_new_tokens))
        money = expected_money(self.generators, requests, asked, self.max_new_tokens)
        return Forecast(tokens, sum(load.flops for load in loads), memory, made, sampling=loads, money=money)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value of JSON, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
