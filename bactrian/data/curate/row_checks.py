"""What is wrong with one row, by rules of text, pattern or number: the checks behind the rules of stage `filter`."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from bactrian.data.curate.detectors import language_of, mask_personal
from bactrian.data.curate.hygiene import named_cutoff, named_identity
from bactrian.data.curate.quality import Flaw
from bactrian.data.io import texts

Row = dict[str, Any]


def part_of(row: Row, part: str) -> str:
    """The text of a row that a rule looks at: "whole", "prompt", "answer" or "trace"."""
    read = {"whole": texts.whole_text, "prompt": texts.prompt_text, "answer": texts.answer_text}
    return read.get(part, texts.trace_text)(row)


def language_flaw(text: str, languages: Sequence[str], least: float) -> Flaw | None:
    """For a text in none of the languages, or in one with less than `least` probability."""
    language, probability = language_of(text)
    found = f"{language or 'none'}, {probability:.2f}"
    if language not in languages:
        return Flaw("in another language", found)
    return None if probability >= least else Flaw("language not certain enough", found)


def length_flaw(
    text: str, part: str, unit: Literal["words", "characters"], least: int, most: int | None
) -> Flaw | None:
    """For a text with fewer than `least` or more than `most` words or characters; `part`: its name, for the reason."""
    length = _length(text, unit, least, most)
    if length < least:
        return Flaw(f"{part} shorter than {least:,} {unit}", f"{length:,}")
    if most is not None and length > most:
        return Flaw(f"{part} longer than {most:,} {unit}", f"{length:,}")
    return None


def _length(text: str, unit: str, least: int, most: int | None) -> int:
    """The length; without an upper limit words are counted only as far as is needed to see that there are enough."""
    if unit == "characters":
        return len(text)
    return len(text.split(None, -1 if most is not None else least))


def identity_flaw(row: Row, identities: tuple[str, ...], cutoffs: bool) -> Flaw | None:
    """For an answer that names another assistant or, with `cutoffs`, a date up to which it knows things."""
    named = named_identity(row, identities)
    if named:
        return Flaw("an answer names another assistant", named)
    cutoff = named_cutoff(row) if cutoffs else ""
    return Flaw("an answer speaks of its knowledge's date", cutoff) if cutoff else None


def masked(row: Row, kinds: Sequence[str], most: int) -> Row | Flaw:
    """The row with its personal data masked; a flaw if that is in more than `most` places."""
    found: list[str] = []

    def mask(text: str) -> str:
        changed, new = mask_personal(text, kinds)
        found.extend(new)
        return changed

    changed = texts.map_texts(row, mask)
    return changed if len(found) <= most else Flaw(f"personal data in more than {most} places", f"{len(found)}")


def pattern_flaw(text: str, patterns: tuple[str, ...], drop_found: bool) -> Flaw | None:
    """For a text in which a pattern is found; without `drop_found`, for one in which none is."""
    found = ((pattern, match) for pattern in patterns if (match := _compiled(pattern).search(text)))
    pattern, match = next(found, ("", None))
    if not drop_found:
        return None if match else Flaw(f"matches none of {', '.join(patterns)}", text[:60])
    return Flaw(f"matches {pattern}", repr(match[0][:60])) if match else None


def number_flaw(row: Row, column: str, least: float | None, most: float | None, drop_missing: bool) -> Flaw | None:
    """For a column's number out of bounds and, with `drop_missing`, for a row without a number there."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return Flaw(f"no number in column {column}") if drop_missing else None
    if least is not None and value < least:
        return Flaw(f"{column} below {least}", f"{value:.4g}")
    if most is not None and value > most:
        return Flaw(f"{column} above {most}", f"{value:.4g}")
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
