"""What a judge's words say: a rating, a label, or ratings of several texts. What cannot be read is None."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RATING_OF_TEN = re.compile(r"\brating\s*\**\s*:?\s*\**\s*\[*([0-9]+(?:[.,][0-9]+)?)\b", re.IGNORECASE)
TEXT_HEADING = re.compile(r"^[\s#*>-]*(?:output\s+for\s+)?text\s*#?\s*<?(\d{1,2})>?\b", re.IGNORECASE | re.MULTILINE)
RATING_OF_FIVE = re.compile(
    r"(?:\brating\b|\bscore\b)[\s*_]*[:=]?[\s*_]*\[?\(?\s*"
    r"(?P<value>n\s*/\s*a|none|not applicable|[1-5](?!\d|[.,]\d*[1-9]))",
    re.IGNORECASE,
)
BARE_RATING = re.compile(
    r"\A[\s*_:.)\]-]*\[?(?P<value>n\s*/\s*a|[1-5])\]?\s*(?:/\s*5)?[\s*_.]*(?:\n|\Z)", re.IGNORECASE
)
RATIONALE = re.compile(r"\brationale\b[\s*_]*:[\s*_]*(?P<value>[^\n]+)", re.IGNORECASE)
TYPE = re.compile(r"\btype\b[\s*_]*:[\s*_]*(?P<value>[^\n]+)", re.IGNORECASE)


@dataclass(frozen=True)
class TextRating:
    """What a judgement says of one text: 1 to 5, or None if it is `unread`, or if the aspect does not apply."""

    rating: int | None
    unread: bool = False
    rationale: str = ""
    kinds: tuple[int, ...] = ()


def last_rating(judgement: str) -> int | None:
    """The last rating, written "Rating: N"; None where that is no whole number from 1 to 10: 7.5 is not read as 7.

    >>> last_rating("Rating: 3? No. **Rating: 7**"), last_rating("Rating: 7.5")
    (7, None)
    """
    found: list[str] = RATING_OF_TEN.findall(judgement)
    rating = float(found[-1].replace(",", ".")) if found else 0.0
    return int(rating) if rating in range(1, 11) else None


def last_label(judgement: str, labels: Mapping[str, str]) -> str | None:
    """What the last of these words stands for.

    >>> last_label("It complies? No, it refuses.", {"refuses": "refuse", "complies": "comply"})
    'refuse'
    """
    found: list[str] = re.findall(rf"\b({'|'.join(map(re.escape, labels))})\b", judgement, re.IGNORECASE)
    return labels[found[-1].casefold()] if found else None


def tag_label(judgement: str, labels: Sequence[str], tag: str) -> str | None:
    """The label in the last tag, whole: "UNACCEPTABLE" is not "ACCEPTABLE".

    >>> tag_label("<is>FIT</is>? No: <is> UNFIT </is>", ("FIT", "UNFIT"), "is")
    'UNFIT'
    """
    found = re.findall(rf"<{tag}>([^<]*)</{tag}>", judgement, re.IGNORECASE)
    said = found[-1].strip(" \t\n*\"'.`").upper() if found else ""
    return said if said in labels else None


def letter_and_certainty(judgement: str, letters: Sequence[str]) -> tuple[str, float] | None:
    """The letter and the probability that a judgement's last line "Better: A. Certainty: 80" gives; None without one.

    >>> letter_and_certainty("A is fuller. **Better: A. Certainty: 80%**", ("A", "B"))
    ('A', 0.8)
    """
    found = re.findall(
        rf"\bbetter\b[\s*_:]*[\[(\"']?({'|'.join(letters)})\b[^\n]{{0,20}}?\bcertainty\b[\s*_:]*(\d+(?:\.\d+)?)",
        judgement,
        re.IGNORECASE,
    )
    if not found or not 0 <= float(found[-1][1]) <= 100:
        return None
    return found[-1][0].upper(), float(found[-1][1]) / 100


def ratings_of_texts(judgement: str, count: int) -> list[TextRating]:
    """What a judgement says of each of `count` texts, in the order in which the judge saw them.

    Each text's part begins with a line "Text N", whatever marks are around it; of a text that has two, the last counts
    (a judge may quote the layout first). A part's first rating is read: "Rating: 4", "**Score:** [4]/5", or the number
    alone. 4.5 is no rating. With no such lines at all and exactly `count` ratings, those are taken in order.
    """
    headings = list(TEXT_HEADING.finditer(judgement))
    if not headings:
        found = [each["value"] for each in RATING_OF_FIVE.finditer(judgement)]
        return (
            [TextRating(_number(each)) for each in found] if len(found) == count else [TextRating(None, True)] * count
        )
    stops = [*(heading.start() for heading in headings[1:]), len(judgement)]
    parts: dict[int, str] = {}
    for heading, stop in zip(headings, stops, strict=True):
        number, part = int(heading[1]), judgement[heading.end() : stop]
        if number not in parts or _first_rating(part) is not None:
            parts[number] = part
    return [_text_rating(parts.get(number, "")) for number in range(1, count + 1)]


def _text_rating(part: str) -> TextRating:
    value = _first_rating(part)
    rationale, kinds = RATIONALE.search(part), TYPE.search(part)
    listed = tuple(map(int, re.findall(r"\b[1-9]\b", kinds["value"]))) if kinds else ()
    reason = rationale["value"].strip() if rationale else ""
    return TextRating(None if value is None else _number(value), value is None, reason, listed)


def _first_rating(part: str) -> str | None:
    found = RATING_OF_FIVE.search(part) or BARE_RATING.match(part)
    return found["value"] if found else None


def _number(value: str) -> int | None:
    return int(value) if value.isdigit() else None
