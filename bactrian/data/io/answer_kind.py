"""Which verifier the answers of questions ask for, where that is beyond doubt."""

import re
from collections.abc import Iterable, Mapping

from bactrian.data.io.formats import Fault, Scanned
from bactrian.data.io.rows import Row

_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
MOST = 0.9
"""Share of answers that must be numbers or formulas: among mathematicians' there are a few words."""
LONGEST = 80
_ANSWERED = ("question_answer", "prompt_completion")


def verifier_for(
    layouts: Mapping[str, int], rows: Iterable[Scanned], adopted: Iterable[Row | Fault], truth: str
) -> str:
    """`choice` for lettered choices, `gsm8k` for answers that end in `#### N`, `math` for numbers and formulas; or "".

    Args:
        layouts: of the rows, as they were found. adopted: the rows as conversations. truth: the column that has the
            final answer where the conversation has a worked one.
    """
    if set(layouts) == {"choices"}:
        return "choice"
    answers = [
        str(row[truth] if truth in row else became["messages"][-1]["content"]).strip()
        for (row, _), became in zip(rows, adopted, strict=True)
        if not isinstance(row, Fault) and not isinstance(became, Fault) and "messages" in became
    ]
    if not answers or not set(layouts) <= set(_ANSWERED):
        return ""
    if all("####" in answer for answer in answers):
        return "gsm8k"
    return "math" if sum(map(_is_formula, answers)) >= MOST * len(answers) else ""


def _is_formula(answer: str) -> bool:
    """A number or a formula: a digit or a command of LaTeX, no word, and short."""
    bare = _COMMAND.sub(" ", answer)
    return len(answer) <= LONGEST and (bare != answer or any(map(str.isdigit, bare))) and not _WORD.search(bare)
