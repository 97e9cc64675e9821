"""From answers to records: one for each answer, with everything that a score is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from bactrian.errors import BactrianError
from bactrian.evaluate.answering import Answered
from bactrian.evaluate.noncompliance_labels import is_noncompliance, labelled
from bactrian.evaluate.records import Record
from bactrian.evaluate.task import Loaded, Metric, Question, Task
from bactrian.evaluate.verdicts import FAILED, KeptVerdicts
from bactrian.model.ranking import Likelihood
from bactrian.verify import Item, Pool, Verdict, at_limit, verifier
from bactrian.verify.text.recited import UNITS, recited

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NEVER = "qzx"
"""A text in which nothing must find an answer."""
SHORT = 300
"""Characters of a verifier's reason that are kept."""


def grade(answered: Answered, pool: Pool, kept: KeptVerdicts | None = None) -> list[Record]:
    """Records in the order of the questions, samples inner. `kept`: verdicts that need not be
    reached again.

    Raises:
        BactrianError: where a verifier is not to be used, or itself fails on more answers than
            the task allows.
    """
    form = answered.loaded.task.form
    if form == "generate":
        check_extractor(answered.loaded, pool)
        records = _graded(answered, pool, kept)
        where = f"{answered.model} · {answered.place}"
        refuse_failures(where, records, answered.loaded.task.failures)
        return records
    return _ranked(answered) if form == "rank" else _bits(answered)


def check_extractor(loaded: Loaded, pool: Pool) -> None:
    """One that does reads its prompt: the few-shot examples, or the question itself.

    Raises:
        BactrianError: where a task's verifier finds an answer in an empty text, or calls
            nonsense right.
    """
    task = loaded.task
    for question in loaded.questions[:: max(1, len(loaded.questions) // 3)][:3]:
        found = verifier(verifier_of(task, question))
        if found.place == "judge" or found.own:
            continue  # a model, or a reward of the user's own: either may like an answer that says nothing
        texts = ("",) if found.of_form else ("", NEVER)
        verdicts = pool.verify_all([item(task, question, text) for text in texts])
        for text, verdict in zip(texts, verdicts, strict=True):
            if verdict.outcome == "right" or (verdict.extracted or "").strip() not in ("", text):
                raise BactrianError(
                    f"task {task.name}: its verifier {verifier_of(task, question)} reads the answer "
                    f"{verdict.extracted!r:.60} out of the completion {text!r} of question {question.id}, where there "
                    f"is none: it looks at the prompt, or at the exemplars in it. Nothing is scored with it"
                )


def refuse_failures(where: str, records: Sequence[Record], limit: float) -> None:
    """
    Raises:
        BactrianError: if the verifier itself failed on more than `limit` (a share) of the
            answers.
    """
    failed = [record for record in records if record.outcome in FAILED]
    if len(failed) > limit * len(records):
        raise BactrianError(
            f"{where}: the verifier failed on {len(failed)} of {len(records)} answers (first: question "
            f"{failed[0].question}, {failed[0].outcome}, answer {failed[0].completion[-80:]!r}); a score would mean "
            f"nothing. At most {limit:.0%} may fail (setting failures)"
        )


def verifier_of(task: Task, question: Question) -> str:
    return question.verifier or task.verifier


def item(task: Task, question: Question, text: str, name: str = "") -> Item:
    """A text as the answer to a question, to be verified. `name`: of another verifier than the question's own."""
    settings = {**task.settings, **question.settings}
    earlier = tuple({"role": turn["role"], "content": turn["content"]} for turn in question.messages[:-1])
    named = name or verifier_of(task, question)
    return Item(named, text, question.truth, settings, question.prompt, earlier, question.row)


def _graded(answered: Answered, pool: Pool, kept: KeptVerdicts | None) -> list[Record]:
    task, questions = answered.loaded.task, answered.loaded.questions
    flat = [
        (q, i, w)
        for q, (_, written) in enumerate(zip(questions, answered.written, strict=True))
        for i, w in enumerate(written)
    ]
    verify = pool.verify_all if kept is None else lambda items: kept.verify_all(items, pool)
    verdicts = verify([item(task, questions[q], w.text) for q, _, w in flat])
    where = f"{answered.model} · {answered.place}"
    for (q, *_), verdict in zip(flat, verdicts, strict=True):
        refuse_other_scale(where, questions[q].id, verdict)
    further = {name: verify([item(task, questions[q], w.text, name) for q, _, w in flat]) for name in task.also}
    records = []
    for place, ((q, sample, written), verdict) in enumerate(zip(flat, verdicts, strict=True)):
        values = {"right": float(verdict.outcome == "right"), "score": verdict.score}
        values |= _instructions(verdict, {name: said[place] for name, said in further.items()})
        values |= _behaviour(questions[q], verdict) if task.skill == "safety" else {}
        values |= labelled(verdict, written.text) if is_noncompliance(questions[q].settings) else {}
        values |= _recited(questions[q], written.text) if verifier_of(task, questions[q]) == "recital" else {}
        records.append(
            Record(
                question=questions[q].id,
                sample=sample,
                prompt=answered.prompts[q],
                completion=written.text,
                ground_truth=questions[q].truth,
                extracted=verdict.extracted,
                score=verdict.score,
                outcome=at_limit(verdict.outcome, written.finish),
                tokens=written.tokens,
                finish=written.finish,
                thinking_tokens=written.thinking_tokens,
                answer_tokens=written.answer_tokens,
                answer_at=written.answer_at,
                group=questions[q].group,
                cluster=questions[q].cluster,
                values=values,
                reason=verdict.reason[:SHORT],
            )
        )
    return records


def refuse_other_scale(where: str, question: str, verdict: Verdict) -> None:
    """
    Raises:
        BactrianError: a score of a user's own verifier is outside [0, 1], for which intervals are worked out.
    """
    if not 0 <= verdict.score <= 1:
        raise BactrianError(
            f"{where}: question {question}: the verifier gave the score {verdict.score:g}; an evaluation takes scores "
            "from 0 to 1, as its intervals are those of shares. Scale it, or give right or wrong (a bool)"
        )


def _instructions(loose: Verdict, further: Mapping[str, Verdict]) -> dict[str, float]:
    """IFEval's four numbers for one answer.

    Raises:
        AssertionError: where strict is kinder than loose.
    """
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


def _recited(question: Question, text: str) -> dict[str, float]:
    """The longest common subsequence with the gold text, in each of the published units."""
    return {f"lcs_{unit}": float(recited(question.truth, text, unit)[0]) for unit in UNITS}


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
                group=question.group,
                cluster=question.cluster,
                values=values,
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
                group=question.group,
                cluster=question.cluster,
                values=values,
            )
        )
    return records
