"""Cases with atomic facts and a question with options, as MediQ has them [Li et al. 2024], read into rows.

For a research simulator: not medical advice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bactrian.data.io.problem_rows import Row
from bactrian.errors import BactrianError

NUMBERED = re.compile(r"^\s*\d+[.)]\s*")


def patient_case_row(row: Mapping[str, Any], where: str, source: str, license: str) -> Row:
    """A problem row of dataset `choice` whose `case` has the facts; its question says what a doctor hears first.

    Raises:
        BactrianError: naming the field that is missing or of another form.
    """
    try:
        facts = [NUMBERED.sub("", str(fact)).strip() for fact in row["facts"]]
        options, right = {str(k): str(v) for k, v in row["options"].items()}, str(row["answer_idx"])
        asked, first = str(row["question"]), str(row["context"][0])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BactrianError(f"{where}: no case of MediQ's layout ({error!r})") from None
    if right not in options or not all(facts) or not facts:
        raise BactrianError(
            f"{where}: expected facts, and an answer_idx that is one of the options {', '.join(options)}"
        )
    case = {"facts": facts, "options": options, "inquiry": asked, "first": first}
    listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    return {
        "id": f"mediq-{row.get('id', where)}",
        "messages": [{"role": "user", "content": f"{first}\n\n{asked}\n{listed}"}],
        "ground_truth": right,
        "dataset": "choice",
        "case": json.dumps(case, ensure_ascii=False),
        "source": source,
        "license": license,
    }


def patient_case_rows(rows: Iterator[tuple[Mapping[str, Any], str]], source: str, license: str) -> Iterator[Row]:
    """Each row of a file; two of one id are an error."""
    seen: set[str] = set()
    for row, where in rows:
        made = patient_case_row(row, where, source, license)
        if made["id"] in seen:
            raise BactrianError(f"{where}: id: found {row.get('id')!r} again, expected each case once")
        seen.add(made["id"])
        yield made
