"""Stage `synthesise`: template, seeds and generators make rows; what does not pass is dropped, with a reason."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import (
    DataRef,
    Facts,
    Forecast,
    HeldOutRef,
    Need,
    PromptTemplateRef,
    Settings,
    Stage,
    VerifierName,
    answer_tokens,
)
from bactrian.stages.synth.gates import (
    Gates,
    MadeRow,
    check_against,
    decontamination_gate,
    own_flaw,
    passed,
    verdict_flaws,
    with_known,
)
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
from bactrian.stages.synth.judge_gate import JudgedText, check_judge_gate, judge_clashes, judge_costs
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.made_rows import Origin
    from bactrian.data.synth.prompt_templates import PromptTemplate
    from bactrian.data.synth.replies import Reading
    from bactrian.data.synth.rewrites import RewriteGuard
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
REPEATS = "combination:repeat_prompt"
"""IFEval's constraint that an answer says its prompt again."""
SEEDS_APART = 1_000_003
PROMPT_TOKENS = 150.0
"""Of a filled template, about, beside its seed."""


class RewriteSettings(Settings):
    """What an answer must keep to that rewrites its seed."""

    of: str = Field(description="variable of the template that is rewritten")
    shortest: float = Field(0.0, ge=0, description="least words, over those of the seed")
    longest: float = Field(2.0, gt=0, description="most words, over those of the seed")
    slack: int = Field(0, ge=0, description="words more than that")
    asks: bool = Field(True, description="drop an answer where a request is wanted")
    quotes: int = Field(0, ge=0, description="drop what holds so many words of the seed in a row; 0: keep")


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
    template: PromptTemplateRef = Field("", description="a shipped template's name, or a file ending in .jinja")
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
    rewrites: RewriteSettings | None = Field(
        None, description="what a rewrite of the seed must keep to; shipped templates that rewrite have their own"
    )
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
    against: list[HeldOutRef] = Field(
        [], description="test items that no row may hold, besides the known ones: files, Hub ids or steps"
    )

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
        compares = self.into in ("conversation", "solution")
        check_judge_gate(self.gates.judge, compares, f"into: {self.into} makes none")
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return judge_clashes(self.gates.judge, steps)

    def needs(self) -> "Iterable[Need]":
        """Answers by schema are checked by jsonschema."""
        return [Need("answer_schema", "synthesis")] if self.answer_schema is not None else []

    def resolved(self) -> Self:
        """With the template's text, which is what shapes the rows, and the known test sets that are at hand."""
        from bactrian.data.synth.prompt_templates import prompt_text

        text = self.prompt or prompt_text(self.template)
        return self.model_copy(update={"prompt": text, "against": with_known(self.gates, self.against)})

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
            fates.ask(template.name, requests)
            replies = askers.ask(requests, "synthesise")
            check_refused(replies.values(), self.failures, "synthesise")
            fates.reach("requests", len(requests))
            fates.reach("answers", len(replies))
            made = list(self._read(askers, template, seeds, requests, replies, fates))
            cost = askers.metrics()
            askers.note_licences()
        kept = self._passed(workspace, made, fates)
        if not kept:
            raise BactrianError(f"synthesise: no row is left\n{fates.tally}")
        told = f"{cost_lines(cost)} {fates.warning}".strip()
        card = f"# Made rows\n\nTemplate {template.name} ({template.hash}). {told}\n\n```\n{fates.tally}\n```"
        with RowWriter(workspace.output, card) as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        varied = diversity([prompt_text(row) for row in kept], workspace.seed)
        fates.write(workspace.output, cost=cost, diversity=varied, prompts={template.name: template.hash})
        workspace.metrics.update(fates.tally.counts(), **cost, unasked=float(len(requests) - len(replies)))
        short = f"; the budget left {len(requests) - len(replies):,} unasked" if len(replies) < len(requests) else ""
        say(f"synthesise: {told}{short} {fates.tally}")

    def _template(self) -> "PromptTemplate":
        from pathlib import Path

        from bactrian.data.synth.prompt_templates import ENDING, PromptTemplate, prompt_text
        from bactrian.data.synth.replies import check_schema

        if self.answer_schema is not None:
            try:
                check_schema(self.answer_schema)
            except ValueError as error:
                raise BactrianError(f"synthesise: answer_schema: {error}") from None
        name = Path(self.template).name if self.template.endswith(ENDING) else self.template
        return PromptTemplate(name or "prompt", self.prompt or prompt_text(self.template))

    def _guard(self) -> "RewriteGuard | None":
        from bactrian.data.synth.rewrites import REWRITES, RewriteGuard

        return RewriteGuard(**self.rewrites.model_dump()) if self.rewrites else REWRITES.get(self.template)

    def _seeds(self, workspace: "Workspace") -> list[Row]:
        from itertools import islice

        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.texts import answer_text
        from bactrian.data.synth.made_rows import seed_fields

        path = workspace.input(self.seeds).path
        seeds = [complete_row(row, path.name) for row, _ in islice(stream_rows(path), self.limit)]
        judge, guard = self.gates.judge, self._guard()
        for row in seeds:
            if self.into == "solution" and not row.get("messages"):
                raise BactrianError(f"{path}: row {row['id']}: no messages; into: solution needs problems as seeds")
            if judge is not None and judge.calibrated and not answer_text(row):
                said = "no answer; a calibrated judge compares with the seed's own"
                raise BactrianError(f"{path}: row {row['id']}: {said}")
            if guard is not None and guard.of not in seed_fields(row, self.fields):
                raise BactrianError(f"{path}: row {row['id']}: no {guard.of!r}, which is to be rewritten (rewrites.of)")
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
    ) -> Iterator[MadeRow]:
        """The rows that answers make, in the order of the requests; what makes none is dropped."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.made_rows import made_row

        for key, reply in replies.items():
            label, request = requests[key]
            seed = seeds[int(key.partition("/")[0])]
            may_repeat = self.verified and REPEATS in str(seed.get("ground_truth"))
            reading = self._reading(reply, str(request.messages[-1]["content"]), may_repeat)
            if isinstance(reading, Flaw):
                fates.drop(key, reading, reply.text)
                continue
            fates.reach("read", 1)
            origin = self._origin(template, label, askers.licence(label), request, seed, key)
            row = made_row(self.into, seed, reading.fields, origin, self.verifier or "")
            written = reply.text if self.answer_schema is None else " ".join(_texts(reading.fields))
            flaw = row if isinstance(row, Flaw) else self._rewrite_flaw(row, seed) or own_flaw(row, self.gates, written)
            if isinstance(row, Flaw) or flaw is not None:
                fates.drop(key, flaw or Flaw(""), reply.text)
                continue
            row |= {name: seed[name] for name in self.keep if name in seed and name not in row}
            fates.reach("well formed", 1)
            yield MadeRow(key, row, reply.text, self._judged_text(key, row, seed, request, written), reading.mended)

    def _rewrite_flaw(self, row: Row, seed: Row) -> "Flaw | None":
        from bactrian.data.io.texts import answer_text, prompt_text
        from bactrian.data.synth.made_rows import seed_fields
        from bactrian.data.synth.rewrites import rewrite_flaw

        guard = self._guard()
        if guard is None or self.into == "solution":
            return None
        return rewrite_flaw(prompt_text(row), str(seed_fields(seed, self.fields)[guard.of]), answer_text(seed), guard)

    def _judged_text(self, key: str, row: Row, seed: Row, request: "ChatRequest", written: str) -> JudgedText:
        """The row's prompt and answer, where it has one; else what the generator was asked, and what it wrote."""
        from bactrian.data.io.texts import answer_text

        if self.into not in ("conversation", "solution"):
            return JudgedText(key, request.messages, written)
        prompt = tuple(turn for turn in row["messages"] if turn["role"] != "assistant")
        return JudgedText(key, prompt, answer_text(row), answer_text(seed))

    def _reading(self, reply: "ChatReply", asked: str, may_repeat: bool) -> "Reading | Flaw":
        """asked: what an answer must not be a copy of, or must add to."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, read_json, read_text, text_flaw

        if reply.fault:
            return Flaw("refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("cut at the limit", f"{self.max_new_tokens:,} tokens")
        if flaw := text_flaw(reply.text, asked, self.max_new_tokens * CHARACTERS_A_TOKEN, may_repeat):
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

    def _passed(self, workspace: "Workspace", made: Sequence[MadeRow], fates: "Fates") -> list[Row]:
        """The rows that pass what looks at several: the verifier, test items, what was kept before, the judge."""
        flaws: list[Flaw | None] = [None] * len(made)
        if self.verified:
            flaws = verdict_flaws([(self._judged(each.row), str(each.row.get("solution") or "")) for each in made])
        if gate := decontamination_gate(workspace, self.gates, self.against, "synthesise"):
            found = gate.flaws([each.row for each in made])
            flaws = [flaw or other for flaw, other in zip(flaws, found, strict=True)]
        novel = self.into != "solution"  # solutions to one problem share its prompt
        return passed(workspace, self.gates, made, flaws, fates, "synthesise", novel)

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
        judging, more = judge_costs(self.gates.judge, inputs, requests, asked + answer_tokens(self.max_new_tokens))
        loads, money = (*loads, *judging), money + more
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
