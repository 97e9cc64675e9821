"""Prompts with verifiable constraints made by rules: a topic, what to do with it, and what the answer must look like.

The constraints are those of the training set (verify/instructions/training_constraints.py), of these the ones that a
short answer can keep to. Prompts that share no question may still share topic and constraint, not both with the same
opening.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations
from random import Random
from typing import Any

from bactrian.data.io.problem_rows import Row, Split, distinct, question_hash
from bactrian.data.synth.procedural import LICENSE, check_range
from bactrian.errors import BactrianError

OPENINGS = (
    "Tell me something about {}.",
    "Describe {} in a sentence.",
    "Say what you like about {}.",
    "What is {}?",
    "Explain {} to a child.",
    "Give me one fact about {}.",
    "Why do people care about {}?",
    "Write a line about {}.",
)
TOPICS = (
    "rain",
    "the sea",
    "a good friend",
    "bread",
    "the moon",
    "trains",
    "winter",
    "a garden",
    "music",
    "a library",
    "bees",
    "coffee",
    "mountains",
    "a bicycle",
    "sleep",
    "the colour blue",
    "a market",
    "honey",
    "clouds",
    "chess",
    "a river",
    "an old house",
    "cooking",
    "dogs",
    "a long walk",
    "stars",
    "a school",
    "paper",
    "salt",
    "dancing",
    "apples",
    "a lighthouse",
    "wind",
    "letters",
    "a desert",
    "cats",
    "the first day of spring",
    "glass",
    "soup",
    "time",
)
ENDINGS = ("That is all.", "Thank you for reading.", "Ask me more.", "The end.")
KEYWORDS = ("green", "always", "people", "small", "morning", "never", "friend", "light")
Drawn = tuple[str, dict[str, Any]]


def limit(random: Random) -> Drawn:
    words = random.choice((8, 10, 12, 15, 20))
    asked = {"func_name": "validate_word_constraint", "N": words, "quantifier": "at most"}
    return f"Use at most {words} words.", asked


def ending(random: Random) -> Drawn:
    phrase = random.choice(ENDINGS)
    return f'End your answer with exactly this phrase: "{phrase}"', {"func_name": "validate_end", "end_phrase": phrase}


def keyword(random: Random) -> Drawn:
    word = random.choice(KEYWORDS)
    return f'Use the word "{word}".', {"func_name": "verify_keywords", "keyword_list": [word]}


def plain(text: str, name: str) -> Callable[[Random], Drawn]:
    return lambda _: (text, {"func_name": name})


CONSTRAINTS: dict[str, Callable[[Random], Drawn]] = {
    "lowercase": plain("Write in lower case only: no capital letters.", "validate_lowercase"),
    "uppercase": plain("Write in capital letters only.", "validate_uppercase"),
    "no_commas": plain("Do not use any commas.", "validate_no_commas"),
    "quotation": plain("Put your whole answer in double quotation marks.", "validate_quotation"),
    "title": plain("Give a title in double angular brackets such as <<my title>>.", "validate_title"),
    "ending": ending,
    "word_limit": limit,
    "keyword": keyword,
}
APART = (("lowercase", "uppercase"), ("lowercase", "ending"), ("uppercase", "ending"), ("quotation", "ending"))
"""Kinds that no answer can keep to at once."""


def constraints(
    seed: int,
    count: int,
    *,
    kinds: Sequence[str] = tuple(CONSTRAINTS),
    per_prompt: tuple[int, int] = (1, 2),
    split: Split = "train",
) -> Iterator[Row]:
    """Problems like "Tell me something about rain. Do not use any commas. Use at most 12 words.",
    without a solution.

    Raises:
        BactrianError: for unknown kinds, or more constraints to a prompt than kinds that go
            together.
    """
    unknown = sorted(set(kinds) - set(CONSTRAINTS))
    if unknown or not kinds:
        raise BactrianError(f"constraints: kinds is {list(kinds)}; expected some of {', '.join(CONSTRAINTS)}")
    check_range("constraints", "per_prompt", per_prompt, 1)
    if per_prompt[1] > (most := most_together(kinds)):
        raise BactrianError(
            f"constraints: per_prompt is {per_prompt[0]} to {per_prompt[1]}; of these kinds at most {most} go together"
        )

    def draw(random: Random) -> Row:
        chosen = choice(random, kinds, random.randint(*per_prompt))
        drawn = [CONSTRAINTS[kind](random) for kind in chosen]
        opening = random.choice(OPENINGS).format(random.choice(TOPICS))
        question = " ".join([opening, *(words for words, _ in drawn)])
        return {
            "id": question_hash(question),
            "messages": [{"role": "user", "content": question}],
            "ground_truth": json.dumps([asked for _, asked in drawn]),
            "dataset": "instructions",
            "source": "bactrian/constraints",
            "license": LICENSE,
        }

    return distinct("constraints", seed, count, split, draw)


def choice(random: Random, kinds: Sequence[str], count: int) -> list[str]:
    """`count` different kinds that go together, in random order."""
    while True:
        chosen = random.sample(list(kinds), count)
        if compatible(chosen):
            return chosen


def compatible(kinds: Collection[str]) -> bool:
    return not any(one in kinds and other in kinds for one, other in APART)


def most_together(kinds: Sequence[str]) -> int:
    """The size of the largest set of these kinds that one answer can keep to."""
    return max(n for n in range(1, len(kinds) + 1) if any(map(compatible, combinations(kinds, n))))
