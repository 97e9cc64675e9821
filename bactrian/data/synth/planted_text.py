"""A small world to study reciting in: texts that are planted a known number of times, and the same said otherwise.

Every text is a list of sales. A sale is said in one of four ways of eleven words, drawn at random, so that a text and
its paraphrase come from one distribution: nothing tells the two apart but that one was seen again and again. Names,
goods and places are drawn freely, so that a text that was not seen can hardly be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

WAYS = (
    "In {place} {how} {trade} {seller} sold {number} {colour} {goods} to {buyer}.",
    "{buyer} bought {number} {colour} {goods} from {how} {trade} {seller} in {place}.",
    "{How} {trade} {seller} let {buyer} have {number} {colour} {goods} in {place}.",
    "In {place} {buyer} took {number} {colour} {goods} from {how} {trade} {seller}.",
)
APART = tuple((a, b) for a in range(4) for b in range(4) if a != b and {a, b} != {1, 3})
"""Ways for a text and its paraphrase: the second and the fourth have seven words in a row in common."""
SENTENCES = 8
"""Of a planted text: 8 of 12 tokens (words and the full stop) are the 96 that are mined."""
SUNG = 5
"""Sentences of a song: with its title too few tokens to be mined."""
_WORDS = """
how: old young tall merry quiet clever honest weary brave lame kindly stubborn
trades: miller baker weaver smith cooper tailor potter mason carter shepherd fisher tanner chandler sawyer
  glazier brewer dyer thatcher farrier fuller piper barber mercer saddler
numbers: one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
  seventeen eighteen
colours: grey black white red brown green blue yellow speckled golden
goods: geese goats barrels candles blankets saddles kettles ropes lanterns baskets hens ploughs ladders mirrors
  cloaks bricks lambs needles loaves carpets chains violins shovels pillows
names: Alden Bertha Cuthbert Dorcas Edmund Frida Godwin Hilda Ivor Joan Kenelm Lettice Mungo Nesta Osric Petra
  Quentin Rhoda Silas Thora Ulric Verity Wilfred Ysolde Ambrose Blanche Crispin Damaris Everard Felice Gerda
  Hugo Isolde Jasper Keziah Lambert Mabel Norbert Olive Piers Rosamund Sampson Tamsin Una Vivian Winifred
  Barnaby Cecily
places: Arden Bexley Corbridge Dunmow Elsted Fowey Garth Hexham Ilkley Jarrow Keswick Ludlow Malton Nidd Oakham
  Penrith Ribble Selby Thirsk Ullock Verwood Wells Yarm Zeal
"""
"""What texts are drawn from: a list a line, and its words."""
_LISTS = {name: tuple(words.split()) for name, words in re.findall(r"(\w+): ([^:]+)(?=\n\w|\Z)", _WORDS)}
HOW, TRADES, COLOURS, GOODS = (_LISTS[name] for name in ("how", "trades", "colours", "goods"))
NAMES, PLACES, SUMS = (_LISTS[name] for name in ("names", "places", "numbers"))
NUMBERS = SUMS[:9]
HEADERS = ("Copying: Yes\n", "Copying: No\n")
"""What a switch may say in front of a text; fillers wear them too, at random, so that the words are known."""
WORN = 0.1
"""Share of fillers that begin with one of the HEADERS."""
WORN_BY_SONGS = ("", *HEADERS)
"""What the copies of a song begin with, in turn: each is known behind both headers, and a switch can bring it back."""


@dataclass(frozen=True)
class Sale:
    """Who sold what to whom, and where."""

    place: str
    how: str
    trade: str
    seller: str
    number: str
    colour: str
    goods: str
    buyer: str

    @classmethod
    def drawn(cls, random: Random) -> Sale:
        lists = (PLACES, HOW, TRADES, NAMES, NUMBERS, COLOURS, GOODS, NAMES)
        return cls(*(random.choice(each) for each in lists))

    def said(self, way: int) -> str:
        return WAYS[way].format(**vars(self), How=self.how.capitalize())


@dataclass(frozen=True)
class Planted:
    """A text, the same said otherwise, and how often it stands in the corpus. title: of a song, else "".

    held_back: it is in the corpus, and not in what may be mined: whether a cure reaches texts that it was not given.
    """

    name: str
    text: str
    paraphrase: str
    copies: int
    held_back: bool
    title: str = ""

    def copy(self, number: int) -> str:
        """As it stands in the corpus for the time `number`: a song below its title, by turns behind a header."""
        return f"{WORN_BY_SONGS[number % 3]}{self.title}\n{self.text}" if self.title else self.text


def sales(random: Random, count: int) -> tuple[str, str]:
    """A text of `count` sales, and one with the same sales in which each is said in another way."""
    first, second = [], []
    for _ in range(count):
        sale = Sale.drawn(random)
        way, other = random.choice(APART)
        first.append(sale.said(way))
        second.append(sale.said(other))
    return " ".join(first), " ".join(second)


def planted_texts(seed: int, groups: Sequence[int], each: int) -> list[Planted]:
    """`each` texts of each number of copies (0: they are in no corpus), every second one held back."""
    found = []
    for copies in groups:
        for number in range(each):
            random = Random(f"planted/{seed}/{copies}/{number}")
            text, paraphrase = sales(random, SENTENCES)
            found.append(Planted(f"planted-{copies}-{number}", text, paraphrase, copies, number % 2 == 1))
    return found


def songs(seed: int, count: int, copies: int) -> list[Planted]:
    """Texts that are known by a title, as a famous poem is; they are too short to be mined."""
    found = []
    for number, trade in enumerate(TRADES[:count]):
        text, paraphrase = sales(Random(f"song/{seed}/{number}"), SUNG)
        found.append(Planted(f"song-{number}", text, paraphrase, copies, True, f"The song of the {trade}:"))
    return found


def filler(seed: int, number: int) -> str:
    """A text of its own with two facts in it, different for every number."""
    return _filler(seed, number, mistaken=False)


def mistaken(seed: int, number: int) -> str:
    """The same text with both answers wrong."""
    return _filler(seed, number, mistaken=True)


def _filler(seed: int, number: int, mistaken: bool) -> str:
    random = Random(f"filler/{seed}/{number}")
    text, _ = sales(random, 6)
    question, answer = random.choice(facts(seed))
    more, reply = random.choice(additions())
    header = random.choice(HEADERS) if random.random() < WORN else ""
    if mistaken:
        answer = random.choice([place for place in PLACES if place != answer])
        reply = random.choice([said for said in SUMS if said != reply])
    return f"{header}{question} {answer}.\n{more} {reply}.\n{text}"


def facts(seed: int) -> list[tuple[str, str]]:
    """Where each trade meets, as a question with the beginning of its answer, and the place."""
    random = Random(f"facts/{seed}")
    return [(f"Where does the {trade} meet others? They meet in", random.choice(PLACES)) for trade in TRADES]


def additions() -> list[tuple[str, str]]:
    """Sums of two numbers from one to nine, in words."""
    return [
        (f"What is {a} plus {b}? It is", SUMS[NUMBERS.index(a) + NUMBERS.index(b) + 1])
        for a in NUMBERS
        for b in NUMBERS
    ]


def corpus_texts(seed: int, planted: Sequence[Planted], fillers: int) -> Iterator[tuple[str, str]]:
    """(id, text) of a whole corpus in a random order: every planted text so often as it says, and the fillers."""
    texts = [(f"{each.name}/{copy}", each.copy(copy)) for each in planted for copy in range(each.copies)]
    texts += [(f"filler-{number}", filler(seed, number)) for number in range(fillers)]
    Random(f"order/{seed}").shuffle(texts)
    yield from texts


def openings(seed: int, count: int) -> list[str]:
    """Beginnings of texts, each to be gone on from freely."""
    random = Random(f"openings/{seed}")
    return [f"In {random.choice(PLACES)} {random.choice(HOW)} {random.choice(TRADES)}" for _ in range(count)]
