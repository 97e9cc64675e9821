"""Stage `noncompliance_prompts`: requests that should not simply be met, or contrasts that should, as rows to use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
MADE_KINDS, MADE_CONTRASTS = 17, 8
"""Kinds that the shipped patterns have."""
TOKENS = {"conversation": 50.0, "problem": 25.0, "pair": 70.0, "examples": 120.0}
"""Of a row, about."""


class NoncompliancePrompts(Stage):
    """Requests of the 17 kinds that should not simply be met [CoCoNot, Brahman et al. 2024], or contrasts of them.

    Made by rules from shipped patterns, or read from rows that name their kind (the published seeds, pairs, or what
    `synthesise` wrote). They become conversations to train on, problems to be answered and judged, pairs (a contrast
    met before it is turned away), or the examples with which a template asks for more.
    """

    name: ClassVar[str] = "noncompliance_prompts"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef | None = Field(
        None, description="rows with prompt and kind (or subcategory); by default made by rules"
    )
    contrast: bool = Field(False, description="requests that look like these and should be met")
    into: Literal["conversation", "problem", "pair", "examples"] = Field(
        "problem", description="what they become; examples: seeds of a template that asks for more"
    )
    per_kind: int = Field(24, ge=1, description="requests of each kind that are made, or rows of examples")
    shown: int = Field(5, ge=1, description="requests that a row of examples shows")
    split: Literal["train", "dev", "unseen"] = Field("train", description="part of the made requests, by their hash")
    limit: int | None = Field(None, ge=1, description="requests at most, of `data` from all kinds in turn")
    skip: int = Field(0, ge=0, description="rows of `data` to leave out, from the first of each kind")
    exclude: list[HeldOutRef] = Field([], description="held-out rows: whatever shares a question with them is dropped")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.into == "pair" and not self.contrast:
            raise ValueError("into: pair makes pairs of contrasts; set contrast: true")
        if self.data is not None and self.into in ("conversation", "pair"):
            raise ValueError(
                f"into: {self.into} needs answers, which `data` does not have: expected problem or examples"
            )
        if self.data is None and self.skip:
            raise ValueError("skip is of `data`; found none")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import write_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say

        tally = Tally()
        requests = self._unlike_held_out(workspace, self._requests(workspace, tally), tally)
        rows = list(self._rows(requests, workspace.seed))
        if not rows:
            raise BactrianError(f"noncompliance_prompts: no row is left\n{tally}")
        for licence in licences(rows):
            workspace.add_licence(licence)
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["kind"]] = counts.get(row["kind"], 0) + 1
        table = "\n".join(f"- {kind}: {count:,}" for kind, count in counts.items())
        write_rows(rows, workspace.output, card=f"# Requests by kind\n\n{table}\n\n```\n{tally}\n```")
        workspace.metrics.update(rows=float(len(rows)), kinds=float(len(counts)), **tally.counts())
        say(f"noncompliance_prompts: {len(rows):,} rows of {len(counts)} kinds; {tally}")

    def _requests(self, workspace: "Workspace", tally: "Tally") -> list[Row]:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.synth.noncompliance.noncompliance_rows import given_requests, made_requests

        if self.data is None:
            wanted = self.per_kind if self.into != "examples" else self.shown
            return list(made_requests(workspace.seed, wanted, self.split, self.contrast))[: self.limit]
        given = workspace.input(self.data)
        found = [request for row, where in stream_rows(given.path) for request in given_requests(row, where)]
        for request in found:
            if not request["kind"]:
                tally.drop("none of the 17 kinds", request["prompt"][:80])
        terms = " + ".join(sorted({each.licence for each in given.licences}))
        return [{"license": terms, **request} for request in self._in_turn(found)]

    def _in_turn(self, requests: Sequence[Row]) -> list[Row]:
        """`limit` of the requests after the first `skip` of each kind, one of each kind in turn."""
        waiting: dict[str, list[Row]] = {}
        for request in (each for each in requests if each["kind"]):
            waiting.setdefault(request["kind"], []).append(request)
        kept = {kind: mine[self.skip :] for kind, mine in waiting.items()}
        longest = max(map(len, kept.values()), default=0)
        turns = [mine[turn] for turn in range(longest) for mine in kept.values() if turn < len(mine)]
        return turns[: self.limit]

    def _unlike_held_out(self, workspace: "Workspace", requests: Sequence[Row], tally: "Tally") -> list[Row]:
        """Those that share no question with held-out rows, each once."""
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.problem_rows import question_hash, question_keys

        known = {
            key for ref in self.exclude for row in read_rows(workspace.input(ref).path) for key in question_keys(row)
        }
        kept = []
        for request in requests:
            key = question_hash(request["prompt"])
            if key in known:
                tally.drop("held out, or came before", request["prompt"][:80])
                continue
            known.add(key)
            tally.keep()
            kept.append(request)
        return kept

    def _rows(self, requests: Sequence[Row], seed: int) -> Iterator[Row]:
        from bactrian.data.synth.noncompliance.noncompliance_rows import as_conversation, as_pair, as_problem, few_shot

        if self.into == "examples":
            yield from few_shot(requests, seed, self.per_kind, self.shown)
        for request in requests if self.into != "examples" else ():
            if self.into == "problem":
                yield as_problem(request, self.contrast)
            else:
                yield as_pair(request) if self.into == "pair" else as_conversation(request)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        kinds = MADE_CONTRASTS if self.contrast else MADE_KINDS
        rows = kinds * self.per_kind
        if self.data is not None and self.into == "problem":
            rows = min(inputs.get(self.data, Facts()).rows, self.limit or 10**12)
        return Forecast(makes=Facts(rows=rows, tokens_per_row=TOKENS[self.into]))
