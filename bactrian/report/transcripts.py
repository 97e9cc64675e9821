"""A few questions, answered by the first and by the last model of an evaluate step."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from bactrian.chat.folding import bare, question_starts
from bactrian.report.formatting import count
from bactrian.report.run_record import ReportedStep
from bactrian.report.scores import BITS
from bactrian.report.traced import RunTraces, TracedView

COLUMNS = (
    "model",
    "task",
    "mode",
    "question",
    "sample",
    "prompt",
    "completion",
    "ground_truth",
    "extracted",
    "outcome",
    "tokens",
    "finish",
    "thinking_tokens",
    "answer_tokens",
    "answer_at",
)
PROMPT_LIMIT, ANSWER_LIMIT, FOLDED_LIMIT = 2000, 1600, 8000
WANTED = {"gained": 2, "lost": 2, "right both times": 1, "not right either time": 2}


@dataclass(frozen=True)
class ShownAnswer:
    """What one model wrote, cut to a readable length; `thinking` and `text`, the answer, apart.

    `thought`: how long its thinking was, "" where there is none.
    """

    model: str
    text: str
    cut: str
    thinking: str
    thinking_cut: str
    thought: str
    outcome: str
    extracted: str
    tokens: str
    finish: str
    traced: TracedView | None = None  # where the run has an index over training data, and some span stands there


@dataclass(frozen=True)
class Transcript:
    """One question and its two answers; `folded` is what stands before the question in the prompt, such as examples."""

    change: str
    question: str
    folded: Markup
    before_it: str
    prompt: str
    cut: str
    truth: str
    before: ShownAnswer
    after: ShownAnswer


@dataclass(frozen=True)
class TaskTranscripts:
    """The transcripts of one task, or why there are none; `totals` counts all of its questions by kind of change."""

    task: str
    mode: str
    before: str
    after: str
    totals: dict[str, int]
    shown: list[Transcript]
    note: str = ""


def task_transcripts(step: ReportedStep, tasks: int = 3, traces: RunTraces | None = None) -> list[TaskTranscripts]:
    """Transcripts of the first tasks of an evaluate step: the first few of each kind in the file's order.

    With `traces`, what stands in the run's training data is marked in the answers.
    """
    results = step.results
    if results is None or step.folder is None or not results.scores:
        return []
    chosen = []
    asked = (score.task for score in results.scores if score.metric != BITS)  # of texts there are no answers to show
    for task in list(dict.fromkeys(asked))[:tasks]:
        scores = [score for score in results.scores if score.task == task]
        mode = "greedy" if any(score.mode == "greedy" for score in scores) else scores[0].mode
        answered = {score.model for score in scores if score.mode == mode}
        models = [name for name in results.models if name in answered] or sorted(answered)
        found = _of_task(step.folder / "questions.parquet", task, mode, models[0], models[-1])
        chosen.append(found if traces is None else replace(found, shown=[_traced(it, traces) for it in found.shown]))
    return chosen


def _traced(it: Transcript, traces: RunTraces) -> Transcript:
    before, after = (replace(each, traced=traces.view(each.text)) for each in (it.before, it.after))
    return replace(it, before=before, after=after)


def _of_task(path: Path, task: str, mode: str, before: str, after: str) -> TaskTranscripts:
    try:
        first, last = (_answers(path, task, mode, model) for model in (before, after))
    except Exception as fault:  # a damaged file may raise anything; the page says so and goes on
        reason = "questions.parquet is missing" if isinstance(fault, FileNotFoundError) else f"cannot be read: {fault}"
        return TaskTranscripts(task, mode, before, after, {}, [], reason)
    totals = dict.fromkeys(WANTED, 0)
    shown: list[Transcript] = []
    starts = dict(zip(first, question_starts([_text(row.get("prompt")) for row in first.values()]), strict=True))
    for question, row in first.items():
        if question not in last:
            continue
        change = _change(row["outcome"] == "right", last[question]["outcome"] == "right")
        totals[change] += 1
        if totals[change] <= WANTED[change]:
            shown.append(_transcript(change, row, last[question], starts[question]))
    shown.sort(key=lambda transcript: list(WANTED).index(transcript.change))
    note = "" if shown else "the two models have no question in common"
    return TaskTranscripts(task, mode, before, after, totals, shown, note)


def _answers(path: Path, task: str, mode: str, model: str) -> dict[str, dict[str, Any]]:
    """Question id → the first sample's row."""
    import pyarrow.parquet as parquet

    present = parquet.read_schema(path).names
    where = [("task", "==", task), ("mode", "==", mode), ("model", "==", model)]
    rows = parquet.read_table(path, columns=[c for c in COLUMNS if c in present], filters=where).to_pylist()
    answers: dict[str, dict[str, Any]] = {}
    for row in rows:
        answers.setdefault(str(row.get("question")), row)
    return answers


def _change(before: bool, after: bool) -> str:
    if before == after:
        return "right both times" if after else "not right either time"
    return "gained" if after else "lost"


def _transcript(change: str, before: dict[str, Any], after: dict[str, Any], start: int) -> Transcript:
    whole = _text(before.get("prompt"))
    prompt, cut = _cut(bare(whole[start:]), PROMPT_LIMIT)
    folded, left_out = _cut(whole[:start], FOLDED_LIMIT)
    size = f"{count(start)} characters{f' ({left_out})' if left_out else ''}" if bare(folded) else ""
    truth, _ = _cut(_text(before.get("ground_truth")), 200)
    question, _ = _cut(_text(before.get("question")), 60)
    return Transcript(change, question, _dim_special(folded), size, prompt, cut, truth, _answer(before), _answer(after))


def _answer(row: dict[str, Any]) -> ShownAnswer:
    said = _text(row.get("completion"))
    at = row.get("answer_at") or 0
    text, cut = _cut(said[at:].lstrip() if at else said, ANSWER_LIMIT)
    thinking, thinking_cut = _cut(said[:at].strip(), ANSWER_LIMIT)
    thought = f"{count(row.get('thinking_tokens'))} tokens" if at else ""
    extracted = "nothing" if row.get("extracted") is None else _cut(_text(row["extracted"]), 120)[0]
    outcome = _text(row.get("outcome")) or "unknown"
    model, finish = _text(row.get("model")), _text(row.get("finish"))
    tokens = count(row.get("answer_tokens" if at else "tokens"))
    return ShownAnswer(model, text, cut, thinking, thinking_cut, thought, outcome, extracted, tokens, finish)


def _dim_special(text: str) -> Markup:
    """The prompt with the template's own tokens, such as `<|im_end|>`, set apart from the question."""
    pieces = re.split(r"(<\|[^|<>]{1,40}\|>)", text)
    return Markup("").join(
        Markup("<i>{}</i>").format(piece) if index % 2 else escape(piece) for index, piece in enumerate(pieces)
    )


def _cut(text: str, limit: int) -> tuple[str, str]:
    """The text, at most `limit` characters of it, and a note on what was left out."""
    if len(text) <= limit:
        return text, ""
    return text[:limit], f"cut here: {count(len(text) - limit)} more characters"


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
