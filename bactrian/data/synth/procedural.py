"""Problems with worked solutions, and plain text to pretrain on, made by rules; the same on every machine.

Everything follows from (seed, index). Questions are split into train, dev and unseen by their own hash, so that
training and held-out sets never share one; `corpus` draws on train questions only.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache, partial
from random import Random

from bactrian.data.io.problem_rows import Row, Split, distinct, problem, split_of
from bactrian.data.synth import prose, stories, themes
from bactrian.errors import BactrianError

PIECE = re.compile(r"####|[A-Za-z]+|[0-9]|\n|[^\s]")
LICENSE = "Apache-2.0"
SYMBOLS = ("####", "\n", *"0123456789", *"+-*/=.,?:")


def pieces(text: str) -> list[str]:
    """The words, digits, punctuation marks and line ends of a text, each by itself; spaces are left out."""
    return PIECE.findall(text)


@cache
def vocabulary() -> tuple[str, ...]:
    """Every piece that the three generators can emit, sorted: `set(pieces(text)) <= set(vocabulary())`."""
    said = [*themes.sentences(), *themes.words(), *prose.sentences(), *prose.words(), "Compute", "Answer:"]
    found = {piece for sentence in said for piece in pieces(re.sub(r"\{\w+\}", " ", sentence))}
    return tuple(sorted(found | set(SYMBOLS)))


def sums(
    seed: int, count: int, *, terms: tuple[int, int] = (2, 4), digits: tuple[int, int] = (1, 2), split: Split = "train"
) -> Iterator[Row]:
    """Problems like "Compute 21 - 12 - 23", worked from left to right, one step a line, then
    `Answer: -14`.

    `terms` and `digits` are the smallest and the largest number of terms, and of digits of each
    term.

    Raises:
        BactrianError: for an empty range, or when the ranges hold fewer than `count` distinct
            questions of the split.
    """
    check_range("sums", "terms", terms, 2)
    check_range("sums", "digits", digits, 1)

    def draw(random: Random) -> Row:
        numbers = [one_number(random, random.randint(*digits)) for _ in range(random.randint(*terms))]
        signs = [random.choice("+-") for _ in numbers[1:]]
        total, steps, expression = numbers[0], [], str(numbers[0])
        for sign, number in zip(signs, numbers[1:], strict=True):
            result = total + number if sign == "+" else total - number
            steps.append(f"{total} {sign} {number} = {result}")
            expression += f" {sign} {number}"
            total = result
        solution = "\n".join([*steps, f"Answer: {total}"])
        return problem(f"Compute {expression}", solution, str(total), "gsm8k", "bactrian/sums", LICENSE)

    return distinct("sums", seed, count, split, draw)


def word_problems(
    seed: int, count: int, *, largest: int = 20, operations: tuple[int, int] = (1, 3), split: Split = "train"
) -> Iterator[Row]:
    """Grade-school stories with one worked step per operation and a last line `#### N`.

    Numbers in the question run from 1 to `largest`, no result is above 5 × `largest`, all are
    positive whole numbers.

    Raises:
        BactrianError: for an empty range.
    """
    check_range("word_problems", "operations", operations, 1)
    check_range("word_problems", "largest", (4, largest), 4)

    def draw(random: Random) -> Row:
        story = stories.tell(random, random.randint(*operations), largest)
        solution = "\n".join([*story.steps, f"#### {story.answer}"])
        return problem(story.question, solution, str(story.answer), "gsm8k", "bactrian/word_problems", LICENSE)

    return distinct("word_problems", seed, count, split, draw)


def corpus(seed: int, count: int, *, largest: int = 20) -> Iterator[Row]:
    """Distinct short texts (rows of `text`) in the vocabulary of `word_problems`, to pretrain a tiny model on.

    Arithmetic facts, counting, comparisons, little stories without a number in them, and train-split word problems told
    and solved in running prose. Never the layout of `word_problems`' solutions: that is for fine-tuning to teach.
    """
    check_range("corpus", "largest", (4, largest), 4)
    seen: set[str] = set()
    for index in range(count):
        text = next(text for text in drafts(seed, index, largest) if digest(text) not in seen)
        seen.add(digest(text))
        yield {"id": digest(text), "text": text, "source": "bactrian/corpus", "license": LICENSE}


def drafts(seed: int, index: int, largest: int) -> Iterator[str]:
    """Endless candidates for the index-th text of a corpus."""
    attempt = 0
    while True:
        random = Random(f"corpus/{seed}/{index}/{attempt}")
        attempt += 1
        kind = random.choice(prose.KINDS)
        yield kind(random, partial(train_story, random, largest), largest)


def train_story(random: Random, largest: int) -> stories.Story:
    """A story whose question is in the train split."""
    while True:
        story = stories.tell(random, random.randint(1, 3), largest)
        if split_of(story.question) == "train":
            return story


def one_number(random: Random, digits: int) -> int:
    return random.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1)


def check_range(generator: str, field: str, bounds: tuple[int, int], least: int) -> None:
    low, high = bounds
    if not least <= low <= high:
        raise BactrianError(f"{generator}: {field} is {low} to {high}; expected {least} ≤ smallest ≤ largest")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
