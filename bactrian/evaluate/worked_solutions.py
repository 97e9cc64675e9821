"""Problem rows whose own verifier takes their worked solution for right, and nonsense not."""

from collections.abc import Iterable
from typing import Any

from bactrian.data.io.tally import Tally
from bactrian.verify import Item, Pool, verifier

Row = dict[str, Any]
NONSENSE = "Answer: qzx"
"""An answer that no verifier may take for right."""


def with_right_solutions(rows: Iterable[Row], tally: Tally) -> list[Row]:
    """The rows whose verifier takes their solution (if they have one) for right, and NONSENSE not.

    A verifier of form alone may rightly be content with nonsense. Rows that a model judges are kept: it is not here.
    """
    given = list(rows)
    kept = [row for row in given if verifier(row["dataset"]).place == "judge"]
    drawn = [row for row in given if verifier(row["dataset"]).place != "judge"]
    with Pool() as pool:  # one for both: workers take seconds to start
        golden = pool.verify_all([Item.of(row, row.get("solution", "")) for row in drawn])
        nonsense = pool.verify_all([Item.of(row, NONSENSE) for row in drawn])
    for row, gold, junk in zip(drawn, golden, nonsense, strict=True):
        if "solution" in row and gold.outcome != "right":
            tally.drop(f"its verifier finds its solution {gold.outcome}", f"{row['id']}: {gold.reason}")
        elif junk.outcome == "right" and not verifier(row["dataset"]).of_form:
            tally.drop("its verifier takes nonsense for right", f"{row['id']}: {junk.reason}")
        else:
            kept.append(row)
    return kept
