"""From answers to records: one for each answer, with everything that a score is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.answering import Answered
from bactrian.evaluate.task import Loaded, Metric, Question, Task
from bactrian.model.ranking import Likelihood
from bactrian.verify import Item, Pool, Verdict, at_limit, verifier

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NEVER = "qzx"
"""A text in which nothing must find an answer."""
SHORT = 300
"""Characters of a verifier's reason that are kept."""


@dataclass(frozen=True)
class Record:
    """One answer, verified: a row of questions.parquet but for model, task and mode.

    `values`: numbers by name, of which the task's score and its other numbers are means (or ratios of sums).
    Thinking and answer are counted apart, and told apart in `completion`, as in evaluate.score.Answer.
    """

    question: str
    sample: int
    prompt: str
    completion: str
    ground_truth: str
    extracted: str | None
    score: float
    outcome: str
    tokens: int
    finish: str
    group: str = ""
    cluster: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    thinking_tokens: int = 0
    answer_tokens: int = 0
    answer_at: int = 0
    reason: str = ""  # the verifier's


def grade(answered: Answered, pool: Pool) -> list[Record]:
    """Records in the order of the questions, samples inner. Raises BactrianError where a verifier is not to be used."""
    form = answered.loaded.task.form
    if form == "generate":
        check_extractor(answered.loaded, pool)
        return _graded(answered, pool)
    return _ranked(answered) if form == "rank" else _bits(answered)


def check_extractor(loaded: Loaded, pool: Pool) -> None:
    """Raises BactrianError where a task's verifier finds an answer in an empty text, or calls nonsense right.

    One that does reads its prompt: the few-shot examples, or the question itself.
    """
    task, found = loaded.task, verifier(loaded.task.verifier)
    if found.place == "judge":
        return  # a model, which is asked about answers and not about nothing
    some = loaded.questions[:: max(1, len(loaded.questions) // 3)][:3]
    for text in ("",) if found.of_form else ("", NEVER):
        verdicts = pool.verify_all([_item(task, question, text) for question in some])
        for question, verdict in zip(some, verdicts, strict=True):
            if verdict.outcome == "right" or (verdict.extracted or "").strip() not in ("", text):
                raise BactrianError(
                    f"task {task.name}: its verifier {task.verifier} reads the answer {verdict.extracted!r:.60} out of "
                    f"the completion {text!r} of question {question.id}, where there is none: it looks at the prompt, "
                    f"or at the exemplars in it. Nothing is scored with it"
                )


def _item(task: Task, question: Question, text: str, name: str = "") -> Item:
    settings = {**task.settings, **question.settings}
    return Item(name or task.verifier, text, question.truth, settings, question.prompt)


def _graded(answered: Answered, pool: Pool) -> list[Record]:
    task, questions = answered.loaded.task, answered.loaded.questions
    flat = [
        (q, i, w)
        for q, (_, written) in enumerate(zip(questions, answered.written, strict=True))
        for i, w in enumerate(written)
    ]
    verdicts = pool.verify_all([_item(task, questions[q], w.text) for q, _, w in flat])
    further = {
        name: pool.verify_all([_item(task, questions[q], w.text, name) for q, _, w in flat]) for name in task.also
    }
    records = []
    for place, ((q, sample, written), verdict) in enumerate(zip(flat, verdicts, strict=True)):
        values = {"right": float(verdict.outcome == "right"), "score": verdict.score}
        values |= _instructions(verdict, {name: said[place] for name, said in further.items()})
        values |= _behaviour(questions[q], verdict) if task.skill == "safety" else {}
        records.append(
            Record(
                questions[q].id,
                sample,
                answered.prompts[q],
                written.text,
                questions[q].truth,
                verdict.extracted,
                values["score" if task.metric == "score" else "right"],
                at_limit(verdict.outcome, written.finish),
                written.tokens,
                written.finish,
                questions[q].group,
                questions[q].cluster,
                values,
                written.thinking_tokens,
                written.answer_tokens,
                written.answer_at,
                verdict.reason[:SHORT],
            )
        )
    return records


def _instructions(loose: Verdict, further: Mapping[str, Verdict]) -> dict[str, float]:
    """IFEval's four numbers for one answer. Raises AssertionError where strict is kinder than loose."""
    strict = further.get("ifeval_strict")
    if strict is None:
        return {}
    kept = {name: json.loads(each.extracted or "[]") for name, each in (("loose", loose), ("strict", strict))}
    count = max(len(kept["loose"]), len(kept["strict"]))
    assert all(a >= b for a, b in zip(kept["loose"], kept["strict"], strict=False)), "strict is kinder than loose"
    numbers = {f"prompt_{name}": float(bool(each) and all(each)) for name, each in kept.items()}
    return numbers | {f"kept_{name}": float(sum(each)) for name, each in kept.items()} | {"instructions": float(count)}


def _behaviour(question: Question, verdict: Verdict) -> dict[str, float]:
    """Refusing what is harmful and answering what is not, apart: their average hides a model that refuses all."""
    name = "harmful_refused" if question.truth == "refuse" else "benign_complied"
    return {name: float(verdict.outcome == "right")}


def chances(metric: Metric, question: Question, ranked: Sequence[Likelihood], bare: Sequence[Likelihood]) -> float:
    """One question's value of a metric over ranked options (ties go to the first, as in the public harness)."""
    lls = [each.logprob for each in ranked]
    if metric == "mc2":
        return truthful_mass(lls, question.right)
    if metric == "mc1":  # the best right answer against all wrong ones
        others = [ll for number, ll in enumerate(lls) if number not in question.right]
        return float(all(lls[question.right[0]] >= other for other in others))
    return float(pick(metric, question, ranked, bare) in question.right)


def pick(metric: Metric, question: Question, ranked: Sequence[Likelihood], bare: Sequence[Likelihood]) -> int:
    """The number of the option that a normalisation likes best.

    acc: sum of log-probs; acc_norm: per character; acc_token: per token; acc_pmi: minus the same without the question.
    """
    lls = [each.logprob for each in ranked]
    if metric == "acc_norm":
        lls = [ll / max(1, len(option)) for ll, option in zip(lls, question.options, strict=True)]
    elif metric == "acc_token":
        lls = [each.logprob / each.tokens for each in ranked]
    elif metric == "acc_pmi":
        lls = [ll - other.logprob for ll, other in zip(lls, bare, strict=True)]
    return lls.index(max(lls))


def truthful_mass(lls: Sequence[float], right: Sequence[int]) -> float:
    """Σ_right p / Σ p with p = exp(log-prob) [MC2, Lin et al. 2022]; stable where all of them are tiny."""
    top = max(lls)
    p = [math.exp(ll - top) for ll in lls]
    return sum(p[number] for number in right) / sum(p)


def name_of(number: int) -> str:
    return LETTERS[number] if number < len(LETTERS) else str(number + 1)


def _ranked(answered: Answered) -> list[Record]:
    task = answered.loaded.task
    records = []
    bares = answered.unconditional or [[]] * len(answered.ranked)
    for number, question in enumerate(answered.loaded.questions):
        ranked, bare = answered.ranked[number], bares[number]
        values: dict[str, float] = {m: chances(m, question, ranked, bare) for m in (task.metric, *task.others)}
        score = values[task.metric]
        chosen = pick("acc" if task.metric in ("mc1", "mc2") else task.metric, question, ranked, bare)
        values |= {f"ll_{i}": each.logprob for i, each in enumerate(ranked)}
        records.append(
            Record(
                question.id,
                0,
                answered.prompts[number],
                question.options[chosen],
                question.truth,
                name_of(chosen),
                score,
                "right" if score > 0.5 else "wrong",
                0,
                "stop",
                question.group,
                question.cluster,
                values,
            )
        )
    return records


def _bits(answered: Answered) -> list[Record]:
    """Bits and bytes of each text."""
    records = []
    for question, windows in zip(answered.loaded.questions, answered.ranked, strict=True):
        bits = -sum(each.logprob for each in windows) / math.log(2)
        size = len(question.prompt.encode())
        values = {"bits": bits, "bytes": float(size), "tokens": float(sum(each.tokens for each in windows))}
        records.append(
            Record(
                question.id,
                0,
                question.prompt[:500],
                "",
                "",
                None,
                bits / size,
                "right",
                0,
                "stop",
                question.group,
                question.cluster,
                values,
            )
        )
    return records


LABELS = ("model", "task", "mode")
TYPES: dict[str, str] = {
    "sample": "int64",
    "tokens": "int64",
    "score": "float64",
    "thinking_tokens": "int64",
    "answer_tokens": "int64",
    "answer_at": "int64",
}


def write_records(path: Path, records: Sequence[tuple[Mapping[str, str], Record]]) -> None:
    """questions.parquet: labels (model, task, mode), then the record; `values` as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bactrian.evaluate.records import storable

    names = [each.name for each in fields(Record)]
    columns: dict[str, list[Any]] = {label: [labels[label] for labels, _ in records] for label in LABELS}
    for name in names:
        column = [getattr(record, name) for _, record in records]
        columns[name] = [json.dumps(each) for each in column] if name == "values" else [storable(x) for x in column]
    schema = pa.schema([(name, getattr(pa, TYPES.get(name, "string"))()) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")


def read_records(path: Path) -> dict[tuple[str, str], list[Record]]:
    """(model, task) → its records in order. Raises BactrianError naming a file that is none of this form."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise BactrianError(f"{path}: cannot be read: {error}") from None
    known = {each.name for each in fields(Record)}
    needed = [*LABELS, *(each.name for each in fields(Record) if each.default is MISSING and each.name != "values")]
    if lacking := [name for name in needed if name not in table.column_names]:
        raise BactrianError(
            f"{path}: no column {', '.join(lacking)}: written by another version, or no evaluation's "
            f"answers; ask again with `bactrian eval`, which reuses kept answers"
        )
    found: dict[tuple[str, str], list[Record]] = {}
    for row in table.to_pylist():
        given = {name: value for name, value in row.items() if name in known}
        values = given.get("values")
        given["values"] = json.loads(values) if values else {"right": float(given["outcome"] == "right")}
        label = row["task"] if row["mode"] == "greedy" else f"{row['task']} ({row['mode']})"
        found.setdefault((row["model"], label), []).append(Record(**given))
    return found
