"""From completions to records, from records to scores: what results.json and questions.parquet are made of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from bactrian.chat import TAGS, Parts, ThinkingReader
from bactrian.errors import BactrianError
from bactrian.evaluate.statistics import Comparison, clustered_wilson, mcnemar, paired_bootstrap, pass_at_k
from bactrian.verify import OUTCOMES, Item, Pool, at_limit

Mode = Literal["greedy", "sampled"]


class Sampled(Protocol):
    """What scoring reads of a completion (generate.engine.Completion)."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """One completion of one question, verified: a row of questions.parquet but for model, task and mode.

    `outcome` is the verifier's, or "truncated" for an answer that is not right and was cut at the token limit.
    `score` is the verifier's, in [0, 1]. `tokens` counts sampled tokens, the end token included; of them
    `thinking_tokens` come before the delimiter that ends the thinking and `answer_tokens` after it. `completion` from
    character `answer_at` on is the answer.
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
    thinking_tokens: int = 0
    answer_tokens: int = 0
    answer_at: int = 0


def grade(
    rows: Sequence[Mapping[str, Any]],
    prompts: Sequence[str],
    completions: Sequence[Sequence[Sampled]],
    pool: Pool,
    reader: ThinkingReader,
) -> list[Answer]:
    """Verify the completions of each problem row; `prompts` are the texts they continue. In order, samples inner."""
    pairs = [
        (row, prompt, i, c, told_apart(row, prompt, c, reader))
        for row, prompt, cs in zip(rows, prompts, completions, strict=True)
        for i, c in enumerate(cs)
    ]
    verdicts = pool.verify_all([Item.of(row, parts.text) for row, _, _, _, parts in pairs])
    return [
        Answer(
            question=row["id"],
            sample=i,
            prompt=prompt,
            completion=parts.text,
            ground_truth=row["ground_truth"],
            extracted=verdict.extracted,
            score=verdict.score,
            outcome=at_limit(verdict.outcome, c.finish),
            tokens=len(c.ids),
            finish=c.finish,
            thinking_tokens=parts.thinking_tokens,
            answer_tokens=parts.answer_tokens,
            answer_at=parts.answer_at,
        )
        for (row, prompt, i, c, parts), verdict in zip(pairs, verdicts, strict=True)
    ]


def told_apart(row: Mapping[str, Any], prompt: str, completion: Sampled, reader: ThinkingReader) -> Parts:
    """A completion's thinking and answer, in the tags in which the row's verifier expects thinking."""
    tags = (row.get("settings") or {}).get("thinking", TAGS)
    return reader.parts(completion.ids, completion.text, reader.opened(prompt), tags)


@dataclass(frozen=True)
class Score:
    """One model on one task in one mode, as in results.json.

    `score` is the share of right answers: of questions when greedy, mean@n over questions when sampled. What the
    verifier failed on (timed_out, crashed) stays in the denominator, so that the score is never too high, and is
    counted; `refuse_failures` stops a run in which it is more than a trace. `interval`: 95 %, Wilson's with questions
    as clusters. `mean_score` is the mean of the verifier's own scores, which differs where it gives part marks.
    Of `mean_tokens`, thinking and answer apart are in `mean_thinking_tokens` and `mean_answer_tokens`.
    """

    model: str
    task: str
    mode: Mode
    questions: int
    samples: int
    score: float
    interval: tuple[float, float]
    counts: dict[str, int]
    pass_at_k: dict[str, float]
    mean_tokens: float
    mean_score: float
    mean_thinking_tokens: float
    mean_answer_tokens: float


def score(model: str, task: str, mode: Mode, answers: Sequence[Answer], k: Sequence[int] = ()) -> Score:
    """Raises ValueError if there are no answers, questions have different numbers of them, or a k is above it."""
    right = right_by_question(answers)
    samples = {len(values) for values in right.values()}
    if len(samples) != 1:
        raise ValueError(f"expected answers, and the same number for each question; found {sorted(samples)}")
    n = samples.pop()
    counted = Counter(answer.outcome for answer in answers)
    means = [sum(values) / n for values in right.values()]
    estimates = {str(each): float(np.mean([pass_at_k(n, sum(v), each) for v in right.values()])) for each in k}
    return Score(
        model=model,
        task=task,
        mode=mode,
        questions=len(right),
        samples=n,
        score=float(np.mean(means)),
        interval=clustered_wilson(means, n),
        counts={name: counted[name] for name in OUTCOMES},
        pass_at_k=estimates,
        mean_tokens=float(np.mean([answer.tokens for answer in answers])),
        mean_score=float(np.mean([answer.score for answer in answers])),
        mean_thinking_tokens=float(np.mean([answer.thinking_tokens for answer in answers])),
        mean_answer_tokens=float(np.mean([answer.answer_tokens for answer in answers])),
    )


def compare(before: Sequence[Answer], after: Sequence[Answer], seed: int = 0) -> Comparison:
    """Paired test of two models on the same questions: exact McNemar with one answer each, else paired bootstrap.

    Raises ValueError if the questions are not the same.
    """
    first, second = right_by_question(before), right_by_question(after)
    if first.keys() != second.keys():
        raise ValueError("the two models did not answer the same questions")
    pairs = [(values, second[question]) for question, values in first.items()]
    if all(len(one) == len(other) == 1 for one, other in pairs):
        return mcnemar([one[0] for one, _ in pairs], [other[0] for _, other in pairs])
    means = [(sum(one) / len(one), sum(other) / len(other)) for one, other in pairs]
    return paired_bootstrap([one for one, _ in means], [other for _, other in means], seed)


def right_by_question(answers: Sequence[Answer]) -> dict[str, list[bool]]:
    """Question id → whether each of its answers is right, in the order of the answers."""
    right: dict[str, list[bool]] = {}
    for answer in answers:
        right.setdefault(answer.question, []).append(answer.outcome == "right")
    return right


def refuse_failures(where: str, answers: Sequence[Answer], limit: float) -> None:
    """Raises BactrianError if the verifier itself failed on more than `limit` (a share) of the answers."""
    failed = [answer for answer in answers if answer.outcome in ("crashed", "timed_out")]
    if len(failed) > limit * len(answers):
        raise BactrianError(
            f"{where}: the verifier failed on {len(failed)} of {len(answers)} answers (first: question "
            f"{failed[0].question}, {failed[0].outcome}, answer {failed[0].completion[-80:]!r}); a score would mean "
            f"nothing. At most {limit:.0%} may fail (setting failures)"
        )
