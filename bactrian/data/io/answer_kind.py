"""Which verifier the answers of questions ask for, where that is beyond doubt."""

import re
from collections.abc import Iterable, Mapping

from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import Row

_NUMBER = re.compile(r"[-+−]?[$€£]?\s?\d[\d,]*(\.\d+)?(/\d+)?\s?%?|\$[^$]+\$|\\boxed\{.*\}|.*\\d?frac\{.*")
_ANSWERED = ("question_answer", "prompt_completion")


def verifier_for(layouts: Mapping[str, int], adopted: Iterable[Row | Fault]) -> str:
    """`choice` for lettered choices, `gsm8k` for answers that end in `#### N`, `math` for numbers and formulas; or "".

    Args:
        layouts: of the rows, as they were found. adopted: the rows as conversations.
    """
    if set(layouts) == {"choices"}:
        return "choice"
    rows = [row for row in adopted if not isinstance(row, Fault) and "messages" in row]
    if not rows or not set(layouts) <= set(_ANSWERED):
        return ""
    answers = [str(row["messages"][-1]["content"]).strip() for row in rows]
    if all("####" in answer for answer in answers):
        return "gsm8k"
    return "math" if all(_NUMBER.fullmatch(answer) for answer in answers) else ""
