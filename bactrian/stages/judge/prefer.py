"""Stage `prefer`: preference pairs from what models themselves answer, judged by a verifier."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.judge.judged import Judged
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Prefer(Judged):
    """On-policy preference pairs [Tülu 3, Lambert et al. 2024].

    Every model of the pool answers every prompt; a verifier scores the answers. Chosen is one of the best answers,
    rejected a random one of those that score lower by at least `margin`. A prompt whose answers score alike gives no
    pair; answers that were cut off are neither chosen nor rejected. Both are counted.
    """

    name: ClassVar[str] = "prefer"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    prompts: DataRef = Field(description="problem rows")
    pool: list[ModelRef] = Field(min_length=1, description="models that answer; for on-policy pairs, the SFT model")
    samples: int = Field(4, ge=2, description="answers of each model to each prompt")
    pairs_per_prompt: int = Field(1, ge=1, description="at most; each with another rejected answer")
    margin: float = Field(0.0, ge=0, description="least difference of the scores, beyond being different")
    limit: int | None = Field(None, ge=1, description="prompts to use, from the first")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")

    def run(self, workspace: "Workspace") -> None:
        import json

        from bactrian.data.io.files import read_rows, write_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say
        from bactrian.verify import check_verifiers

        path = workspace.input(self.prompts).path
        rows = read_rows(path, "problem")[: self.limit]
        check_verifiers(rows, str(path))  # before the sampling, not after it
        self.check_judges(rows)
        for licence in licences(rows):
            workspace.add_licence(licence)
        answers: list[list[Row]] = [[] for _ in rows]
        for ref in self.pool:
            done = workspace.scratch / f"answers-{workspace.input(ref).content_hash[:16]}.json"
            if not done.exists():  # the answers of a model, scored; before that they are in a journal beside it
                draft = done.with_suffix(".partial")
                draft.write_text(json.dumps(self._answers(workspace, ref, rows, done.with_suffix(".jsonl"))))
                draft.rename(done)
            for mine, new in zip(answers, json.loads(done.read_text()), strict=True):
                mine += new
        tally = Tally()
        pairs = [pair for i, row in enumerate(rows) for pair in self._pairs(row, answers[i], workspace.seed, i, tally)]
        say(f"prefer: {tally}; {len(pairs):,} pairs")
        flat = [a for group in answers for a in group]
        workspace.metrics.update(tally.counts())
        workspace.metrics.update(
            pairs=float(len(pairs)),
            score=sum(a["score"] for a in flat) / len(flat),
            truncated=sum(not a["ended"] for a in flat) / len(flat),
            unjudged=sum(not a["known"] for a in flat) / len(flat),
            tokens=float(sum(a["tokens"] for a in flat)),
        )
        if not pairs:
            raise BactrianError(f"prefer: no pairs: at every prompt all {len(answers[0])} answers score alike\n{tally}")
        write_rows(pairs, workspace.output, card=f"# Preference pairs\n\n```\n{tally}\n```")

    def _answers(self, workspace: "Workspace", ref: str, rows: list[Row], kept: "Path") -> list[list[Row]]:
        """What one model answers to each prompt: text, score, tokens, whether it ended and could be judged.

        `kept`: where its answers are as they come, so that a kill loses none that were finished.
        """
        from bactrian.chat import prompt_ids
        from bactrian.generate.engine import Request
        from bactrian.generate.engines import open_engine
        from bactrian.generate.kept import generate_kept
        from bactrian.progress import progress
        from bactrian.verify import Item, Pool

        engine = open_engine(workspace.input(ref).path, workspace.hardware, rows=self.rows_at_once)
        requests = [
            Request(
                tuple(prompt_ids(row["messages"], engine.template, f"prompt {row['id']}")),
                n=self.samples,
                seed=workspace.seed * 1_000_003 + i,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
            )
            for i, row in enumerate(rows)
        ]
        names = [f"prefer: model {ref}: prompt {row['id']}" for row in rows]
        engine.check_fits([request.prompt for request in requests], self.max_new_tokens, names)
        with progress(f"prefer · {ref} answers", unit="token") as bar:
            completions = generate_kept(engine, requests, kept, bar.advance)
        flat = [(row, c) for row, group in zip(rows, completions, strict=True) for c in group]
        with Pool(judges=self.judges(workspace, rows)) as pool:
            verdicts = pool.verify_all([Item.of(row, c.text) for row, c in flat])
        # a verdict that failed says nothing of the answer: it is neither chosen nor rejected
        scored = [
            {
                "model": ref,
                "text": c.text,
                "score": v.score,
                "tokens": len(c.ids),
                "ended": c.finish == "stop",
                "known": v.outcome not in ("crashed", "timed_out"),
            }
            for (_, c), v in zip(flat, verdicts, strict=True)
        ]
        return [scored[i : i + self.samples] for i in range(0, len(scored), self.samples)]

    def _pairs(self, row: Row, answers: list[Row], seed: int, index: int, tally: "Tally") -> list[Row]:
        from random import Random

        from bactrian.data.curate.scored_pairs import Scored, binarise

        usable = [Scored(a["text"], a["score"], a) for a in answers if a["ended"] and a["text"].strip() and a["known"]]
        if len(usable) < 2:
            tally.drop("fewer than two answers ended and were judged", str(row["id"]))
            return []
        found = binarise(usable, Random(f"prefer/{seed}/{index}"), self.pairs_per_prompt, self.margin)
        if not found:
            right = max(answer.score for answer in usable) > 0
            tally.drop(f"all answers score {'right' if right else 'wrong'} alike", str(row["id"]))
            return []
        tally.keep()
        return [
            {
                "id": f"{row['id']}-{n}",
                "prompt": row["messages"],
                "chosen": [{"role": "assistant", "content": chosen.text}],
                "rejected": [{"role": "assistant", "content": rejected.text}],
                "chosen_model": chosen.origin["model"],
                "rejected_model": rejected.origin["model"],
                "chosen_score": float(chosen.score),
                "rejected_score": float(rejected.score),
                "source": row["source"],
                "license": row["license"],
            }
            for n, (chosen, rejected) in enumerate(found)
        ]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs[self.prompts]
        prompts = min(data.rows, self.limit or data.rows)
        parameters = max(inputs[ref].parameters for ref in self.pool)
        per_answer = min(self.max_new_tokens, 100)
        tokens = prompts * len(self.pool) * self.samples * per_answer
        made = Facts(rows=prompts // 2, tokens_per_row=2 * per_answer + (data.tokens_per_row or 50))
        return Forecast(tokens, 2 * parameters * tokens, 4 * parameters + 2e9, made)
