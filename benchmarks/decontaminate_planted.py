"""Precision and recall of each decontamination mode on planted overlaps, by the kind of edit.

    python benchmarks/decontaminate_planted.py [--data ../shared/data]

Items of at least 16 words, of all known benchmarks in the folder, are copied into rows, each edited in one way. Besides
there are rows of the same kinds of text that hold no item: training questions of GSM8K, stretches of books and the web.
Recall: of the rows with a copy, the share in which that item is found. Precision: of the rows in which anything is
found, the share that hold a copy. The last line is JSON.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.data.files import stream_rows
from bactrian.data.overlap.asked import texts_of
from bactrian.data.overlap.benchmarks import read_benchmarks
from bactrian.data.overlap.index import Index
from bactrian.data.overlap.match import Matcher, Texts
from bactrian.data.overlap.meaning import Encoder, MeaningMatcher, default_folder
from bactrian.data.overlap.scan import Matching
from bactrian.data.overlap.whole import WholeMatcher
from bactrian.data.overlap.words import split

Edit = Callable[[random.Random, str, list[str]], str]


def every(period: int, change: Callable[[random.Random, str, list[str]], str]) -> Edit:
    """An edit that changes one word of each `period`, at random places."""

    def edit(draw: random.Random, text: str, vocabulary: list[str]) -> str:
        words = text.split()
        for first in range(0, len(words), period):
            place = min(len(words) - 1, first + draw.randrange(period))
            words[place] = change(draw, words[place], vocabulary)
        return " ".join(words)

    return edit


def other_word(draw: random.Random, word: str, vocabulary: list[str]) -> str:
    return draw.choice(vocabulary)


def typo(draw: random.Random, word: str, vocabulary: list[str]) -> str:
    place = draw.randrange(len(word))
    return word[:place] + draw.choice("aeioutnrs") + word[place + 1 :]


def shuffled(draw: random.Random, text: str, vocabulary: list[str]) -> str:
    sentences = [sentence for sentence in text.replace("?", ".").split(".") if sentence.strip()]
    draw.shuffle(sentences)
    return ". ".join(sentences)


def other_numbers(draw: random.Random, text: str, vocabulary: list[str]) -> str:
    return "".join(str(draw.randrange(1, 9)) if c.isdigit() and draw.random() < 0.9 else c for c in text)


def part(share: float) -> Edit:
    return lambda draw, text, vocabulary: " ".join(text.split()[: int(len(text.split()) * share)])


EDITS: dict[str, Edit] = {
    "as it is": lambda draw, text, vocabulary: text,
    "upper case, no punctuation": lambda draw, text, vocabulary: "".join(c for c in text.upper() if c not in ",.?!:;"),
    "within a longer prompt": lambda draw, text, vocabulary: " ".join(
        [*draw.choices(vocabulary, k=60), "\n", text, "\n", *draw.choices(vocabulary, k=60)]
    ),
    "other numbers": other_numbers,
    "sentences in another order": shuffled,
    "first 60 %": part(0.6),
    "first 40 %": part(0.4),
    "1 word in 40 replaced": every(40, other_word),
    "1 word in 20 replaced": every(20, other_word),
    "1 word in 12 replaced": every(12, other_word),
    "1 word in 8 replaced": every(8, other_word),
    "1 word in 20 mistyped": every(20, typo),
    "1 word in 12 dropped": every(12, lambda draw, word, vocabulary: ""),
}  # fmt: skip


def main() -> None:
    """Plant, search in each mode, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of training and test files")
    parser.add_argument("--cosines", type=float, nargs="*", default=[], help="thresholds of mode embedding: slow")
    parser.add_argument("--items", type=int, help="so many test items instead of all")
    parser.add_argument("--copies", type=int, default=400, help="rows of each kind of edit")
    parser.add_argument("--others", type=int, default=5_000, help="rows of each of two kinds without a copy")
    options = parser.parse_args()
    folder = options.data
    draw = random.Random(8)
    items = read_benchmarks(folder, folder.name, {})
    items = draw.sample(items, options.items) if options.items else items
    lengths = np.bincount(split([item.text for item in items]).text, minlength=len(items))
    long = [number for number, length in enumerate(lengths) if length >= 16]
    others = list(without_copies(folder, draw, options.others))
    vocabulary = [word for text in others for word in text.split()]
    rows = [(kind, item, edit(draw, items[item].text, vocabulary)) for kind, edit in EDITS.items()
            for item in draw.sample(long, options.copies)]  # fmt: skip
    rows += [("none", -1, text) for text in others]
    modes: dict[str, Matching] = {
        "ngram, n = 8, half": Matcher(Index(items)), "ngram, n = 13, half": Matcher(Index(items, 13)),
        "any, n = 8": Matcher(Index(items), "any"), "any, n = 13": Matcher(Index(items, 13), "any"),
        "exact": WholeMatcher(items),
    }  # fmt: skip
    encoder = Encoder(default_folder()) if options.cosines else None
    if encoder:
        modes |= {f"embedding, {cosine}": MeaningMatcher(items, encoder, cosine) for cosine in options.cosines}
    results = {name: measured(matcher, rows) for name, matcher in modes.items()}
    show(results)
    print(json.dumps({"items": len(items), "copies": options.copies, "others": len(others), "modes": results}))


def without_copies(folder: Path, draw: random.Random, count: int) -> Iterator[str]:
    """GSM8K's training questions, and stretches of 20 to 150 words of books, the web and Wikipedia."""
    questions = [row["question"] for row, _ in stream_rows(folder / "gsm8k_train.jsonl.gz")]
    yield from draw.sample(questions, count)
    texts = ("gutenberg_books.jsonl.gz", "c4_demo.jsonl", "wikitext2_valid.txt")
    words = [w for name in texts for row, where in stream_rows(folder / name) for w in texts_of(row, where)[0].split()]
    for _ in range(count):
        at = draw.randrange(len(words) - 150)
        yield " ".join(words[at : at + draw.randrange(20, 150)])


def measured(matcher: Matching, rows: list[tuple[str, int, str]]) -> dict[str, Any]:
    """Recall by kind of edit, and precision."""
    found = matcher.matches(Texts([text for _, _, text in rows], np.arange(len(rows))))
    pairs = set(zip(found.rows.tolist(), found.items.tolist(), strict=True))
    flagged = {row for row, _ in pairs}
    hits: dict[str, list[bool]] = {kind: [] for kind in EDITS}
    for row, (kind, item, _) in enumerate(rows):
        if item >= 0:
            hits[kind].append((row, item) in pairs)
    recall = {kind: sum(each) / len(each) for kind, each in hits.items()}
    wrong = [row for row in flagged if rows[row][0] == "none"]
    return {"recall": recall, "precision": 1 - len(wrong) / max(1, len(flagged)), "false": len(wrong)}


def show(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table: kinds of edit down, modes across."""
    print("| recall | " + " | ".join(results) + " |")
    print("|---|" + "---:|" * len(results))
    for kind in EDITS:
        print(f"| {kind} | " + " | ".join(f"{each['recall'][kind]:.0%}" for each in results.values()) + " |")
    print("| **precision** (false rows) | "
          + " | ".join(f"{each['precision']:.1%} ({each['false']})" for each in results.values()) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
