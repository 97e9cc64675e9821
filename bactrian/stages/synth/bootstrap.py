"""Stage `self_instruct`: tasks and their instances from a few hand-written ones, by the model's own continuation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Stage, answer_tokens
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
    from bactrian.data.synth.rouge_novelty import RougePool
    from bactrian.data.synth.self_instruct import AcceptedTask, SeedTask
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
YIELDED = 8.0
"""Instructions that one prompt asks for."""
ACCEPTED = 0.5
"""Share of them that is taken, about; for the forecast alone."""
INSTANCE_TOKENS, LABEL_TOKENS, SHOWN_TOKENS = 350, 300, 600.0
NEAREST = 10
"""Neighbours in the pool that are noted of each instruction, for audit."""


class SelfInstruct(Stage):
    """Instructions and instances bootstrapped from seeds [Self-Instruct, Wang et al. 2023], with a table of yields.

    A prompt shows 6 seeds and 2 tasks made before, and asks for more; what is out of form or like anything in the pool
    (ROUGE-L) is dropped. Then each task is told from a classification, and gets instances: input first, or label first.
    """

    name: ClassVar[str] = "self_instruct"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    seeds: DataRef = Field(description="tasks by people: instruction, instances, is_classification; or conversations")
    generators: list[DataGenerator] = Field(min_length=1, description="who writes; requests are drawn by weight")
    count: int = Field(52_000, ge=1, description="instructions that are made")
    prompts_per_round: int = Field(64, ge=1, description="prompts that are asked before the pool is looked at again")
    idle_rounds: int = Field(5, ge=1, description="rounds in a row that yield nothing, after which it ends")
    temperature: float = Field(0.7, ge=0, description="of sampling instructions; the rest is greedy")
    top_p: float = Field(0.5, gt=0, le=1, description="of sampling instructions")
    presence_penalty: float = Field(2.0, ge=-2, le=2, description="of sampling instructions")
    instances_penalty: float = Field(1.5, ge=-2, le=2, description="presence penalty of instances")
    max_new_tokens: int = Field(1024, ge=1, description="of a list of instructions, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers that a model of this run samples side by side")
    budget: SynthesisBudget = Field(SynthesisBudget(), description="where asking stops")
    failures: float = Field(0.02, ge=0, le=1, description="share of answers that servers may refuse to give")
    gates: Gates = Field(Gates(), description="what rows must pass; novelty is that of instructions")
    against: list[HeldOutRef] = Field(
        [], description="test items that no row may hold, besides the known ones: files, Hub ids or steps"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_generators(self.generators, self.budget)
        check_against(self.gates, self.against)
        check_judge_gate(self.gates.judge, False, "an instance has one")
        if self.gates.novelty is None:
            raise ValueError("gates.novelty: found null, expected a bound: the loop would make the same for ever")
        return self

    def resolved(self) -> Self:
        """With the known test sets that are at hand."""
        return self.model_copy(update={"against": with_known(self.gates, self.against)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.diversity import diversity
        from bactrian.progress import say
        from bactrian.stages.synth.fates import Fates, cost_lines

        seeds, licence = self._seeds(workspace)
        fates = Fates()
        with Askers(workspace, self.generators, self.budget, self.rows_at_once) as askers:
            tasks = self._tasks(askers, seeds, workspace.seed, fates)
            self._classify(askers, seeds, tasks, workspace.seed, fates)
            made = self._instances(askers, seeds, tasks, workspace.seed, fates, licence)
            cost = askers.metrics()
            askers.note_licences()
        kept = self._passed(workspace, made, fates)
        if not kept:
            raise BactrianError(f"self_instruct: no row is left\n{fates.tally}")
        table = "\n".join(f"| {step} | {count:,} |" for step, count in fates.funnel.items())
        told = f"{cost_lines(cost)} {fates.warning}".strip()
        card = f"# Self-Instruct\n\n| | |\n|---|---:|\n{table}\n\n{told}\n\n```\n{fates.tally}\n```"
        with RowWriter(workspace.output, card) as writer:
            for row in kept:
                writer.write(row)
        for found in writer.licences:
            workspace.add_licence(found)
        self._audit(workspace, seeds, tasks)
        varied = diversity([task.instruction for task in tasks], workspace.seed)
        fates.write(workspace.output, cost=cost, diversity=varied)
        workspace.metrics.update(fates.tally.counts(), **cost, instructions=float(len(tasks)))
        say(f"self_instruct: {len(tasks):,} instructions, {len(kept):,} instances; {told}\n{table}")

    def _seeds(self, workspace: "Workspace") -> "tuple[list[SeedTask], str]":
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row
        from bactrian.data.synth.made_rows import joined_licence
        from bactrian.data.synth.self_instruct import seed_task

        path = workspace.input(self.seeds).path
        found = [(seed_task(row, where), complete_row(row, path.name)) for row, where in stream_rows(path)]
        stated = {each.licence for each in workspace.input(self.seeds).licences}
        rows = {str(row["license"]) for _, row in found}
        return [task for task, _ in found], joined_licence(*sorted(stated or rows))

    def _tasks(self, askers: Askers, seeds: "Sequence[SeedTask]", seed: int, fates: "Fates") -> "list[AcceptedTask]":
        """Rounds of prompts until there are enough instructions. The same answers give the same rounds."""
        from bactrian.data.synth.rouge_novelty import RougePool
        from bactrian.data.synth.self_instruct import known_instructions

        human = known_instructions(seeds)
        pool = RougePool(self.gates.novelty or 1.0)
        for text in human:
            pool.add(text)
        tasks: list[AcceptedTask] = []
        round_, idle = 0, 0
        while len(tasks) < self.count and idle < self.idle_rounds and not askers.spending.spent:
            requests = dict(self._listed(human, [task.instruction for task in tasks], seed, round_))
            fates.ask("self-instruct, instructions", requests)
            replies = askers.ask(requests, f"self_instruct · instructions, round {round_ + 1}")
            check_refused(replies.values(), self.failures, "self_instruct")
            before = len(tasks)
            fates.reach("prompts for instructions", len(replies))
            for key, reply in replies.items():
                self._take(key, requests[key], reply, pool, tasks, fates)
            idle = idle + 1 if len(tasks) == before else 0
            round_ += 1
        return tasks

    def _listed(
        self, human: Sequence[str], made: Sequence[str], seed: int, round_: int
    ) -> "list[tuple[str, tuple[str, ChatRequest]]]":
        from random import Random

        from bactrian.data.synth.self_instruct import LIST_ENDS, more_instructions, shown

        asked = []
        for number in range(self.prompts_per_round):
            key = f"instructions/{round_}/{number}"
            text = more_instructions(shown(human, made, Random(f"self_instruct/{seed}/{key}")))
            how = (self.max_new_tokens, self.presence_penalty, self.temperature, self.top_p)
            asked.append((key, self._request(key, text, seed, *how, LIST_ENDS)))
        return asked

    def _request(
        self,
        key: str,
        text: str,
        seed: int,
        most: int,
        presence: float = 0.0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: tuple[str, ...] = (),
    ) -> "tuple[str, ChatRequest]":
        from random import Random

        from bactrian.generate.chat_request import ChatRequest

        own = Random(f"self_instruct/{seed}/{key}/seed").randrange(2**31)
        request = ChatRequest(
            ({"role": "user", "content": text},),
            f"self_instruct: {key}",
            own,
            most,
            temperature,
            top_p,
            presence_penalty=presence,
            stop=stop,
        )
        return drawn(self.generators, seed, key).label, request

    def _take(
        self,
        key: str,
        asked: "tuple[str, ChatRequest]",
        reply: "ChatReply",
        pool: "RougePool",
        tasks: "list[AcceptedTask]",
        fates: "Fates",
    ) -> None:
        """Take what is new of a list into the pool."""
        from hashlib import sha256

        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, text_flaw
        from bactrian.data.synth.self_instruct import AcceptedTask, instruction_flaw, listed_instructions

        prompt = str(asked[1].messages[-1]["content"])
        flaw = text_flaw(reply.text, prompt, self.max_new_tokens * CHARACTERS_A_TOKEN)
        items = [] if flaw else listed_instructions(reply.text, reply.finish == "length")
        if not items:
            fates.drop(key, flaw or Flaw("no list"), reply.text)
        fates.reach("instructions proposed", len(items))
        for text in items:
            if len(tasks) == self.count:
                fates.drop(key, Flaw("enough instructions"), text)
                continue
            like = pool.like(text) if (flaw := instruction_flaw(text)) is None else None
            if flaw is None and like is not None:
                flaw = Flaw(f"like another instruction (ROUGE-L above {pool.threshold:g})", f"{like[1]:.3f}")
            if flaw is not None:
                fates.drop(key, flaw, text)
                continue
            origin = {"model": asked[0], "prompt": sha256(prompt.encode()).hexdigest()[:16], "seed": key}
            tasks.append(AcceptedTask(text, origin, pool.nearest(text, NEAREST)))
            pool.add(text)
            fates.reach("instructions taken", 1)

    def _classify(
        self, askers: Askers, seeds: "Sequence[SeedTask]", tasks: "Sequence[AcceptedTask]", seed: int, fates: "Fates"
    ) -> None:
        """Tell classifications from other tasks; an answer that is neither yes nor no counts as no.

        All prompts show the same examples, as the paper's do: whoever answers reads the shared beginning once.
        """
        from random import Random

        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.self_instruct import is_classification, said_yes

        requests = {}
        for number, task in enumerate(tasks):
            key = f"kind/{number}"
            text = is_classification(seeds, task.instruction, Random(f"self_instruct/{seed}/kind"))
            requests[key] = self._request(key, text, seed, 8)
        for key, reply in askers.ask(requests, "self_instruct · kinds").items():
            said = said_yes(reply.text)
            fates.reach("kinds unclear" if isinstance(said, Flaw) else "kinds told", 1)
            tasks[int(key.partition("/")[2])].classification = said is True
        fates.reach("classifications", sum(task.classification for task in tasks))

    def _instances(
        self,
        askers: Askers,
        seeds: "Sequence[SeedTask]",
        tasks: "Sequence[AcceptedTask]",
        seed: int,
        fates: "Fates",
        licence: str,
    ) -> list[tuple[str, Row]]:
        """Rows of the instances that pass the paper's filters, by the keys of their answers."""
        from random import Random

        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.made_rows import joined_licence
        from bactrian.data.synth.replies import CHARACTERS_A_TOKEN, text_flaw
        from bactrian.data.synth.self_instruct import instance_flaws, instances_wanted, read_instances

        requests = {}
        for number, task in enumerate(tasks):
            key, most = f"instances/{number}", LABEL_TOKENS if task.classification else INSTANCE_TOKENS
            text = instances_wanted(seeds, task.instruction, task.classification, Random(f"self_instruct/{seed}/shown"))
            requests[key] = self._request(key, text, seed, most, self.instances_penalty)
        fates.ask("self-instruct, instances", requests)
        rows: list[tuple[str, Row]] = []
        for key, reply in askers.ask(requests, "self_instruct · instances").items():
            task = tasks[int(key.partition("/")[2])]
            most = requests[key][1].max_new_tokens * CHARACTERS_A_TOKEN
            flaw = text_flaw(reply.text, str(requests[key][1].messages[-1]["content"]), most)
            found = [] if flaw else read_instances(reply.text, task.classification, reply.finish == "length")
            if not found:
                fates.drop(key, flaw or Flaw("no instance in form", repr(reply.text[:60])), reply.text)
            fates.reach("instances proposed", len(found))
            terms = joined_licence(licence, askers.licence(str(task.origin["model"])), askers.licence(requests[key][0]))
            for number, (each, flaw) in enumerate(zip(found, instance_flaws(found), strict=True)):
                if flaw is not None:
                    fates.drop(key, flaw, f"{each.input}\n{each.output}")
                else:
                    rows.append((f"{key}/{number}", self._row(task, each, requests[key][0], terms)))
        return rows

    @staticmethod
    def _row(task: "AcceptedTask", each: Any, model: str, licence: str) -> Row:
        from bactrian.data.io.problem_rows import question_hash
        from bactrian.data.synth.self_instruct import instance_prompt

        prompt = instance_prompt(task.instruction, each)
        return {
            "id": question_hash(f"{prompt}\n{each.output}"),
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": each.output}],
            "instruction": task.instruction,
            "is_classification": task.classification,
            "source": f"self-instruct by {model}",
            "license": licence,
            "made_by": {**task.origin, "instances_model": model, "licence": licence},
        }

    @staticmethod
    def _audit(workspace: "Workspace", seeds: "Sequence[SeedTask]", tasks: "Sequence[AcceptedTask]") -> None:
        """instructions.jsonl: each instruction with its neighbours in the pool as that was then, for a reader's eye."""
        import json

        from bactrian.data.synth.self_instruct import known_instructions

        pool = [*known_instructions(seeds), *(task.instruction for task in tasks)]
        with (workspace.output / "instructions.jsonl").open("w", encoding="utf-8") as file:
            for task in tasks:
                nearest = [{"instruction": pool[number], "rouge_l": score} for number, score in task.nearest]
                said = {"instruction": task.instruction, "is_classification": task.classification, "nearest": nearest}
                file.write(json.dumps(said, ensure_ascii=False) + "\n")

    def _passed(self, workspace: "Workspace", made: Sequence[tuple[str, Row]], fates: "Fates") -> list[Row]:
        gate = decontamination_gate(workspace, self.gates, self.against, "self_instruct")
        held = gate.flaws([row for _, row in made]) if gate else [None] * len(made)
        rows = []
        for key, row in made:
            asked, answered = row["messages"]
            text = f"{asked['content']}\n{answered['content']}"
            rows.append(MadeRow(key, row, text, JudgedText(key, (asked,), answered["content"])))
        flaws = [
            flaw or own_flaw(each.row, self.gates, each.judged.answer) for flaw, each in zip(held, rows, strict=True)
        ]
        return passed(workspace, self.gates, rows, flaws, fates, "self_instruct", reached="instances kept")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Tokens of lists, kinds and instances; operations of the models of this run alone."""
        lists = self.count / (YIELDED * ACCEPTED)
        kinds = [(lists, 300.0, self.max_new_tokens), (self.count, SHOWN_TOKENS, 8)]
        kinds.append((self.count, SHOWN_TOKENS, INSTANCE_TOKENS))
        loads = tuple(load for kind in kinds for load in sampling_loads(self.generators, inputs, *kind))
        tokens = sum(requests * (asked + answer_tokens(most)) for requests, asked, most in kinds)
        memory = 4.0 * max((load.parameters for load in loads), default=0.0) + 1e9
        made = Facts(rows=round(1.5 * self.count), tokens_per_row=150)
        money = sum(expected_money(self.generators, *kind) for kind in kinds)
        judging, more = judge_costs(self.gates.judge, inputs, made.rows, made.tokens_per_row)
        loads, money = (*loads, *judging), money + more
        return Forecast(tokens, sum(load.flops for load in loads), memory, made, sampling=loads, money=money)
