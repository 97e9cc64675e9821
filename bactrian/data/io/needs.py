"""What a stage may need of a row, beyond its kind: a label, a worked solution."""

from typing import Literal

from bactrian.data.io.rows import Row, RowKind, is_raw_pair

RowNeed = Literal["conversation", "worked", "feedback", "problem", "pair", "text"]
"""`worked`: a problem with a solution. `feedback`: a conversation whose last answer is labelled good or bad."""


def kind_for(need: RowNeed) -> RowKind:
    """The kind of the rows that meet a need."""
    if need == "worked":
        return "problem"
    return "conversation" if need == "feedback" else need


def needs_met(row: Row) -> set[RowNeed]:
    """What a row of ours is good for."""
    if "chosen" in row or is_raw_pair(row):
        return {"pair"}
    if "text" in row and "messages" not in row:
        return {"text"}
    if "dataset" in row and "ground_truth" in row:
        met: set[RowNeed] = {"problem", "worked"} if "solution" in row else {"problem"}
        return met if row["messages"][-1]["role"] != "assistant" else {"conversation"}  # answered already
    if isinstance(row.get("label"), bool):
        return {"feedback"}
    return {"conversation"}
