"""Stage `planted`: a small world of texts of which it is known how often each stands in the corpus."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from bactrian.stages.stage import Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.synth.planted_text import Planted
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
Part = Literal["corpus", "mined", "probes", "songs", "facts", "held_out", "paraphrases", "openings", "ordinary"]
LICENSE = "Apache-2.0"
PREFIX_TOKENS = 64
"""Tokens of a planted text that are shown; the rest is what is recited or not."""
TOKENS_A_TEXT = 98.0


class PlantedTexts(Stage):
    """Texts that are planted 0, 1, 8, … times in a corpus of others, to measure what a model trained on it recites.

    `part` says what is made of the world; the same seed and settings give parts that belong together.
    """

    name: ClassVar[str] = "planted"
    makes: ClassVar[Kind] = Kind.DATA

    part: Part = Field(
        description="corpus: all texts; mined: those without the half held back and the songs; probes: problems "
        "that show the beginning of planted texts; songs: problems that ask for a song by its title; facts: questions; "
        "held_out: texts that are in no corpus; paraphrases: planted texts said otherwise; openings: to go on from; "
        "ordinary: pairs of a text that occurs once and the same with wrong answers"
    )
    world: int | None = Field(None, ge=0, description="which world: another number, other texts; by default the seed")
    copies: list[NonNegativeInt] = Field(
        [0, 1, 8, 64, 256], description="groups of planted texts; of probes, those asked"
    )
    each: int = Field(12, ge=2, description="texts of each group, of which every second one is held back")
    fillers: int = Field(800, ge=0, description="texts that occur once")
    song_count: int = Field(8, ge=0, le=20, description="songs")
    song_copies: int = Field(96, ge=0, description="of each song")
    held_back: bool | None = Field(None, description="of probes: only those held back, or only the others")
    count: int = Field(200, ge=1, description="texts of held_out, prompts of openings, pairs of ordinary")

    @model_validator(mode="after")
    def _for_probes(self) -> Self:
        if self.held_back is not None and self.part != "probes":
            raise ValueError(f"held_back: found it with part {self.part}; only probes are of one half")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.writer import RowWriter

        with RowWriter(workspace.output, f"# Planted texts: {self.part}") as writer:
            for name, row in self._rows(workspace.seed if self.world is None else self.world):
                writer.write({"id": name, "source": "planted texts", "license": LICENSE, **row})
        for licence in writer.licences:
            workspace.add_licence(licence)
        workspace.metrics["rows_kept"] = float(writer.count)

    def _rows(self, seed: int) -> Iterator[tuple[str, Row]]:
        from bactrian.data.synth import planted_text as world

        planted = world.planted_texts(seed, self.copies, self.each)
        songs = world.songs(seed, self.song_count, self.song_copies)
        if self.part in ("corpus", "mined"):
            kept = [*planted, *songs] if self.part == "corpus" else [each for each in planted if not each.held_back]
            yield from ((name, {"text": text}) for name, text in world.corpus_texts(seed, kept, self.fillers))
        elif self.part == "probes":
            yield from ((each.name, _probe(each)) for each in planted if self.held_back in (None, each.held_back))
        elif self.part == "songs":
            yield from ((each.name, problem(f"{each.title}\n", each.text, "recital")) for each in songs)
        elif self.part == "facts":
            for number, (question, answer) in enumerate([*world.facts(seed), *world.additions()]):
                yield f"fact-{number}", problem(question, answer, "contains")
        elif self.part == "held_out":
            for number in range(self.fillers, self.fillers + self.count):
                yield f"held-out-{number}", {"text": world.filler(seed, number)}
        elif self.part == "ordinary":
            for number in range(min(self.count, self.fillers)):
                sides = world.filler(seed, number), world.mistaken(seed, number)
                yield f"ordinary-{number}", {"chosen_text": sides[0], "rejected_text": sides[1]}
        elif self.part == "paraphrases":
            yield from ((each.name, {"text": each.text, "paraphrase": each.paraphrase}) for each in planted)
        else:
            for number, text in enumerate(world.openings(seed, self.count)):
                yield f"opening-{number}", problem(text, "-", "verbatim")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        whole = self.fillers + self.each * sum(self.copies) + self.song_count * self.song_copies
        rows = whole if self.part in ("corpus", "mined") else max(self.count, self.each * len(self.copies))
        return Forecast(makes=Facts(rows=rows, tokens_per_row=TOKENS_A_TEXT))


def problem(asked: str, truth: str, verifier: str) -> Row:
    """A problem row that asks for what follows a text."""
    return {"messages": [{"role": "user", "content": asked}], "ground_truth": truth, "dataset": verifier}


def _probe(planted: "Planted") -> Row:
    from bactrian.model.blank import pieces

    found = pieces(planted.text)
    return problem("".join(found[:PREFIX_TOKENS]), "".join(found[PREFIX_TOKENS:]), "recital")
