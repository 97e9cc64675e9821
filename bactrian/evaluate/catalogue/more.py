"""Further tasks: mathematics and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bactrian.evaluate.catalogue import exemplars
from bactrian.evaluate.catalogue.dev import NEXT, boxed, mbpp
from bactrian.evaluate.task import LeftOut, Preamble, Question, Row, Task, TaskSource

MORE = ("more",)
BOX = "\n\nReason step by step, and put the final answer within \\boxed{}."


def as_text(number: Any) -> str:
    """27.0 → "27"."""
    return f"{number:g}" if isinstance(number, float) else str(number).strip()


def competition(row: Row) -> Sequence[Question]:
    """problem (or question) and answer: AIME, AMC."""
    text = row.get("problem", row.get("question", row.get("Problem")))
    answer = as_text(row.get("answer", row.get("Answer")))
    if not answer or not isinstance(text, str):
        raise ValueError("expected 'problem' and 'answer'")
    return [Question(text.strip(), answer.lstrip("0") or "0")]


def math500(row: Row) -> Sequence[Question]:
    """As `math`, without its "Problem:"."""
    (made,) = boxed(row)
    return [
        Question(
            row["problem"].strip(),
            made.truth,
            group=made.group,
            id=str(row.get("unique_id", "")),
            solution=made.solution,
        )
    ]


def svamp(row: Row) -> Sequence[Question]:
    body = row["Body"].strip()
    text = f"{body}{'' if body.endswith(('.', '?', '!')) else '.'} {row['Question'].strip()}"
    return [Question(f"Question: {text}", as_text(row["Answer"]), group=str(row.get("Type", "")), id=str(row["ID"]))]


def asdiv(row: Row) -> Sequence[Question]:
    """body, question, answer such as "9 (apples)"; rows whose answer is not one number are left out."""
    answer = row["answer"].partition("(")[0].strip()
    if not answer.replace(".", "").replace(",", "").replace("-", "").replace("/", "").isdigit() or "," in answer:
        raise LeftOut("its answer is not one number")
    return [Question(f"Question: {row['body'].strip()} {row['question'].strip()}", answer)]


def mgsm(row: Row) -> Sequence[Question]:
    return [Question(row["question"].strip(), str(row["answer"]).replace(",", ""), group=row["lang"])]


def _boxed(name: str, source: TaskSource, build: Any, tokens: int = 2048, **more: Any) -> Task:
    return Task(name, MORE, "maths", source, build, verifier="math", ask=BOX, max_new_tokens=tokens, **more)


TASKS: tuple[Task, ...] = (
    _boxed("math500", TaskSource(("math500",), "HuggingFaceH4/MATH-500"), math500),
    _boxed("aime24", TaskSource(("aime_2024", "aime24"), "HuggingFaceH4/aime_2024", "train"), competition, 4096),
    _boxed("aime25", TaskSource(("aime_2025", "aime25"), "math-ai/aime25"), competition, 4096),
    _boxed("amc23", TaskSource(("amc23",), "math-ai/amc23"), competition, 4096),
    Task(
        "svamp",
        MORE,
        "maths",
        TaskSource(("svamp",), "ChilleD/SVAMP"),
        svamp,
        verifier="gsm8k",
        preamble=exemplars.GSM8K,
        cue="\nAnswer:",
        max_new_tokens=256,
        stop=NEXT,
    ),
    Task(
        "asdiv",
        MORE,
        "maths",
        TaskSource(("asdiv",), "EleutherAI/asdiv", "validation"),
        asdiv,
        verifier="gsm8k",
        preamble=exemplars.GSM8K,
        cue="\nAnswer:",
        max_new_tokens=256,
        stop=NEXT,
    ),
    Task(
        "mgsm",
        MORE,
        "maths",
        TaskSource(("mgsm",), "juletxara/mgsm"),
        mgsm,
        verifier="gsm8k",
        macro=True,
        max_new_tokens=512,
        ask='\n\nSolve it step by step and end with a line "Answer: N".',
        gold=lambda question: f"Answer: {question.truth}",
    ),
    Task(
        "mbpp",
        MORE,
        "coding",
        TaskSource(("mbpp_test",), "google-research-datasets/mbpp", "test", "full"),
        mbpp,
        verifier="code",
        max_new_tokens=512,
        temperature=0.8,
        top_p=0.95,
        samples=20,
        k=10,
        metric="pass_at_k",
        preamble=Preamble(),
    ),
)
