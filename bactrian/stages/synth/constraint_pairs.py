"""Stage `constraint_pairs`: pairs whose chosen side keeps to the prompt's constraints, and the other does not."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Need, Stage, answer_tokens
from bactrian.stages.synth.gates import (
    Gates,
    MadeRow,
    check_against,
    decontamination_gate,
    own_flaw,
    passed,
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
from bactrian.stages.synth.judge_gate import JudgedText, judge_clashes, judge_costs
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bactrian.data.curate.quality import Flaw
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
WHOLE, RELAXED = "whole", "relaxed"
NO_GOOD = "no answer keeps to all constraints"


class ConstraintPairs(Stage):
    """Pairs by relaxing one constraint [persona IF preference, Tülu 3], with both sides checked by the verifier.

    The prompt is answered, and so is the same prompt without one of its constraints. Chosen: an answer that keeps to
    all constraints, read strictly. Rejected: an answer to the relaxed prompt that breaks one, read leniently. What
    turns out otherwise is dropped; the published script checks neither side.
    """

    name: ClassVar[str] = "constraint_pairs"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: DataRef = Field(description="rows of `constrain`; those with one constraint are left out")
    generators: list[DataGenerator] = Field(min_length=1, description="who answers; requests are drawn by weight")
    samples: int = Field(1, ge=1, description="answers to each prompt, and to each relaxed one, to choose from")
    limit: int | None = Field(None, ge=1, description="prompts, from the first")
    temperature: float = Field(0.7, ge=0, description="of sampling; 0 is greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(1024, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")
    gates: Gates = Field(Gates(novelty=None), description="what pairs must pass")
    against: list[HeldOutRef] = Field(
        [], description="test items that no pair may hold, besides the known ones: files, Hub ids or steps"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_generators(self.generators, self.budget)
        check_against(self.gates, self.against)
        return self

    def needs(self) -> "Iterable[Need]":
        """Of the verifier."""
        return [Need("the verifier ifeval", "instructions")]

    def resolved(self) -> Self:
        """With the known test sets that are at hand."""
        return self.model_copy(update={"against": with_known(self.gates, self.against)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        rows, fates = self._rows(workspace), Fates()
        with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
            requests = dict(self._requests(rows, workspace.seed))
            replies = askers.ask(requests, "constraint_pairs")
            check_refused(replies.values(), self.failures, "constraint_pairs")
            fates.reach("answers", len(replies))
            pairs = self._pairs(askers, rows, requests, replies, fates)
            cost = askers.metrics()
            askers.note_licences()
        kept = self._passed(workspace, pairs, fates)
        if not kept:
            raise BactrianError(f"constraint_pairs: no pair is left\n{fates.tally}")
        card = f"# Pairs by a relaxed constraint\n\n{cost_lines(cost)} {fates.warning}\n\n```\n{fates.tally}\n```"
        with RowWriter(workspace.output, card) as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        fates.write(workspace.output, cost=cost)
        workspace.metrics.update(fates.tally.counts(), **cost)
        told = f"{cost_lines(cost)} {fates.warning}".strip()
        say(f"constraint_pairs: {len(kept):,} pairs of {len(rows):,} prompts; {told} {fates.tally}")

    def _rows(self, workspace: "Workspace") -> list[Row]:
        from bactrian.data.io.files import read_rows

        path = workspace.input(self.data).path
        rows = read_rows(path)[: self.limit]
        if bad := next((row for row in rows if not isinstance(row.get("constraints"), list)), None):
            raise BactrianError(f"{path}: row {bad.get('id')}: no constraints; expected rows of stage constrain")
        several = [row for row in rows if len(row["constraints"]) > 1]
        if not several:
            raise BactrianError(f"{path}: no row has two constraints, so none can be relaxed (constrain: least: 2)")
        return several

    def _requests(self, rows: Sequence[Row], seed: int) -> "Iterable[tuple[str, tuple[str, ChatRequest]]]":
        """Key "row/kind/sample" → label of a generator and what it is asked."""
        from random import Random

        from bactrian.generate.chat_request import ChatRequest

        for number, row in enumerate(rows):
            for kind in (WHOLE, RELAXED):
                messages = row["messages"] if kind == WHOLE else self._relaxed(row, seed)
                for sample in range(self.samples):
                    key = f"{number}/{kind}/{sample}"
                    request = ChatRequest(
                        tuple(messages),
                        f"constraint_pairs: prompt {row['id']}, {kind}",
                        Random(f"constraint_pairs/{seed}/{key}").randrange(2**31),
                        self.max_new_tokens,
                        self.temperature,
                        self.top_p,
                    )
                    yield key, (drawn(self.generators, seed, key).label, request)

    @staticmethod
    def _dropped(row: Row, seed: int) -> str:
        """The type of the constraint that is relaxed."""
        from random import Random

        return str(Random(f"relaxed/{seed}/{row['id']}").choice(row["constraints"])["name"])

    def _relaxed(self, row: Row, seed: int) -> list[Row]:
        from bactrian.data.synth.ifeval_prompts import WrittenConstraint, constrained_prompt

        constraints = [WrittenConstraint(each["name"], {}, each["words"]) for each in row["constraints"]]
        question = constrained_prompt(str(row["task"]), constraints, [self._dropped(row, seed)])
        return [*row["messages"][:-1], {"role": "user", "content": question}]

    def _pairs(
        self,
        askers: Askers,
        rows: Sequence[Row],
        requests: "Mapping[str, tuple[str, ChatRequest]]",
        replies: "Mapping[str, ChatReply]",
        fates: "Fates",
    ) -> list[tuple[str, Row]]:
        """For each prompt the first answer that keeps to all, and the first to the relaxed one that does not."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.verify import Item, Pool

        flaws = {key: flaw.reason for key, reply in replies.items() if (flaw := self._flaw(reply)) is not None}
        whole = {key: reply for key, reply in replies.items() if key not in flaws}
        fates.reach("answers that ended", len(whole))
        verifiers = {WHOLE: "ifeval_strict", RELAXED: "ifeval"}
        items = [
            Item.of({**rows[int(number)], "dataset": verifiers[kind]}, whole[key].text)
            for key in whole
            for number, kind, _ in [key.split("/")]
        ]
        with Pool() as pool:
            verdicts = dict(zip(whole, pool.verify_all(items), strict=True))
        pairs = []
        for number, row in enumerate(rows):
            keys = {kind: [f"{number}/{kind}/{sample}" for sample in range(self.samples)] for kind in verifiers}
            good = [key for key in keys[WHOLE] if key in verdicts and verdicts[key].outcome == "right"]
            bad = [key for key in keys[RELAXED] if key in verdicts and verdicts[key].outcome == "wrong"]
            if not (good and bad):
                why = "the answer to the relaxed prompt keeps to all as well" if good else NO_GOOD
                said = [
                    {"model": requests[key][0], "of": f"{kind} prompt", "text": replies[key].text, "verdict": verdict}
                    for kind in verifiers
                    for key in keys[kind]
                    if key in replies
                    for verdict in [
                        f"{verdicts[key].outcome}: {verdicts[key].reason}" if key in verdicts else flaws[key]
                    ]
                ]
                fates.drop(str(number), Flaw(why, str(row["id"])), "", said, str(row["messages"][-1]["content"]))
            else:
                labels = [requests[key][0] for key in (good[0], bad[0])]
                texts = [whole[key].text for key in (good[0], bad[0])]
                pairs.append((str(number), self._pair(askers, row, labels, texts, verdicts[bad[0]].reason)))
        return pairs

    def _flaw(self, reply: "ChatReply") -> "Flaw | None":
        """What is wrong with an answer whatever it keeps to, on either side; it may say its prompt again."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, text_flaw

        if reply.fault:
            return Flaw("refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("cut at the limit", f"{self.max_new_tokens:,} tokens")
        return text_flaw(reply.text, "", self.max_new_tokens * CHARACTERS_A_TOKEN)

    @staticmethod
    def _pair(askers: Askers, row: Row, labels: Sequence[str], said: Sequence[str], broken: str) -> Row:
        from bactrian.data.synth.made_rows import joined_licence

        licence = joined_licence(str(row["license"]), *(askers.licence(label) for label in labels))
        return {
            "id": row["id"],
            "prompt": row["messages"],
            "chosen": [{"role": "assistant", "content": said[0]}],
            "rejected": [{"role": "assistant", "content": said[1]}],
            "ground_truth": row["ground_truth"],
            "broken": broken,
            "source": row["source"],
            "license": licence,
            "made_by": {
                "chosen_model": labels[0],
                "rejected_model": labels[1],
                "seed": str(row["id"]),
                "licence": licence,
            },
        }

    def _passed(self, workspace: "Workspace", pairs: Sequence[tuple[str, Row]], fates: "Fates") -> list[Row]:
        gate = decontamination_gate(workspace, self.gates, self.against, "constraint_pairs")
        held = gate.flaws([row for _, row in pairs]) if gate else [None] * len(pairs)
        rows, flaws = [], []
        for (key, row), flaw in zip(pairs, held, strict=True):
            chosen, rejected = (str(row[side][0]["content"]) for side in ("chosen", "rejected"))
            judged = JudgedText(key, tuple(row["prompt"]), chosen, rejected)
            rows.append(MadeRow(key, row, str(row["prompt"][-1]["content"]), judged))
            flaws.append(flaw or own_flaw(row, self.gates, chosen))
        return passed(workspace, self.gates, rows, flaws, fates, "constraint_pairs", reached="pairs")

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return judge_clashes(self.gates.judge, steps)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.data, Facts())
        rows = min(data.rows, self.limit or data.rows)
        requests, asked = 2.0 * rows * self.samples, data.tokens_per_row or 100
        loads = sampling_loads(self.generators, inputs, requests, asked, self.max_new_tokens)
        memory = 4.0 * max((load.parameters for load in loads), default=0.0) + 1e9
        tokens = requests * (asked + answer_tokens(self.max_new_tokens))
        made = Facts(rows=rows, tokens_per_row=asked + 2 * answer_tokens(self.max_new_tokens))
        money = expected_money(self.generators, requests, asked, self.max_new_tokens)
        judging, more = judge_costs(self.gates.judge, inputs, made.rows, made.tokens_per_row)
        loads, money = (*loads, *judging), money + more
        return Forecast(tokens, sum(load.flops for load in loads), memory, made, sampling=loads, money=money)
