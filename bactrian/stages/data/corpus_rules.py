"""The rules of stage `curate`: each a record of settings, and the sieve that does what it says."""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import Settings

if TYPE_CHECKING:
    from bactrian.data.corpus.bloom import BloomSeen, ExactSeen
    from bactrian.data.corpus.sieves import Sieve

Measured = Annotated[
    Literal["max", "min", "mean", "sum", "count", "share"],
    Field(description="of spans: which of their scores counts, how many there are, or their share of the characters"),
]
EXACT_BYTES = 100
"""Of one key in a set of Python's, about."""


class CorpusRule(Settings, ABC):
    """One rule; `sieve` gives what does it, with a memory of its own."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is called in tables: the rule in words."""

    @property
    @abstractmethod
    def part(self) -> str:
        """What `ablate` calls it."""

    @abstractmethod
    def sieve(self) -> "Sieve":
        """A new one, which has seen nothing yet."""

    @property
    def needed(self) -> str | None:
        """The attribute that some document must have."""
        return None

    def memory(self) -> float:
        """Bytes that it keeps."""
        return 0.0


class AttributeRule(CorpusRule):
    """A rule over one attribute; without `missing` some document must have it."""

    rule: str
    attribute: str
    missing: str | None = None

    @property
    def part(self) -> str:
        return f"{self.rule}-{self.attribute}"

    @property
    def needed(self) -> str | None:
        return self.attribute if self.missing is None else None


class BoundsRule(AttributeRule):
    """Keeps documents whose attribute is within bounds, or drops those."""

    rule: Literal["keep", "drop"]
    attribute: str = Field(description="such as gopher__words, or language__en")
    least: float | None = None
    most: float | None = None
    of: Measured = "max"
    missing: Literal["keep", "drop"] | None = Field(
        None,
        description="what becomes of a document without it; by default `keep` drops and `drop` keeps it, and some "
        "document must have it",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.least is None and self.most is None:
            raise ValueError("expected least, most or both")
        if self.least is not None and self.most is not None and self.most < self.least:
            raise ValueError(f"found most {self.most} below least {self.least}")
        return self

    @property
    def label(self) -> str:
        return (
            f"{self.rule} {self.attribute}{'' if self.of == 'max' else f' ({self.of})'} {bounds(self.least, self.most)}"
        )

    def sieve(self) -> "Sieve":
        from bactrian.data.corpus.sieves import BoundsSieve

        keeps = self.rule == "keep"
        stays = not keeps if self.missing is None else self.missing == "keep"
        return BoundsSieve(self.attribute, self.of, self.least, self.most, keeps, stays)


class ReplaceRule(AttributeRule):
    """Replaces spans in the text, such as lines or personal data; drops documents with more than `limit` of them."""

    rule: Literal["replace"]
    attribute: str = Field(description="spans, such as c4__open_lines, or personal__email")
    by: str = Field("", description="what stands in their place; by default they are cut out")
    least: float | None = Field(None, description="least score of a span")
    most: float | None = Field(None, description="largest score of a span")
    missing: Literal["keep"] | None = Field(
        None, description="keep: no document need have it; the Dolma toolkit leaves attributes without spans out"
    )
    limit: int | None = Field(None, ge=0, description="spans that a document may have; Dolma: 5 of personal data")

    @property
    def label(self) -> str:
        within = bounds(self.least, self.most) if (self.least, self.most) != (None, None) else ""
        what = f"replace {self.attribute} by {self.by!r}" if self.by else f"cut {self.attribute}"
        return " ".join(filter(None, [what, within, f"(at most {self.limit:,})" if self.limit is not None else ""]))

    def sieve(self) -> "Sieve":
        from bactrian.data.corpus.sieves import SpanSieve

        return SpanSieve(self.attribute, self.by, self.least, self.most, self.limit)


class UniqueRule(CorpusRule):
    """Takes out what was there before: documents by their text or a column, or paragraphs (lines) within documents."""

    rule: Literal["unique"]
    of: Literal["text", "paragraph", "column"] = Field("text", description="what may be there once only")
    column: str | None = Field(
        None, description="of: column, such as url, of which scheme, www and fragment do not count"
    )
    by: Literal["exact", "bloom"] = Field(
        "exact", description="all keys, 100 bytes each, or a Bloom filter, which takes some new for known"
    )
    expected: int = Field(1_000_000, ge=1, description="bloom: about how many keys there will be")
    false_positives: float = Field(1e-6, gt=0, lt=1, description="bloom: share of new keys taken for known, once full")
    least_words: int = Field(1, ge=1, description="paragraph: shorter ones may come again")
    limit: float | None = Field(
        None,
        ge=0,
        le=1,
        description="paragraph: documents of whose characters more than this share is known are dropped",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.of == "column") != (self.column is not None):
            raise ValueError("column: give it with `of: column`, and only there")
        return self

    @property
    def label(self) -> str:
        return f"unique {self.column or self.of}"

    @property
    def part(self) -> str:
        return f"{self.rule}-{self.column or self.of}"

    def sieve(self) -> "Sieve":
        from bactrian.data.corpus.sieves import SeenDocuments, SeenParagraphs

        if self.of == "paragraph":
            return SeenParagraphs(self._seen(), self.least_words, self.limit)
        return SeenDocuments(self._seen(), self.column)

    def _seen(self) -> "ExactSeen | BloomSeen":
        from bactrian.data.corpus.bloom import BloomSeen, ExactSeen

        return ExactSeen() if self.by == "exact" else BloomSeen(self.expected, self.false_positives)

    def memory(self) -> float:
        if self.by == "exact":
            return float(EXACT_BYTES * self.expected)
        return -self.expected * math.log(self.false_positives) / math.log(2) ** 2 / 8


def bounds(least: float | None, most: float | None) -> str:
    """In words: "≥ 50", "≤ 0.1", "50 – 100,000"."""
    if least is not None and most is not None:
        return f"{least:,.6g} – {most:,.6g}"
    return f"≥ {least:,.6g}" if least is not None else f"≤ {most:,.6g}"


AnyCorpusRule = Annotated[BoundsRule | ReplaceRule | UniqueRule, Field(discriminator="rule")]
