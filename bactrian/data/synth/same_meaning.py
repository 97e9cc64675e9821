"""Whether a rewrite still says what the original says, as far as words show it: its numbers, names, negations, subject.

A cheap check, without a model. It sees what was lost or added, not what was exchanged: "Ann paid Bob" for "Bob paid
Ann" passes. The word lists are English; of texts in other scripts only numbers are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from typing import Literal

from bactrian.data.curate.quality import Flaw
from bactrian.data.overlap.trace.traced_spans import STOP_WORDS

Kept = Literal["numbers", "names", "negation", "content"]
KEPT: tuple[Kept, ...] = ("numbers", "names", "negation", "content")
CONTENT = 0.3
"""Least share of the content words of the text with fewer of them that the other must have too. Paraphrases by people
have 0.69 and more; of texts about other patients 0.33 is the 95th percentile (benchmarks/paraphrases.py)."""
FEW = 5
"""Content words below which that share says nothing."""
CAPITALS = 0.5
"""Share of capitalised words within sentences above which a capital letter marks no name (titles, headings)."""

_UNITS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_TENFOLD = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * value for value, word in enumerate(_TENFOLD.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORTH = {word: value for value, word in enumerate(_UNITS.split())} | _TENS
_WORTH |= {f"{word}th": value for word, value in _WORTH.items() if value > 3 and value < 20}
_WORTH |= {f"{word[:-1]}ieth": value for word, value in _TENS.items()}
_WORTH |= {"third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_ALONE_NONE = {"a": 1, "an": 1, "one": 1, "first": 1, "1st": 1, "second": 2, "2nd": 2}
"""What counts within a number alone: by themselves these are mostly no numbers."""
_ITEM = (
    rf"(?:\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\b1st\b|\b2nd\b|\d+(?:\.\d+)?|\ban?(?=\s+(?:{'|'.join(_SCALES)})\b)"
    rf"|\b(?:{'|'.join(sorted({**_WORTH, **_SCALES, 'first': 1, 'second': 2}, key=len)[::-1])})\b)"
)
_RUN = re.compile(rf"{_ITEM}(?:(?:\s+(?:and\s+)?|-){_ITEM})*")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_BOUNDARY = re.compile(r"[.!?:;\n\"“”(\[{*#•|-]")
_NO_CONTENT = STOP_WORDS | {*_WORTH, *_SCALES}
_NOT_NAMES = frozenset(("i", "i'm", "i'd", "i'll", "i've", "mr", "mrs", "ms", "dr", "prof"))
_DENIALS = re.compile(
    r"\b(?:not(?! only\b)|never|no(?!\. ?\d)|none|nobody|nothing|nowhere|neither|without|cannot)\b|n't\b"
)
"""What negates whatever stands beside it; 'neither … nor' is one."""
_NEGATIVE = re.compile(
    r"\b(?:nor|hardly|scarcely|barely|rarely|seldom|lack\w*|fail\w*|refus\w*|den(?:y|ied|ies|ying|ial)|absen\w+|unable"
    r"|except\w*|avoid\w*|instead|rather|prevent\w*|forbid\w*|prohibit\w*|stop\w*|miss(?:ing|ed|es)?|free of|non|little"
    r"|few|only|but|reject\w*|declin\w*|exclud\w*|ceas\w*|neglect\w*|ignor\w*"
    r"|un(?!der|til|it|ion|iq|iv|cle)\w{4,}|dis(?!tan|cuss|play|trict|cover|tinct|tribut|ease|h|c\b|k)\w{4,}"
    r"|im(?:poss|prop|perf|pati|matur|mob)\w+"
    r"|in(?:cap|valid|corr|acc|suff|adeq|vis|compl|cons|abil|activ|direct|expens|exper)\w+|il(?:leg|log)\w+|ir(?:reg|rel|resp)\w+|\w{3,}less)\b"
)
"""What a negation may be said by in other words."""
Compared = Callable[[str, str], "Flaw | None"]


def meaning_flaw(original: str, rewrite: str, keeps: Collection[Kept] = KEPT, content: float = CONTENT) -> Flaw | None:
    """What of the original's meaning a rewrite lost or what it added, as far as is looked at; None for a good one.

    Args:
        keeps: what is looked at. numbers: both have the same ones, in digits or words. names: every name of the
            original is there, and no other. negation: neither side denies what the other does not.
        content: least share of content words in common.
    """
    first, second = (text.replace("’", "'") for text in (original, rewrite))
    checks: dict[Kept, Compared] = {"numbers": _numbers_flaw}
    if _latin(first) and _latin(second):
        checks |= {"names": _names_flaw, "negation": _negation_flaw}
        checks["content"] = lambda one, other: _content_flaw(one, other, content)
    return next((flaw for name, check in checks.items() if name in keeps and (flaw := check(first, second))), None)


def numbers(text: str) -> set[Decimal]:
    """The numbers of a text: digits, words ("twenty-five", "2.5 million") and ordinals from the third on.

    "One", "first" and "second" are mostly no numbers, so they count only within a larger one.
    """
    return {number for run in _RUN.finditer(text.lower()) for number in _numbers_of(re.findall(_ITEM, run[0]))}


def _numbers_of(items: Sequence[str]) -> Iterator[Decimal]:
    """The numbers that a run of digits and number words says, one or several."""
    whole = part = Decimal(0)
    said: list[str] = []
    for item in [*items, ""]:
        value = _value(item)
        if item in _SCALES:
            part = part or Decimal(1)
            whole, part = (whole, part * 100) if item == "hundred" else (whole + part * _SCALES[item], Decimal(0))
        elif item and said and (said[-1] in _SCALES or (said[-1] in _TENS and value < 10 and item[0].isalpha())):
            part += value
        else:
            if said and (len(said) > 1 or said[0] not in _ALONE_NONE):
                yield whole + part
            whole, part, said = Decimal(0), value, []
        said.append(item)


def names(text: str) -> list[list[str]]:
    """Names within sentences, each as its words: capital letters after a word or comma, and abbreviations anywhere.

    None in a text in which most words have capital letters, such as a heading.
    """
    found: list[list[str]] = []
    within = capitals = end = last = 0
    for match in _WORD.finditer(text):
        word, between = match[0].removesuffix("'s"), text[end : match.start()]
        begins = end == 0 or bool(_BOUNDARY.search(between))
        within += not begins
        capitals += word[0].isupper() and not begins
        short = word.isupper() and len(word) > 1 and word.isalpha()
        if word.lower() not in _NOT_NAMES and (short or (word[0].isupper() and not begins)):
            if found and end == last and not between.strip():
                found[-1].append(word)
            else:
                found.append([word])
            last = match.end()
        end = match.end()
    return found if capitals <= CAPITALS * within else []


def _names_flaw(original: str, rewrite: str) -> Flaw | None:
    mine, other = ([word.removesuffix("'s") for word in _WORD.findall(text)] for text in (original, rewrite))
    for name in names(original):
        if not any(_alike(word, seen) for word in name for seen in other) and not _abbreviated(name, other):
            return Flaw("a name is lost", " ".join(name)[:80])
    for name in names(rewrite):
        new = [word for word in name if not any(_alike(word, seen) for seen in mine)]
        if new and not _abbreviated(name, mine):
            return Flaw("a name is new", " ".join(new)[:80])
    return None


def _alike(one: str, other: str) -> bool:
    """Whether two words are one, or begin alike, as Norway and Norwegian do: 4 letters, and half of the longer one."""
    one, other = one.lower(), other.lower()
    longest = max(len(one), len(other))
    shared = max(4, longest // 2)
    return one == other or one[:shared] == other[:shared]


def _abbreviated(name: Sequence[str], words: Sequence[str]) -> bool:
    """Whether an abbreviation among `words` stands for the name, or words in a row for a name that is one."""
    initials = "".join(word[0] for word in words).upper()
    short = "".join(word[0] for word in name).upper()
    if len(name) > 1 and any(word == short for word in words):
        return True
    return all(word.isupper() and word in initials for word in name)


def _negation_flaw(original: str, rewrite: str) -> Flaw | None:
    """Where one side denies more often than the other and has more that is negative; of six denials one may go."""
    sides: list[tuple[list[str], int]] = [
        (_DENIALS.findall(text), len(_NEGATIVE.findall(text))) for text in (original.lower(), rewrite.lower())
    ]
    for at, reason in enumerate(("a negation is lost", "a negation is new")):
        (mine, other), (theirs, more) = sides[at], sides[1 - at]
        allowed = len(mine) // 6
        if len(mine) - len(theirs) > allowed and len(mine) + other - len(theirs) - more > allowed:
            return Flaw(reason, ", ".join(mine)[:80])
    return None


def _content_flaw(original: str, rewrite: str, least: float) -> Flaw | None:
    first, second = sorted((content_words(original), content_words(rewrite)), key=len)
    if len(first) < FEW:
        return None
    heads: dict[str, list[str]] = {}
    for word in second:
        heads.setdefault(word[:4], []).append(word)
    held = sum(any(_alike(word, seen) for seen in heads.get(word[:4], ())) for word in first) / len(first)
    return Flaw("about something else", f"{held:.0%} of the content words in common") if held < least else None


def content_words(text: str) -> set[str]:
    """Words of three letters or more that are neither stop words nor numbers, in lower case."""
    found = (word.lower().removesuffix("'s") for word in _WORD.findall(text))
    return {word for word in found if len(word) > 2 and word.isalpha() and word not in _NO_CONTENT}


def _value(item: str) -> Decimal:
    if item in _ALONE_NONE:
        return Decimal(_ALONE_NONE[item])
    return Decimal(item.replace(",", "")) if item[:1].isdigit() else Decimal(_WORTH.get(item, 0))


def _numbers_flaw(original: str, rewrite: str) -> Flaw | None:
    first, second = numbers(original), numbers(rewrite)
    for differing, reason in ((first - second, "a number is lost"), (second - first, "a number is new")):
        if differing:
            return Flaw(reason, ", ".join(f"{number:f}" for number in sorted(differing))[:80])
    return None


def _latin(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return sum(character.isascii() for character in letters) >= 0.9 * len(letters)
