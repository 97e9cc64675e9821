"""The answer in a completion: its text without thinking sections. Also, whether a text declines to answer."""

import re
from collections.abc import Sequence

from bactrian.chat import TAGS

REFUSAL = re.compile(
    r"\A\W*(?:(?:i['’]?m|i am|we['’]?re)\s+(?:very\s+|so\s+|truly\s+)?(?:sorry|afraid|unable)|sorry\b|apologies\b"
    r"|(?:unfortunately,?\s+)?i\s+(?:can['’]?t|can\s?not|could\s?n['’]?t|am\s+not\s+able\s+to|won['’]?t|will\s+not"
    r"|must\s+(?:decline|refuse)|have\s+to\s+decline|don['’]?t\s+(?:know|have\s+enough))\b"
    r"|as\s+an?\s+(?:ai|language\s+model)\b)",
    re.IGNORECASE,
)


def answer_part(completion: str, tags: Sequence[str] | None = TAGS) -> str | None:
    """The completion after its thinking: all that stands after the last closing tag, without the space between.

    The opening tag may be missing (a template may have written it already). A section that is opened after the last
    closing tag and never closed is cut off with all that follows; if nothing is left, the text never came to an
    answer: None. `tags` None cuts nothing.

    >>> answer_part("<think>7 or 8?</think>\\nIt is 8.")
    'It is 8.'
    >>> answer_part("<think>7 or 8? Well,") is None
    True
    """
    if tags is None:
        return completion
    opening, closing = tags
    _, closed, after = completion.rpartition(closing)
    kept, opened, _ = (after.lstrip() if closed else after).partition(opening)
    return None if opened and not kept.strip() else kept


def declines(text: str) -> bool:
    """Whether a text opens with the words of a refusal. Only asked about texts in which no answer was found.

    >>> declines("I'm sorry, but I can't help with that.")
    True
    """
    return REFUSAL.match(text[:200]) is not None
