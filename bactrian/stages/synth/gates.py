"""Settings of what made rows must pass, and passing them: each row kept, or dropped with the first reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Need, Settings
from bactrian.stages.synth.judge_gate import ABSTAINS, JudgedText, JudgeGate, gate_verdicts
from bactrian.store.manifest import Decontamination

if TYPE_CHECKING:
    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.row_gates import DecontaminationGate
    from bactrian.stages.synth.fates import Fates
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Gates(Settings):
    """What a made row must pass, besides what its step asks of it; the first that it fails is why it is dropped."""

    refusals: bool = Field(True, description="drop answers that open with a refusal")
    identities: bool = Field(True, description="drop rows that name another assistant, or a date of knowledge")
    languages: list[str] = Field([], description="keep rows in these languages, ISO 639 codes; by default any")
    novelty: float | None = Field(
        0.7, gt=0, le=1, description="drop a prompt whose ROUGE-L with one before it is above this; null: keep"
    )
    near: float | None = Field(
        None, ge=0.5, le=1, description="drop a row that is at least so like one before it, as deduplicate has it"
    )
    judge: JudgeGate | None = Field(None, description="who judges what has passed all the others")
    decontaminate: bool = Field(True, description="drop rows that hold test items: known ones, and those of `against`")
    known: bool = Field(
        True, description="look for the items of all known test sets in the folders of evaluation sets, too"
    )
    n: int = Field(8, ge=1, le=64, description="words of an n-gram, where test items are looked for")
    overlap: float = Field(0.5, gt=0, le=1, description="share of an item's words in shared n-grams of one row")

    def needs(self) -> Iterable[Need]:
        """Of the language filter, and of MinHash."""
        if self.languages:
            yield Need("gates: languages", "data")
        if self.near is not None:
            yield Need("gates: near", "data")


@dataclass(frozen=True)
class MadeRow:
    """A row on its way through the gates.

    key: which answer made it. text: what the generator wrote, for the record. mended: what had to be mended in it.
    judged: what a judge reads of it.
    """

    key: str
    row: Row
    text: str
    judged: JudgedText
    mended: tuple[str, ...] = ()


def check_against(gates: Gates, against: Sequence[str]) -> None:
    """For validators of settings.

    Raises:
        ValueError: test items are to be looked for, and none can be there; or the other way round.
    """
    if gates.decontaminate and not (against or gates.known):
        raise ValueError(
            "found no `against` beside `gates: {known: false}`: name the test items that no made row may hold, or say "
            "`gates: {decontaminate: false}`"
        )
    if against and not gates.decontaminate:
        raise ValueError("found `against` beside `gates: {decontaminate: false}`, expected one of them")


def with_known(gates: Gates, against: Sequence[str]) -> list[str]:
    """`against`, and the folders in which `evaluate` looks for test sets, where they hold known ones.

    Raises:
        BactrianError: there is none of either.
    """
    from bactrian.data.overlap.benchmarks import holds_known
    from bactrian.evaluate.task_rows import HERE, VARIABLE, folders

    if not (gates.decontaminate and gates.known):
        return list(against)
    found = [str(folder.resolve()) for folder in folders() if holds_known(folder)]
    if not (found or against):
        raise BactrianError(
            f"no test items are at hand, so nothing can say whether rows hold any: found no known test set in the "
            f"folders that {VARIABLE} names, nor in ./{HERE}; name test items in `against`, or say "
            "`gates: {decontaminate: false}`"
        )
    return list(dict.fromkeys([*against, *found]))


def decontamination_gate(
    workspace: "Workspace", gates: Gates, against: Sequence[str], name: str
) -> "DecontaminationGate | None":
    """The gate, noted in the manifest; None where it is off.

    Raises:
        BactrianError: the test items cannot be read, or there are none.
    """
    from bactrian.data.overlap.benchmarks import KNOWN, known_as, read_benchmarks
    from bactrian.data.synth.row_gates import DecontaminationGate
    from bactrian.progress import say

    if not gates.decontaminate:
        return None
    items = [item for ref in against for item in read_benchmarks(workspace.input(ref).path, ref, {})]
    gate = DecontaminationGate(items, gates.n, gates.overlap)
    there = {known.name for name_of in gate.benchmarks if (known := known_as(name_of)) is not None}
    absent = sorted({known.name for known in KNOWN} - there - set(gate.benchmarks))
    say(
        f"{name}: rows are held against {len(items):,} items of {len(gate.benchmarks)} test sets; known and not at "
        f"hand: {', '.join(absent) or 'none'}"
    )
    workspace.decontamination = Decontamination(data=name, against=gate.benchmarks, rule=gate.rule, left=0.0)
    return gate


def passed(
    workspace: "Workspace",
    gates: Gates,
    made: Sequence[MadeRow],
    flaws: "Sequence[Flaw | None]",
    fates: "Fates",
    name: str,
    novel: bool = False,
    reached: str = "kept",
) -> list[Row]:
    """The rows that pass what looks at several, in this order: test items (`flaws` has them), ROUGE-L, MinHash, judge.

    The judge comes last, as it costs most. What it abstains on is kept apart.

    Args:
        flaws: of each row why it is dropped already, or None.
        novel: whether the rows' prompts have to be new (solutions to one problem share theirs).
        reached: what the funnel calls those that pass.

    Raises:
        BactrianError: of the judge.
    """
    from bactrian.data.synth.row_gates import NoveltyGate, near_flaws

    left = []
    gate = NoveltyGate(gates.novelty) if novel and gates.novelty is not None else None
    for each, flaw in zip(made, flaws, strict=True):
        if flaw := flaw or (gate.flaw(each.row) if gate else None):
            fates.drop(each.key, flaw, each.text)
        else:
            left.append(each)
    if gates.near is not None:
        left = _unflawed(left, near_flaws([each.row for each in left], gates.near), fates)
    if gates.judge is not None and left:
        left = _judged(workspace, gates.judge, left, fates, name)
    for each in left:
        fates.keep(each.mended, each.key)
    fates.reach(reached, len(left))
    return [each.row for each in left]


def _judged(
    workspace: "Workspace", gate: JudgeGate, rows: Sequence[MadeRow], fates: "Fates", name: str
) -> list[MadeRow]:
    fates.reach("judged", len(rows))
    found = gate_verdicts(workspace, gate, [each.judged for each in rows], name)
    fates.judge = found.record
    workspace.metrics.update(found.metrics)
    scored = []
    for each, flaw, score in zip(rows, found.flaws, found.scores, strict=True):
        said = {"judge": gate.label, "calibrated": gate.calibrated, "score": score}
        scored.append(replace(each, row={**each.row, "judged_by": said}))
        if flaw is not None and flaw.reason == ABSTAINS:
            fates.apart.append(scored[-1].row)
    return _unflawed(scored, found.flaws, fates)


def _unflawed(rows: Sequence[MadeRow], flaws: "Sequence[Flaw | None]", fates: "Fates") -> list[MadeRow]:
    for each, flaw in zip(rows, flaws, strict=True):
        if flaw is not None:
            fates.drop(each.key, flaw, each.text)
    return [each for each, flaw in zip(rows, flaws, strict=True) if flaw is None]


def own_flaw(row: Row, gates: Gates, written: str) -> "Flaw | None":
    """What of the gates that look at one row alone it fails; `written`: what the generator wrote in it."""
    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.row_gates import identity_gate, language_gate
    from bactrian.verify.final_answer import declines

    if gates.refusals and declines(written):
        return Flaw("a refusal", repr(written[:80]))
    if gates.identities and (flaw := identity_gate(row)):
        return flaw
    return language_gate(row, gates.languages) if gates.languages else None


def verdict_flaws(rows: Sequence[tuple[Mapping[str, Any], str]]) -> "list[Flaw | None]":
    """For each (problem row, answer) why its verifier does not call the answer right, or None.

    Raises:
        BactrianError: an unknown verifier, or one whose extra is not installed.
    """
    from bactrian.data.curate.quality import Flaw
    from bactrian.verify import Item, Pool

    with Pool() as pool:
        verdicts = pool.verify_all([Item.of(row, answer) for row, answer in rows])
    return [
        None if each.outcome == "right" else Flaw(f"the verifier says {each.outcome}", each.reason[:120])
        for each in verdicts
    ]
