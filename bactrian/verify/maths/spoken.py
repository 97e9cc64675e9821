"""Numbers in words: "twelve", "twenty-five", "one hundred"."""

import re

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SPOKEN = {word: number for number, word in enumerate(ONES)} | {word: 10 * (n + 2) for n, word in enumerate(TENS)}
NUMBER_WORD = re.compile(
    rf"(?:(?:{'|'.join(TENS)})[- ](?:{'|'.join(ONES[1:10])})|one hundred|{'|'.join(sorted(SPOKEN, key=len)[::-1])})\b",
    re.IGNORECASE,
)


def number_of(words: str) -> int | None:
    """The number that a few words are, as a whole."""
    if not NUMBER_WORD.fullmatch(words.strip()):
        return None
    parts = re.split(r"[- ]", words.strip().lower())
    return 100 if parts[-1] == "hundred" else sum(SPOKEN[part] for part in parts)


def with_digits(words: str) -> str:
    """Words that begin with a number, with it in digits: "three ways" is "3 ways"."""
    found = NUMBER_WORD.match(words)
    number = number_of(found[0]) if found else None
    return words if found is None or number is None else f"{number}{words[found.end() :]}"
