"""Rules of thumb for the quality of text: Gopher's (Rae et al. 2021) and C4's (Raffel et al. 2020).

Each returns what is wrong first, or None for text that passes. They were made for web pages in
English: of a conversation they judge the answers, and short answers fail Gopher's least number of words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("•", "●", "○", "■", "□", "▪", "‣", "-", "*", "–")
ELLIPSES = ("...", "…")
TERMINAL = (".", "!", "?", '"', "”", "'", "’")
REPEATED = ((2, 0.20), (3, 0.18), (4, 0.16))
"""Most of the characters that the most frequent n-gram may cover, by n [Gopher, table A1]."""
REPEATED_ALL = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
"""Most of the characters that all n-grams which occur more than once may cover, by n [Gopher, table A1]."""
SENTENCE = re.compile(r"[.!?]+[\"”'’)\]]*(?=\s|\Z)")
"""The end of a sentence."""


class Flaw(NamedTuple):
    """Why a row is dropped: `reason` is what such rows are counted under, `detail` is what was found in this one."""

    reason: str
    detail: str = ""


def gopher_flaw(text: str, least_words: int = 50, most_words: int = 100_000, repetition: bool = True) -> Flaw | None:
    """What of Gopher's rules a text breaks first: its length, shape, stop words and repetition."""
    words, lines = text.split(), [line.strip() for line in text.splitlines() if line.strip()]
    if len(words) < least_words:
        return Flaw(f"fewer than {least_words:,} words", f"{len(words):,}")
    if len(words) > most_words:
        return Flaw(f"more than {most_words:,} words", f"{len(words):,}")
    if not words:
        return None
    return _shape_flaw(text, words, lines) or (_repetition_flaw(text, words, lines) if repetition else None)


def _shape_flaw(text: str, words: Sequence[str], lines: Sequence[str]) -> Flaw | None:
    count = len(words)
    length = sum(map(len, words)) / count
    symbols = (text.count("#") + text.count("…") + text.count("...")) / count
    bulleted = sum(line.startswith(BULLETS) for line in lines) / len(lines)
    trailing = sum(line.endswith(ELLIPSES) for line in lines) / len(lines)
    alphabetic = sum(any(c.isalpha() for c in word) for word in words) / count
    stops = len(STOP_WORDS & set(map(stem, words)))
    checks = (
        (not 3 <= length <= 10, "mean word length outside 3–10", f"{length:.1f}"),
        (symbols > 0.1, "more than 0.1 symbols (#, …) a word", f"{symbols:.2f}"),
        (bulleted > 0.9, "more than 90 % of lines begin with a bullet", f"{bulleted:.0%}"),
        (trailing > 0.3, "more than 30 % of lines end with an ellipsis", f"{trailing:.0%}"),
        (alphabetic < 0.8, "fewer than 80 % of words have a letter", f"{alphabetic:.0%}"),
        (stops < 2, "fewer than 2 of the stop words", f"{stops}"),
    )
    return next((Flaw(reason, detail) for broken, reason, detail in checks if broken), None)


def stem(word: str) -> str:
    """A word without punctuation around it, in lower case."""
    return word.strip(".,;:!?\"'()").lower()


def _repetition_flaw(text: str, words: Sequence[str], lines: Sequence[str]) -> Flaw | None:
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    for name, parts in (("lines", lines), ("paragraphs", paragraphs)):
        share, characters = duplicated(parts, len(text))
        if share > 0.3:
            return Flaw(f"more than 30 % duplicate {name}", f"{share:.0%}")
        if characters > 0.2:
            return Flaw(f"more than 20 % of the characters in duplicate {name}", f"{characters:.0%}")
    total = sum(map(len, words))
    for n, most in REPEATED:
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        gram, count = grams.most_common(1)[0] if grams else ((), 0)
        if count > 1 and (covered := count * sum(map(len, gram)) / total) > most:
            return Flaw(f"the most frequent {n}-gram covers more than {most:.0%} of the characters", f"{covered:.0%}")
    for n, most in REPEATED_ALL:
        if (covered := _covered_by_repeats(words, n) / total) > most:
            return Flaw(f"repeated {n}-grams cover more than {most:.0%} of the characters", f"{covered:.0%}")
    return None


def duplicated(parts: Sequence[str], length: int) -> tuple[float, float]:
    """Share of parts that came before, and their share of the text's characters."""
    seen: set[str] = set()
    again = [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]
    return len(again) / max(1, len(parts)), sum(map(len, again)) / max(1, length)


def _covered_by_repeats(words: Sequence[str], n: int) -> int:
    """Characters of words inside an n-gram that occurred before; each word once."""
    seen: set[tuple[str, ...]] = set()
    covered = end = 0
    for start, gram in enumerate(zip(*(words[i:] for i in range(n)), strict=False)):
        if gram in seen:
            covered += sum(map(len, words[max(start, end) : start + n]))
            end = start + n
        seen.add(gram)
    return covered


def c4_flaw(text: str, least_sentences: int = 3) -> Flaw | None:
    """What of C4's rules for whole texts it breaks: placeholder text, braces (code), too few sentences."""
    if "lorem ipsum" in text.lower():
        return Flaw("placeholder text", "lorem ipsum")
    if "{" in text:
        return Flaw("a curly bracket", "code")
    sentences = len(SENTENCE.findall(text))
    return Flaw(f"fewer than {least_sentences} sentences", f"{sentences}") if sentences < least_sentences else None


def c4_lines(text: str, least_words: int = 5) -> str:
    """The text without the lines that C4 drops: not ending in punctuation, too short, or about Javascript."""
    return "\n".join(line for line in text.splitlines() if _whole_line(line.strip(), least_words))


def _whole_line(line: str, least_words: int) -> bool:
    ends = line.endswith(TERMINAL) and not line.endswith(ELLIPSES)
    return ends and len(line.split()) >= least_words and "javascript" not in line.lower()
