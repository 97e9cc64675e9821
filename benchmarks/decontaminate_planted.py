"""Precision and recall of each decontamination mode on planted overlaps, by the kind of edit.

    python benchmarks/decontaminate_planted.py [--data ../shared/data]

Items of at least 16 words, of all known benchmarks in the folder, are copied into rows, each edited in one way. Besides
there are rows of the same kinds of text that hold no item: training questions of GSM8K, stretches of books and the web.
Paraphrases are made by rule (another word for most common ones) or by people (MGSM's translations).
Recall: of the rows with a copy, the share in which that item is found. Precision: of the rows in which anything is
found, the share that hold a copy. The last line is JSON.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bactrian.data.io.files import stream_rows
from bactrian.data.overlap.asked import texts_of
from bactrian.data.overlap.benchmarks import read_benchmarks
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher, Texts
from bactrian.data.overlap.meaning import MeaningMatcher, SentenceEncoder, Vectors, default_folder
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
    "reworded": lambda draw, text, vocabulary: reworded(text),
    "reworded, sentences in another order": lambda draw, text, vocabulary: reworded(shuffled(draw, text, vocabulary)),
}
WORDS = """
the=that a=one is=remains are=remain was=had_been were=had_been has=possesses have=possess had=possessed
many=numerous much=plenty how=tell_me_how what=which find=determine calculate=work_out compute=work_out
total=overall_sum buys=purchases buy=purchase bought=purchased gives=hands_over give=hand_over
gave=handed_over gets=receives get=receive got=received makes=produces make=produce made=produced each=every
all=every_one_of people=persons person=individual children=kids child=kid friend=companion friends=companions
house=home big=large large=big small=little money=cash dollars=bucks day=full_day days=full_days
year=twelve_months week=seven_days hour=sixty_minutes hours=units_of_sixty_minutes and=as_well_as but=yet
if=in_case then=after_that because=since when=at_the_time that=which of=out_of in=within on=upon at=near
for=in_favour_of from=out_of to=toward with=together_with by=through who=what_person why=for_what_reason
can=is_able_to should=ought_to will=is_going_to answer=reply question=query following=subsequent
statement=claim true=correct false=wrong best=finest most=majority first=initial last=final more=additional
less=fewer than=compared_with after=following before=ahead_of write=compose explain=describe function=routine
string=text list=sequence number=figure value=quantity word=term use=employ does=will do=perform need=require
needs=requires want=wish wants=wishes left=remaining costs=is_priced_at 1=one 2=two 3=three 4=four 5=five
6=six 7=seven 8=eight 9=nine 10=ten 12=a_dozen 20=twenty 100=a_hundred
"""
SYNONYMS = dict(pair.split("=") for pair in WORDS.split())
TRANSLATED = {"de": "in German", "es": "in Spanish", "fr": "in French", "ru": "in Russian", "ja": "in Japanese"}
"""MGSM's translations, by people, of GSM8K's test questions."""


def reworded(text: str) -> str:
    """Another word for most of the common ones, however odd it sounds: hardly eight words in a row stay."""

    def other(word: str) -> str:
        bare = word.strip(",.?!:;()").lower()
        return word.lower().replace(bare, SYNONYMS[bare].replace("_", " ")) if bare in SYNONYMS else word

    return " ".join(map(other, text.split()))


def translations(folder: Path, items: list[IndexedItem]) -> Iterator[tuple[str, int, str]]:
    """(kind, item, text) of each translation whose English question is one of the items."""
    number = {item.text: n for n, item in enumerate(items) if item.benchmark == "gsm8k"}
    rows = [row for row, _ in stream_rows(folder / "mgsm.jsonl")]
    english = {row["idx"]: number.get(row["question"]) for row in rows if row["lang"] == "en"}
    for row in rows:
        if row["lang"] in TRANSLATED and (item := english.get(row["idx"])) is not None:
            yield TRANSLATED[row["lang"]], item, row["question"]


class RememberingPlanter(SentenceEncoder):
    """An encoder that computes nothing twice: thresholds differ, embeddings do not."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known: dict[tuple[str, ...], Vectors] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        if tuple(texts) not in self.known:
            self.known[tuple(texts)] = super().encode(texts)
        return self.known[tuple(texts)]


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
    translated = {row["question"] for row, _ in stream_rows(folder / "mgsm.jsonl") if row["lang"] == "en"}
    if options.items:
        wanted = [item for item in items if item.benchmark == "gsm8k" and item.text in translated]
        items = wanted + draw.sample([item for item in items if item.benchmark != "mgsm"], options.items - len(wanted))
    lengths = np.bincount(split([item.text for item in items]).text, minlength=len(items))
    long = [number for number, length in enumerate(lengths) if length >= 16]
    others = list(without_copies(folder, draw, options.others))
    vocabulary = [word for text in others for word in text.split()]
    rows = [
        (kind, item, edit(draw, items[item].text, vocabulary))
        for kind, edit in EDITS.items()
        for item in draw.sample(long, options.copies)
    ]
    foreign = list(translations(folder, items))
    rows += draw.sample(foreign, min(len(foreign), len(TRANSLATED) * options.copies))
    rows += [("none", -1, text) for text in others]
    modes: dict[str, Matching] = {
        "ngram, n = 8, half": Matcher(Index(items)),
        "ngram, n = 13, half": Matcher(Index(items, 13)),
        "any, n = 8": Matcher(Index(items), "any"),
        "any, n = 13": Matcher(Index(items, 13), "any"),
        "exact": WholeMatcher(items),
    }
    encoder = RememberingPlanter(default_folder()) if options.cosines else None
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
    hits: dict[str, list[bool]] = {}
    for row, (kind, item, _) in enumerate(rows):
        if item >= 0:
            hits.setdefault(kind, []).append((row, item) in pairs)
    recall = {kind: sum(each) / len(each) for kind, each in hits.items()}
    wrong = [row for row in flagged if rows[row][0] == "none"]
    return {"recall": recall, "precision": 1 - len(wrong) / max(1, len(flagged)), "false": len(wrong)}


def show(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table: kinds of edit down, modes across."""
    print("| recall | " + " | ".join(results) + " |")
    print("|---|" + "---:|" * len(results))
    for kind in next(iter(results.values()))["recall"]:
        print(f"| {kind} | " + " | ".join(f"{each['recall'][kind]:.0%}" for each in results.values()) + " |")
    print(
        "| **precision** (false rows) | "
        + " | ".join(f"{each['precision']:.1%} ({each['false']})" for each in results.values())
        + " |"
    )


if __name__ == "__main__":
    main()
