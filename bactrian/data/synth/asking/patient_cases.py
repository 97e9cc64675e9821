"""Cases with atomic facts and a question with options, as MediQ has them [Li et al. 2024], read into rows.

For a research simulator: not medical advice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bactrian.data.curate.quality import Flaw
from bactrian.data.io.problem_rows import Row
from bactrian.data.io.tally import Tally
from bactrian.errors import BactrianError

NUMBERED = re.compile(r"^\s*\d+[.)]\s*")


def patient_case_row(row: Mapping[str, Any], where: str, source: str, license: str) -> Row | Flaw:
    """A problem row of dataset `choice` whose `case` has the facts; its question says what a doctor hears first.

    That is the context's first sentence, or else the first fact. A row without facts is no case, and a Flaw.

    Raises:
        BactrianError: naming the field that is missing or of another form.
    """
    try:
        facts = [NUMBERED.sub("", str(fact)).strip() for fact in row["facts"]]
        options, right = {str(k): str(v) for k, v in row["options"].items()}, str(row["answer_idx"])
        asked, context = str(row["question"]), list(row["context"])
    except (KeyError, TypeError, AttributeError) as error:
        raise BactrianError(f"{where}: no case of MediQ's layout ({error!r})") from None
    if right not in options:
        raise BactrianError(f"{where}: answer_idx: found {right!r}, expected one of the options {', '.join(options)}")
    if not facts or not all(facts):
        return Flaw("a case without facts, or with an empty one", str(row.get("id", "")))
    case = {"facts": facts, "options": options, "inquiry": asked, "first": str(context[0]) if context else facts[0]}
    listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    return {
        "id": f"mediq-{row.get('id', where)}",
        "messages": [{"role": "user", "content": f"{case['first']}\n\n{asked}\n{listed}"}],
        "ground_truth": right,
        "dataset": "choice",
        "case": json.dumps(case, ensure_ascii=False),
        "source": source,
        "license": license,
    }


def patient_case_rows(
    rows: Iterator[tuple[Mapping[str, Any], str]], source: str, license: str, tally: Tally
) -> Iterator[Row]:
    """Each case of a file; what is none is counted.

    Raises:
        BactrianError: two cases of one id, or what `patient_case_row` refuses.
    """
    seen: set[str] = set()
    for row, where in rows:
        made = patient_case_row(row, where, source, license)
        if isinstance(made, Flaw):
            tally.drop(made.reason, where)
            continue
        if made["id"] in seen:
            raise BactrianError(f"{where}: id: found {row.get('id')!r} again, expected each case once")
        seen.add(made["id"])
        tally.keep()
        yield made
