"""Stage `magpie`: prompts that a model writes itself, where its chat template has a user begin; and its answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, HeldOutRef, Stage, answer_tokens
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
from bactrian.stages.synth.judge_gate import JudgedText, check_judge_gate, judge_costs
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.chat import UserTurn
    from bactrian.data.curate.quality import Flaw
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
Asked = tuple[str, "ChatRequest"]
OPENING_TOKENS = 30.0


class OpenedGenerator(DataGenerator):
    """A model that is made to write a user's turn. Of a server nobody knows the chat template: it is given here."""

    opening: str = Field("", description="server: what its chat template writes up to where a user begins to speak")
    end: str = Field("", description="server: what the template writes first after a user's turn")

    @model_validator(mode="after")
    def _opened(self) -> Self:
        if self.server is not None and not (self.opening and self.end):
            raise ValueError(
                f"{self.label}: a server needs opening and end, the text of its chat template around a user's turn, "
                f'such as "<|im_start|>user\\n" and "<|im_end|>"'
            )
        if self.model is not None and (self.opening or self.end):
            raise ValueError(f"{self.label}: opening and end are read from the model's own chat template")
        return self


class Magpie(Stage):
    """Prompts drawn from models themselves [Magpie, Xu et al. 2024]: what they write in a user's place, unasked.

    The model is given its chat template up to where a user begins, and samples until the turn ends. What it wrote is a
    prompt, which the same model answers. Drops what the paper drops, but for its last step: to keep the longest
    answers is a bias, and `select` has it.
    """

    name: ClassVar[str] = "magpie"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    generators: list[OpenedGenerator] = Field(min_length=1, description="who writes; prompts are drawn by weight")
    count: int = Field(ge=1, description="prompts that are drawn; fewer are kept")
    system: str = Field("", description="system turn before a prompt, to steer its subject; models of this run only")
    one_line: bool = Field(False, description="a prompt ends with its first line, as in the released code")
    temperature: float = Field(1.0, ge=0, description="of sampling prompts")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling prompts")
    prompt_tokens: int = Field(512, ge=1, description="longest prompt, tokens")
    answered: bool = Field(True, description="have each prompt answered; else rows are prompts, for `respond`")
    answer_temperature: float = Field(0.0, ge=0, description="of answers; 0 is greedy")
    max_new_tokens: int = Field(2048, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")
    gates: Gates = Field(Gates(), description="what rows must pass")
    against: list[HeldOutRef] = Field(
        [], description="test items that no row may hold, besides the known ones: files, Hub ids or steps"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_generators(self.generators, self.budget)
        check_against(self.gates, self.against)
        if self.system and any(each.server for each in self.generators):
            raise ValueError("system: a server's opening holds its system turn; write it there")
        check_judge_gate(self.gates.judge, False, "a prompt drawn from a model has one answer")
        if self.gates.judge is not None and not self.answered:
            raise ValueError("gates.judge: a judge reads prompt and answer; expected answered: true")
        return self

    def resolved(self) -> Self:
        """With the known test sets that are at hand."""
        return self.model_copy(update={"against": with_known(self.gates, self.against)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.texts import prompt_text
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.diversity import diversity
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        fates, turns = Fates(), {each.label: self._turn(workspace, each) for each in self.generators}
        with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
            drawn_prompts = self._drawn(askers, turns, workspace.seed, fates)
            made = list(self._rows(askers, drawn_prompts, workspace.seed, fates))
            cost = askers.metrics()
            askers.note_licences()
        kept = self._passed(workspace, made, fates)
        if not kept:
            raise BactrianError(f"magpie: no row is left\n{fates.tally}")
        told = f"{cost_lines(cost)} {fates.warning}".strip()
        with RowWriter(workspace.output, f"# Prompts drawn from models\n\n{told}\n\n```\n{fates.tally}\n```") as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        fates.write(
            workspace.output, cost=cost, diversity=diversity([prompt_text(row) for row in kept], workspace.seed)
        )
        workspace.metrics.update(fates.tally.counts(), **cost)
        say(f"magpie: {len(kept):,} of {self.count:,} prompts; {told}\n{fates.tally}")

    def _turn(self, workspace: "Workspace", each: OpenedGenerator) -> "UserTurn":
        """What opens a user's turn: of a model of this run by its own chat template."""
        from bactrian.chat import ChatTemplate, UserTurn, template_for, user_turn
        from bactrian.model.language_model import load_tokenizer

        if each.server is not None:
            return UserTurn(each.opening, each.end)
        tokenizer = load_tokenizer(workspace.input(str(each.model)).path)
        return user_turn(ChatTemplate.load(tokenizer, template_for(tokenizer)), self.system)

    def _drawn(
        self, askers: Askers, turns: "Mapping[str, UserTurn]", seed: int, fates: "Fates"
    ) -> list[tuple[str, str, str]]:
        """(key, label of the generator, prompt) of what was drawn and can be answered."""
        requests = dict(self._openings(turns, seed))
        fates.ask("magpie, prompts", requests)
        replies = askers.ask(requests, "magpie · prompts")
        check_refused(replies.values(), self.failures, "magpie")
        fates.reach("prompts drawn", len(replies))
        found = []
        for key, reply in replies.items():
            label, request = requests[key]
            text = reply.text.strip()
            if flaw := self._prompt_flaw(reply, text, request.opening):
                fates.drop(key, flaw, reply.text)
            else:
                found.append((key, label, text))
        fates.reach("prompts in form", len(found))
        return found

    def _openings(self, turns: "Mapping[str, UserTurn]", seed: int) -> Iterator[tuple[str, Asked]]:
        from random import Random

        from bactrian.generate.chat_request import ChatRequest

        for number in range(self.count):
            key = f"{number}"
            label = drawn(self.generators, seed, key).label
            stop = (turns[label].end, *(("\n",) if self.one_line else ()))
            request = ChatRequest(
                (),
                f"magpie: prompt {number}",
                Random(f"magpie/{seed}/{key}").randrange(2**31),
                self.prompt_tokens,
                self.temperature,
                self.top_p,
                opening=turns[label].opening,
                stop=stop,
            )
            yield key, (label, request)

    def _prompt_flaw(self, reply: "ChatReply", text: str, opening: str) -> "Flaw | None":
        """What is wrong with a prompt: of the paper's filters those that look at it alone, and ours."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, text_flaw

        if reply.fault:
            return Flaw("refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("cut at the limit", f"{self.prompt_tokens:,} tokens")
        if flaw := text_flaw(text, opening, self.prompt_tokens * CHARACTERS_A_TOKEN):
            return flaw
        return Flaw("a prompt that ends with a colon", repr(text[-40:])) if text.endswith((":", "：")) else None

    def _rows(
        self, askers: Askers, prompts: Sequence[tuple[str, str, str]], seed: int, fates: "Fates"
    ) -> Iterator[MadeRow]:
        """A row of each prompt, with the answer of the model that wrote it."""
        if not self.answered:
            for key, label, prompt in prompts:
                yield self._made(askers, key, label, prompt, "")
            return
        requests = {key: (label, self._question(key, prompt, seed)) for key, label, prompt in prompts}
        fates.ask("magpie, answers", requests)
        replies = askers.ask(requests, "magpie · answers")
        check_refused(replies.values(), self.failures, "magpie")
        fates.reach("answers", len(replies))
        for key, label, prompt in prompts:
            if (reply := replies.get(key)) is None:
                continue
            if flaw := self._answer_flaw(reply, prompt):
                fates.drop(key, flaw, f"{prompt}\n{reply.text}")
            else:
                yield self._made(askers, key, label, prompt, reply.text.strip())

    def _question(self, key: str, prompt: str, seed: int) -> "ChatRequest":
        from random import Random

        from bactrian.generate.chat_request import ChatRequest

        return ChatRequest(
            ({"role": "user", "content": prompt},),
            f"magpie: answer {key}",
            Random(f"magpie/{seed}/{key}/answer").randrange(2**31),
            self.max_new_tokens,
            self.answer_temperature,
        )

    def _answer_flaw(self, reply: "ChatReply", prompt: str) -> "Flaw | None":
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, text_flaw

        if reply.fault:
            return Flaw("an answer refused by the server", reply.fault[:120])
        if reply.finish == "length":
            return Flaw("an answer cut at the limit", f"{self.max_new_tokens:,} tokens")
        return text_flaw(reply.text, prompt, self.max_new_tokens * CHARACTERS_A_TOKEN)

    def _made(self, askers: Askers, key: str, label: str, prompt: str, answer: str) -> MadeRow:
        from bactrian.data.io.problem_rows import question_hash

        licence, asked = askers.licence(label), {"role": "user", "content": prompt}
        row: Row = {
            "id": question_hash(prompt),
            "messages": [asked, *([{"role": "assistant", "content": answer}] if answer else [])],
            "source": f"magpie by {label}",
            "license": licence,
            "made_by": {"model": label, "draw": int(key), "system": self.system, "licence": licence},
        }
        return MadeRow(key, row, f"{prompt}\n{answer}".strip(), JudgedText(key, (asked,), answer))

    def _passed(self, workspace: "Workspace", made: Sequence[MadeRow], fates: "Fates") -> list[Row]:
        gate = decontamination_gate(workspace, self.gates, self.against, "magpie")
        held = gate.flaws([each.row for each in made]) if gate else [None] * len(made)
        flaws = [
            flaw or own_flaw(each.row, self.gates, each.judged.answer or each.text)
            for flaw, each in zip(held, made, strict=True)
        ]
        return passed(workspace, self.gates, made, flaws, fates, "magpie", novel=True)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Tokens of prompts and answers; operations of the models of this run alone."""
        prompt, answer = answer_tokens(self.prompt_tokens), answer_tokens(self.max_new_tokens)
        kinds = [(float(self.count), OPENING_TOKENS, self.prompt_tokens)]
        if self.answered:
            kinds.append((float(self.count), prompt, self.max_new_tokens))
        loads = tuple(load for kind in kinds for load in sampling_loads(self.generators, inputs, *kind))
        money = sum(expected_money(self.generators, *kind) for kind in kinds)
        judging, more = judge_costs(self.gates.judge, inputs, self.count, prompt + answer)
        loads, money = (*loads, *judging), money + more
        tokens = sum(requests * (asked + answer_tokens(most)) for requests, asked, most in kinds)
        made = Facts(rows=self.count, tokens_per_row=prompt + answer * self.answered)
        memory = 4.0 * max((load.parameters for load in loads), default=0.0) + 1e9
        return Forecast(tokens, sum(load.flops for load in loads), memory, made, sampling=loads, money=money)
