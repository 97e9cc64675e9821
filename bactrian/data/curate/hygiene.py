"""What a conversation must not teach: another assistant's name, a date of knowledge, empty turns.

Tülu 3 [Lambert et al. 2024] drops the first and the last, OLMo 2 [Walsh et al. 2025] dates too.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from bactrian.data.io.rows import CHECKS, Row, RowKind, validate_row
from bactrian.data.io.texts import turns
from bactrian.errors import BactrianError

IDENTITIES = (
    "OpenAI",
    "ChatGPT",
    "GPT-3",
    "GPT-3.5",
    "GPT-4",
    "GPT-4o",
    "BingChat",
    "Bing Chat",
    "LAION",
    "Open Assistant",
    "OpenAssistant",
    "Bard",
    "Anthropic",
    "Claude",
    "Gemini",
    "DeepMind",
    "Mistral AI",
    "DeepSeek",
)
"""Vendors and assistants that an answer must not name: those known of Tülu 3's filter, and more of our choice."""
CUTOFFS = re.compile(
    r"knowledge cut-?off|training cut-?off|(?:my|last) (?:training|knowledge) (?:data )?(?:update|ends|was last)"
    r"|as of my last (?:knowledge )?update|(?:trained|training data|knowledge) (?:only )?(?:up )?(?:to|until) "
    r"(?:[A-Z][a-z]+ )?20[12]\d",
    re.IGNORECASE,
)


_OTHER_CASES = re.compile("[ıİſK]")
"""Letters that IGNORECASE takes for i, s or k, and `lower` does not turn into them, or not alone."""


def named_identity(row: Mapping[str, Any], names: tuple[str, ...] = IDENTITIES) -> str:
    """The first of `names` that an assistant turn holds as a whole word, whatever its case, with its surroundings."""
    return _found(row, _names(names), names) if names else ""


def named_cutoff(row: Mapping[str, Any]) -> str:
    """Where an assistant speaks of the date until which it knows things [OLMo 2], or ""."""
    return _found(row, CUTOFFS)


def kind_of(row: Mapping[str, Any]) -> RowKind | None:
    """The kind that a row's columns say it is (docs/design.md), or None."""
    if "chosen" in row and "rejected" in row:
        return "pair"
    if "messages" in row:
        return "problem" if "ground_truth" in row else "conversation"
    return "text" if "text" in row else None


def checked(row: Row, where: str) -> Row:
    """The row, in form for its kind.

    Raises:
        BactrianError: naming the row: empty turns, roles out of turn, no text.
    """
    kind = kind_of(row)
    if kind is None:
        fields = ", ".join(map(str, row)) or "none"
        raise BactrianError(f"{where}: found the fields {fields}, expected those of one of: {', '.join(CHECKS)}")
    return validate_row(row, kind, where)


def _found(row: Mapping[str, Any], pattern: re.Pattern[str], names: tuple[str, ...] = ()) -> str:
    for turn in turns(row):
        if turn["role"] != "assistant" or (names and not _may_name(turn["content"], _lowered(names))):
            continue
        if match := pattern.search(turn["content"]):
            start, end = max(0, match.start() - 40), match.end() + 40
            return f"{match[0]}: …{turn['content'][start:end]}…".replace("\n", " ")
    return ""


def _may_name(text: str, lowered: tuple[str, ...]) -> bool:
    """Whether the pattern of these names has a chance; a look for each name is ten times as fast as the pattern."""
    low = text.lower()
    return any(name in low for name in lowered) or bool(not text.isascii() and _OTHER_CASES.search(text))


@cache
def _lowered(names: tuple[str, ...]) -> tuple[str, ...]:
    """What to look for: the names in lower case, without those that hold another of them.

    One that is not ASCII always has a chance, as "", which is in every text.
    """
    low = {name.lower() if name.isascii() else "" for name in names}
    return tuple(sorted(name for name in low if not any(other in name for other in low - {name})))


@cache
def _names(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
