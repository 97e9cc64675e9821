"""Stage `paraphrase`: segments said in other words, as pairs that teach a model not to recite."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage, answer_tokens
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
    from bactrian.data.synth.paraphrases import ParaphraseGuards
    from bactrian.data.synth.prompt_templates import PromptTemplate
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SEEDS_APART = 1_000_003
PROMPT_TOKENS = 80.0
"""Of the filled template, beside the segment."""
YES, NO = "Copying: Yes", "Copying: No"
"""What the switch says: recite, or do not."""
COMPLETE = "Complete the following text:"
"""The user's turn of the switch as a system turn; the published one, of completions."""


class Paraphrase(Stage):
    """Pairs of a paraphrase, chosen, and the original, rejected: plain texts without a chat template [ParaPO].

    A paraphrase must have about the original's length, share no long run of words with it, be no copy and no refusal,
    keep its numbers, names, negations and some of its words, and be in the languages asked for. With `copying`, each
    segment makes two pairs that differ in the switch and in which side is chosen, so that the switch is the only cue.
    """

    name: ClassVar[str] = "paraphrase"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    segments: DataRef = Field(description="text rows, such as those of mine")
    generators: list[DataGenerator] = Field([], description="who paraphrases; requests are drawn by weight")
    given: DataRef | None = Field(
        None, description="paraphrases that are known, rows with text and paraphrase, in place of generators"
    )
    template: str = Field("paraphrase-text", description="a shipped template's name, or a file ending in .jinja")
    prompt: str = Field("", description="the template itself, in place of a name")
    draws: int = Field(1, ge=1, description="answers to each segment, of which the first that passes is taken")
    limit: int | None = Field(None, ge=1, description="segments, from the first")
    copying: Literal["none", "prefix", "system"] = Field(
        "none", description=f"a switch: {YES!r} or {NO!r} before the text, or as a system turn"
    )
    temperature: float = Field(0.6, ge=0, description="of sampling; 0 is greedy")
    top_p: float = Field(0.9, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")
    shortest: float = Field(0.5, gt=0, le=1, description="words of a paraphrase over the original's, at least")
    longest: float = Field(2.0, ge=1, description="the same, at most")
    shared_words: int | None = Field(
        8, ge=2, le=64, description="words in a row of the original that no paraphrase may hold; null: any"
    )
    alike: float = Field(0.8, gt=0, le=1, description="highest share of words that both have in one order")
    keeps: list[Literal["numbers", "names", "negation", "content"]] = Field(
        ["numbers", "names", "negation", "content"],
        description="what must be the same in both; all but numbers are for English",
    )
    languages: list[str] = Field([], description="of paraphrases, ISO 639 codes; by default any")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.generators) == (self.given is not None):
            raise ValueError("expected generators, or given: paraphrases that are known")
        check_generators(self.generators, self.budget)
        return self

    def needs(self) -> "Iterable[Need]":
        """Of the language filter."""
        return [Need("languages", "data")] if self.languages else []

    def resolved(self) -> Self:
        """With the template's text, which is what shapes the rows."""
        from bactrian.data.synth.prompt_templates import prompt_text

        return self if self.prompt or self.given else self.model_copy(update={"prompt": prompt_text(self.template)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        fates, segments = Fates(), self._segments(workspace)
        fates.reach("segments", len(segments))
        if self.given is not None:
            said, cost = self._known(workspace, segments, fates), dict[str, float]()
        else:
            said, cost = self._written(workspace, segments, fates)
        if not said:
            raise BactrianError(f"paraphrase: no segment has a paraphrase that passes\n{fates.tally}")
        fates.reach("kept", len(said))
        told = f"{cost_lines(cost)}\n\n" if cost else ""
        with RowWriter(workspace.output, f"# Paraphrases\n\n{told}```\n{fates.tally}\n```") as writer:
            for number, (text, licence) in sorted(said.items()):
                for row in self._pairs(segments[number], text, licence):
                    writer.write(row)
        for each in writer.licences:
            workspace.add_licence(each)
        fates.write(workspace.output, **({"cost": cost} if cost else {}))
        workspace.metrics.update(fates.tally.counts(), **cost)
        say(f"paraphrase: {len(said):,} of {len(segments):,} segments; {fates.tally}")

    def _segments(self, workspace: "Workspace") -> list[Row]:
        from itertools import islice

        from bactrian.data.io.files import stream_rows

        path = workspace.input(self.segments).path
        return [row for row, _ in islice(stream_rows(path, "text"), self.limit)]

    def _known(self, workspace: "Workspace", segments: Sequence[Row], fates: "Fates") -> dict[int, tuple[str, str]]:
        """Number of the segment → its paraphrase and on what terms, from rows that have them."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.io.files import stream_rows
        from bactrian.data.synth.made_rows import joined_licence

        known = {}
        for row, where in stream_rows(workspace.input(str(self.given)).path, "text"):
            if not isinstance(row.get("paraphrase"), str):
                raise BactrianError(f"{where}, field 'paraphrase': found {row.get('paraphrase')!r}, expected text")
            known[_bare(row["text"])] = row
        found = {}
        for number, segment in enumerate(segments):
            row = known.get(_bare(segment["text"]), {})
            text = row.get("paraphrase", "")
            flaw = self._flaw(segment["text"], text) if text else Flaw("no paraphrase is known")
            if flaw is not None:
                fates.drop(str(segment["id"]), flaw, text)
                continue
            fates.keep((), str(segment["id"]))
            found[number] = (text, joined_licence(segment["license"], row["license"]))
        return found

    def _written(
        self, workspace: "Workspace", segments: Sequence[Row], fates: "Fates"
    ) -> "tuple[dict[int, tuple[str, str]], dict[str, float]]":
        """The same from generators, and what it cost: each segment's first answer that passes."""
        from bactrian.data.synth.made_rows import joined_licence
        from bactrian.data.synth.prompt_templates import PromptTemplate, prompt_text

        template = PromptTemplate(self.template, self.prompt or prompt_text(self.template))
        found: dict[int, tuple[str, str]] = {}
        with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
            requests = dict(self._requests(template, segments, workspace.seed))
            replies = askers.ask(requests, "paraphrase")
            check_refused(replies.values(), self.failures, "paraphrase")
            for key, reply in replies.items():
                number = int(key.partition("/")[0])
                if number in found:
                    continue
                text = reply.text.strip()
                if flaw := self._fault(reply) or self._flaw(segments[number]["text"], text):
                    fates.drop(key, flaw, text)
                    continue
                fates.keep((), key)
                terms = askers.licence(requests[key][0])
                found[number] = (text, joined_licence(str(segments[number]["license"]), terms))
            askers.note_licences()
            return found, askers.metrics()

    def _requests(
        self, template: "PromptTemplate", segments: Sequence[Row], seed: int
    ) -> "Iterator[tuple[str, tuple[str, ChatRequest]]]":
        """Key "segment/draw" → label of a generator and what it is asked."""
        from bactrian.generate.chat_request import ChatRequest

        for number, segment in enumerate(segments):
            where = f"paraphrase: segment {segment['id']}"
            text = template.render(segment, where)
            for draw in range(self.draws):
                key = f"{number}/{draw}"
                request = ChatRequest(
                    ({"role": "user", "content": text},),
                    f"{where}, answer {draw}",
                    (seed * SEEDS_APART + number) * SEEDS_APART % 2**31 + draw,
                    self.max_new_tokens,
                    self.temperature,
                    self.top_p,
                )
                yield key, (drawn(self.generators, seed, key).label, request)

    def _fault(self, reply: "ChatReply") -> "Flaw | None":
        from bactrian.data.curate.quality import Flaw

        if reply.fault:
            return Flaw("refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("cut at the limit", f"{self.max_new_tokens:,} tokens")
        return None if reply.text.strip() else Flaw("an empty answer")

    def _flaw(self, original: str, text: str) -> "Flaw | None":
        from bactrian.data.synth.row_gates import language_gate
        from bactrian.verify.final_answer import declines

        flaw = self._guards().flaw(original, text, declines)
        return flaw or (language_gate({"text": text}, self.languages) if self.languages else None)

    def _guards(self) -> "ParaphraseGuards":
        from bactrian.data.synth.paraphrases import ParaphraseGuards

        return ParaphraseGuards(self.shortest, self.longest, self.shared_words, self.alike, self.keeps)

    def _pairs(self, segment: Row, text: str, licence: str) -> Iterator[Row]:
        """The pairs that a segment and its paraphrase make."""
        original = str(segment["text"])
        about = {"source": segment["source"], "license": licence, "segment": str(segment["id"])}
        if self.copying == "none":
            yield {"id": str(segment["id"]), **about, "chosen_text": text, "rejected_text": original}
            return
        for switch, chosen, rejected in ((YES, original, text), (NO, text, original)):
            row = {"id": f"{segment['id']} {switch}", **about}
            if self.copying == "prefix":
                yield {**row, "prefix": f"{switch}\n", "chosen_text": chosen, "rejected_text": rejected}
                continue
            asked = [{"role": "system", "content": switch}, {"role": "user", "content": COMPLETE}]
            sides = {"chosen": chosen, "rejected": rejected}
            answers = {side: [{"role": "assistant", "content": said}] for side, said in sides.items()}
            yield {**row, "prompt": asked, **answers}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.segments, Facts())
        segments = min(data.rows, self.limit or data.rows)
        size = data.tokens_per_row or 96.0
        made = Facts(rows=segments * (1 if self.copying == "none" else 2), tokens_per_row=2 * size)
        if not self.generators:
            return Forecast(makes=made)
        requests, asked = segments * self.draws, PROMPT_TOKENS + size
        loads = sampling_loads(self.generators, inputs, requests, asked, self.max_new_tokens)
        memory = 4.0 * max((load.parameters for load in loads), default=0.0) + 1e9
        tokens = requests * (asked + answer_tokens(self.max_new_tokens))
        money = expected_money(self.generators, requests, asked, self.max_new_tokens)
        return Forecast(tokens, sum(load.flops for load in loads), memory, made, sampling=loads, money=money)


def _bare(text: str) -> str:
    return " ".join(text.split())
