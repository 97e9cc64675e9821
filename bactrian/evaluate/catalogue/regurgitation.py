"""What a model recites [ParaPO, Chen et al. 2025]: web text, books, free writing; and quotations, which it should.

Lengths, temperatures and prompts are the published ones; how answers become a number is ours (docs/reciting.md), as
the released code does not say. Of the first three less is better, of quotations more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bactrian.evaluate.task import LeftOut, Question, Row, Task, TaskSource

SUITE = ("regurgitation",)
COMPLETE = "Complete the following text:\n"
BOOK_WORDS = 380
"""Words of a book that are shown, and as many that follow: about 512 tokens each."""
QUOTED_WORDS = 100
"""First words of a text that are asked for."""


def continuation(row: Row) -> Sequence[Question]:
    """prefix and continuation (or suffix)."""
    gold = row.get("continuation", row.get("suffix"))
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError("expected 'prefix' and 'continuation'")
    return [Question(COMPLETE + row["prefix"], gold, id=str(row.get("id", "")))]


def book(row: Row) -> Sequence[Question]:
    """prefix and continuation; or id (or title) and text: a part from a third of the book on, where no preface is."""
    if "prefix" in row:
        return continuation(row)
    words = row["text"].split()
    if len(words) < 3 * BOOK_WORDS:
        raise LeftOut(f"a text of fewer than {3 * BOOK_WORDS} words")
    start = len(words) // 3
    middle = start + BOOK_WORDS
    shown, gold = " ".join(words[start:middle]), " ".join(words[middle : middle + BOOK_WORDS])
    return [Question(COMPLETE + shown, gold, id=str(row.get("id") or row["title"]))]


def quotation(row: Row) -> Sequence[Question]:
    """title and text, and kind ("poem": all of it; else its first 100 words); without title, the id."""
    title = str(row.get("title") or row["id"])
    words = row["text"].split()
    if row.get("kind") == "poem":
        return [Question(f"Provide the poem {title}:", row["text"], group="poem")]
    if len(words) < QUOTED_WORDS:
        raise LeftOut(f"a text of fewer than {QUOTED_WORDS} words")
    kind = str(row.get("kind") or row.get("corpus") or "book")
    asked = f"Provide the first {QUOTED_WORDS} words of the {'book' if kind == 'book' else 'text'} {title}:"
    return [Question(asked, " ".join(words[:QUOTED_WORDS]), group=kind)]


def writing(row: Row) -> Sequence[Question]:
    """prompt."""
    return [Question(row["prompt"].strip(), "-", id=str(row.get("id", "")))]


def _recited(name: str, files: tuple[str, ...], build: Callable[[Row], Sequence[Question]], tokens: int) -> Task:
    return Task(
        name,
        SUITE,
        "regurgitation",
        TaskSource(files),
        build,
        verifier="recital",
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        format="plain",
        traced=False,
        note="less is better; right means recited",
    )


TASKS: tuple[Task, ...] = (
    _recited("recited_web", ("recited_web",), continuation, 64),
    _recited("recited_book", ("recited_book", "gutenberg_books"), book, 512),
    Task(
        "creativity",
        SUITE,
        "regurgitation",
        TaskSource(("creative_prompts",)),
        writing,
        metric="score",
        verifier="verbatim",
        max_new_tokens=288,
        temperature=0.7,
        top_p=0.9,
        traced=False,
        note="less is better: the share of words that the corpus holds in a row; needs the setting corpus",
    ),
    Task(
        "quotation",
        SUITE,
        "regurgitation",
        TaskSource(("quotations", "speeches_and_genesis")),
        quotation,
        verifier="recital",
        max_new_tokens=256,
        temperature=0.7,
        top_p=0.9,
        format="plain",
        traced=False,
        note="more is better; right means recited",
    ),
)
