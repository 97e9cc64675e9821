"""Stage `counterfactuals`: rewrites of one attribute, better and worse, verified, as preference pairs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.reliability.attribute_settings import AttributesField, attributes_of
from bactrian.stages.stage import ConversationRef, Divisible, Facts, Forecast, answer_tokens
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
    from bactrian.data.synth.attributes import Attribute, AttributeSet
    from bactrian.generate.chat_request import ChatRequest
    from bactrian.judge.counterfactual_pairs import AttributeAccount, AttributeOpinion, Side
    from bactrian.stages.reliability.triples import Triple
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
PROMPT_TOKENS = 300.0
"""Of a rewriting or judging prompt, about, beside the text itself."""
JUDGED_TOKENS = 120
"""Of a judge's answer, at most, for each attribute that it compares, and of a ranking."""


class Counterfactuals(Divisible):
    """Counterfactual pairs [ALFA, Li et al. 2025]: a text rewritten with more and with less of one attribute.

    The text is each conversation's last answer; an item gives three pairs for every attribute: enhanced above original,
    enhanced above corrupted, original above corrupted. A pair stays where every judge ranks it strictly so on that
    attribute, and no other attribute moved. Train and dev part by source before any pair is made. rows.json says for
    each attribute what was dropped and why, and what else rewrites moved. `ablate` leaves out attributes or groups.
    """

    name: ClassVar[str] = "counterfactuals"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: ConversationRef = Field(description="conversations whose last answers are rewritten")
    attributes: AttributesField = "clinical"
    only: list[str] = Field([], description="attributes to rewrite, of all that are judged; by default all")
    text: str = Field("", description='what the answers are, such as "question"; by default as the set says')
    wording: str = Field("", description="how rewrites are to be worded; by default as the set says")
    directions: list[Literal["enhanced", "corrupted"]] = Field(
        ["enhanced", "corrupted"], min_length=1, description="ways in which a text is rewritten"
    )
    generators: list[DataGenerator] = Field([], description="who rewrites; requests are drawn by weight")
    judges: list[DataGenerator] = Field([], description="who verifies; a pair stays where all of them agree")
    program: Literal["requests"] | None = Field(
        None, description="rewrites and judges by program where there are no generators, no judges: rows of `requests`"
    )
    verify: bool = Field(True, description="keep only pairs that are confirmed; false: all")
    locality: Literal["drop", "count", "off"] = Field(
        "drop", description="a rewrite that moved another attribute: its pairs go, or it is counted, or not looked at"
    )
    part: Literal["all", "train", "dev"] = Field("all", description="sources whose texts are rewritten")
    dev_share: float = Field(0.1, gt=0, lt=1, description="of the sources, for `part`")
    source_column: str = Field("id", description="rows alike in it are of one source, such as a post")
    limit: int | None = Field(None, ge=1, description="texts, from the first of the part")
    temperature: float = Field(1.0, ge=0, description="of the rewrites; judges are greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="of the rewrites")
    max_new_tokens: int = Field(256, ge=1, description="longest rewrite, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking for rewrites stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            names = [each.name for each in self._set.attributes]
        except BactrianError as error:
            raise ValueError(str(error)) from None
        if unknown := [name for name in self.only if name not in names]:
            raise ValueError(f"only: found {unknown[0]!r}, expected some of {', '.join(names)}")
        if self.program is None:
            if not self.generators:
                raise ValueError("expected generators, who rewrite, or a program")
            if self.verify and not self.judges:
                raise ValueError("verify: expected judges, or a program")
        if self.generators:
            check_generators(self.generators, self.budget)
        if self.judges:
            check_generators(self.judges, SynthesisBudget())
        return self

    @property
    def _set(self) -> "AttributeSet":
        return attributes_of(self.attributes, self.text, self.wording)

    def chosen(self) -> "list[Attribute]":
        """The attributes that are rewritten."""
        return [each for each in self._set.attributes if not self.only or each.name in self.only]

    def parts(self) -> list[tuple[str, ...]]:
        return [tuple(filter(None, (each.name, each.group))) for each in self.chosen()]

    def keeping(self, kept: Sequence[int]) -> Self:
        """With these attributes alone rewritten; all are still judged."""
        names = [each.name for each in self.chosen()]
        return type(self).model_validate(self.model_dump() | {"only": [names[number] for number in kept]})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.counterfactual_pairs import AttributeAccount
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        fates, account = Fates(), {each.name: AttributeAccount() for each in self.chosen()}
        triples, spent = self._rewritten(workspace, self._rows(workspace), fates)
        opinions, judged = self._judged(workspace, triples)
        kept = list(self._pairs(triples, opinions, fates, account))
        fates.reach("kept", len(kept))
        if not kept:
            raise BactrianError(f"counterfactuals: no pair is left\n{fates.tally}")
        by_attribute = {name: each.summary() for name, each in account.items()}
        cost = {name: spent[name] + judged.get(name, 0.0) for name in spent}
        card = f"# Counterfactual pairs\n\n{cost_lines(cost)}\n\n```\n{fates.tally}\n```"
        with RowWriter(workspace.output, card) as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        fates.write(workspace.output, attributes=by_attribute, cost=cost)
        pairs = sum(each.pairs for each in account.values())
        workspace.metrics.update(fates.tally.counts(), **cost, drop_rate=1 - len(kept) / pairs)
        workspace.metrics.update(
            {f"drop_rate/{name}": found["drop_rate"] or 0.0 for name, found in by_attribute.items()}
        )
        local = {name: found["local_rate"] for name, found in by_attribute.items() if found["local_rate"] is not None}
        workspace.metrics.update({f"local_rate/{name}": rate for name, rate in local.items()})
        say(f"counterfactuals: {cost_lines(cost)} {len(kept):,} of {pairs:,} pairs are kept; {fates.tally}")

    def _rows(self, workspace: "Workspace") -> list[Row]:
        """The texts of the part."""
        from itertools import islice

        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row
        from bactrian.stages.reliability.triples import in_part

        path = workspace.input(self.data).path
        rows = (complete_row(row, path.name) for row, _ in stream_rows(path, "conversation"))
        mine = (row for row in rows if in_part(row, self.source_column, self.part, self.dev_share))
        found = list(islice(mine, self.limit))
        if not found:
            raise BactrianError(f"counterfactuals: no row is left: {path} has none of part {self.part}")
        return found

    def _rewritten(
        self, workspace: "Workspace", rows: Sequence[Row], fates: "Fates"
    ) -> "tuple[list[Triple], dict[str, float]]":
        """Each text with its rewrites, for each attribute, and what they cost."""
        from bactrian.stages.reliability.triples import Triple, rewriting_request, rewritten_by_program

        made = [Triple.of(row, each) for row in rows for each in self.chosen()]
        fates.reach("texts", len(rows))
        fates.reach("rewrites asked for", len(made) * len(self.directions))
        if not self.generators:
            for triple in made:
                rewritten_by_program(triple, self.directions)
            found = dict.fromkeys(("answers", "tokens_read", "tokens_written", "tokens", "money"), 0.0)
        else:
            with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
                requests: dict[str, tuple[str, ChatRequest]] = {}
                places: dict[str, tuple[Triple, Side]] = {}
                for number, triple in enumerate(made):
                    for side in self.directions:
                        key = f"{number}/{side}"
                        places[key] = triple, side
                        request = rewriting_request(triple, side, self._set, workspace.seed, self)
                        requests[key] = (drawn(self.generators, workspace.seed, key).label, request)
                replies = askers.ask(requests, "counterfactuals · rewrites")
                check_refused(replies.values(), self.failures, "counterfactuals")
                for key, reply in replies.items():
                    (triple, asked), (label, request) = places[key], requests[key]
                    triple.take(asked, reply, request, label, askers.licence(label), self.max_new_tokens)
                found = askers.metrics()
                askers.note_licences()
        for triple in made:
            for which, flaw in triple.flaws.items():
                fates.drop(f"{triple.row['id']}/{triple.attribute.name}/{which}", flaw, triple.texts.get(which, ""))
        fates.reach("rewrites", sum(len(triple.texts) - 1 for triple in made))
        return made, found

    def _judged(
        self, workspace: "Workspace", triples: "Sequence[Triple]"
    ) -> "tuple[list[list[AttributeOpinion] | None], dict[str, float]]":
        """What each judge says of each triple, and what that cost; None where nothing is verified."""
        from bactrian.stages.reliability.triples import judged_by_program, judging_requests, read_opinion

        if not self.verify:
            return [None] * len(triples), {}
        if not self.judges:
            return [[judged_by_program(triple)] for triple in triples], {}
        compare = self.locality != "off"
        with Askers(workspace, self.judges, SynthesisBudget(), self.rows_at_once) as askers:
            requests: dict[str, tuple[str, ChatRequest]] = {}
            for judge in self.judges:
                for number, triple in enumerate(triples):
                    asked = judging_requests(triple, self._set, workspace.seed, compare, JUDGED_TOKENS)
                    requests |= {
                        f"{judge.label}\0{number}\0{what}": (judge.label, each) for what, each in asked.items()
                    }
            replies = askers.ask(requests, "counterfactuals · judging")
            check_refused(replies.values(), self.failures, "counterfactuals: judges")
            cost = askers.metrics()
        given = self._set
        return [
            [
                read_opinion(triple, given, workspace.seed, replies, f"{judge.label}\0{number}\0")
                for judge in self.judges
            ]
            for number, triple in enumerate(triples)
        ], cost

    def _pairs(
        self,
        triples: "Sequence[Triple]",
        opinions: "Sequence[list[AttributeOpinion] | None]",
        fates: "Fates",
        account: "Mapping[str, AttributeAccount]",
    ) -> Iterator[Row]:
        from bactrian.data.curate.quality import Flaw
        from bactrian.judge.counterfactual_pairs import pair_fates

        for triple, said in zip(triples, opinions, strict=True):
            found = pair_fates(triple.texts, said, self.locality)
            account[triple.attribute.name].add(found, said)
            for fate in found:
                key = f"{triple.row['id']}/{triple.attribute.name}/{fate.name}"
                if fate.reason:
                    fates.drop(key, Flaw(fate.reason, fate.detail), triple.texts[fate.chosen])
                else:
                    fates.keep((), key)
                    yield triple.pair(fate.chosen, fate.rejected)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Two rewrites of each text and attribute; of each judge a ranking and two comparisons."""
        data = inputs.get(self.data, Facts())
        share = {"all": 1.0, "train": 1 - self.dev_share, "dev": self.dev_share}[self.part]
        texts = min(int(data.rows * share), self.limit or data.rows)
        triples = texts * len(self.chosen())
        asked = PROMPT_TOKENS + (data.tokens_per_row or 100)
        rewrites = triples * len(self.directions)
        judged = triples * (3 if self.locality != "off" else 1) if self.judges and self.verify else 0
        most = JUDGED_TOKENS * max(1, len(self._set.attributes) // 2)
        loads = sampling_loads(self.generators, inputs, rewrites, asked, self.max_new_tokens) if self.generators else ()
        money = expected_money(self.generators, rewrites, asked, self.max_new_tokens) if self.generators else 0.0
        for judge in self.judges:
            loads += sampling_loads([judge], inputs, judged, 2 * asked, most)
            money += expected_money([judge], judged, 2 * asked, most)
        tokens = sum(load.all_tokens for load in loads)
        made = Facts(
            rows=triples * (3 if len(self.directions) == 2 else 1), tokens_per_row=2 * (data.tokens_per_row or 100)
        )
        largest = max([load.parameters for load in loads], default=0.0)
        answers = answer_tokens(self.max_new_tokens) * rewrites
        return Forecast(
            max(tokens, answers if self.generators else 0.0),
            sum(load.flops for load in loads),
            4 * largest + 1e9,
            made,
            sampling=loads,
            money=money,
        )
