"""From what a generator wrote to a row, with the trail of how it was made; and what a seed offers to a template."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bactrian.data.curate.quality import Flaw
from bactrian.data.io.problem_rows import question_hash, questions_of
from bactrian.data.io.rows import Row
from bactrian.data.io.texts import answer_text

Into = Literal["prompt", "conversation", "problem", "solution", "text"]
WANTED: Mapping[Into, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "conversation": ("prompt", "answer"),
    "problem": ("prompt", "ground_truth"),
    "solution": ("solution",),
    "text": ("text",),
}
"""Fields that an answer must have to become such a row; of an answer that is plain text its text is the only one."""
RESERVED = {"id", "messages", "source", "license", "dataset", "made_by", "settings", "tools", "chosen", "rejected"}
"""Columns that no field of an answer may set."""


@dataclass(frozen=True)
class Origin:
    """How a row was made. seed: id of the seed row; draw: which of its answers; prompt: SHA-256 of what was asked."""

    model: str
    template: str
    template_hash: str
    prompt: str
    seed: str
    draw: int
    persona: str
    licence: str


def seed_fields(row: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """What a template may read of a seed: its columns, and prompt, answer, text and persona as far as it has them.

    Args:
        renamed: variable of the template → column of the seed.
    """
    fields = dict(row)
    if questions := questions_of(row):
        fields.setdefault("question", questions[-1])
    if answer := answer_text(row):
        fields.setdefault("answer", answer)
    if isinstance(row.get("text"), str):
        fields.setdefault("persona", row["text"])
    return fields | {variable: row[column] for variable, column in renamed.items() if column in row}


def joined_licence(*names: str) -> str:
    """The terms that all apply to a row: each once, unknown ones too, as what is not known may forbid.

    >>> joined_licence("CC-BY-NC-SA-4.0", "MIT", "MIT")
    'CC-BY-NC-SA-4.0 + MIT'
    """
    return " + ".join(dict.fromkeys(name.strip() or "unknown" for name in names))


def made_row(into: Into, seed: Row, fields: Mapping[str, Any], origin: Origin, verifier: str) -> Row | Flaw:
    """The row that an answer's fields make, or what they lack.

    prompt: a prompt to be answered; conversation: prompt and answer; problem: prompt and ground truth for `verifier`;
    solution: the seed's own row with a worked answer; text: plain text. Further fields are columns of their own.
    """
    texts: dict[str, str] = {}
    for name in WANTED[into]:
        value = fields.get(name, fields.get("text") if len(WANTED[into]) == 1 else None)
        text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
        if not text:
            return Flaw(f"no {name} in the answer")
        texts[name] = text
    used = {*WANTED[into], "text"}
    more = {name: value for name, value in fields.items() if name not in used | RESERVED}
    made: Row = {**more, "source": f"{origin.template} by {origin.model}", "license": origin.licence}
    made["made_by"] = asdict(origin)
    if into == "text":
        return {"id": _digest(texts["text"]), **made, "text": texts["text"]}
    if into == "solution":
        kept = {name: value for name, value in seed.items() if name not in ("made_by", "answers")}
        kept["messages"] = [turn for turn in seed["messages"] if turn["role"] != "assistant"]
        return {**kept, **made, "id": seed["id"], "solution": texts["solution"]}
    asked = {"role": "user", "content": texts["prompt"]}
    row: Row = {"id": question_hash(texts["prompt"]), **made, "messages": [asked]}
    if into == "conversation":
        row["messages"] = [asked, {"role": "assistant", "content": texts["answer"]}]
    if into == "problem":
        row |= {"ground_truth": texts["ground_truth"], "dataset": verifier}
    return row


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
