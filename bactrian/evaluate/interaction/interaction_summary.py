"""What conversations come to: accuracy, turns, questions without an answer, and what asking better has saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bactrian.evaluate.comparison import adjusted, compare_task, pairs_to_compare
from bactrian.evaluate.estimates import estimate
from bactrian.evaluate.interaction.dialogue import Dialogue
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging, Score, score

ACCURACY = Averaging("right", False, 1, "accuracy")
SHARES = Averaging("score", False, 1, "score")
MODE = "simulated"
RESAMPLES = 2_000
LEVELS = ("clarity", "focus", "answerability", "accuracy", "relevance", "openness")
AnyDialogue = Dialogue[Any]


def outcome_records(dialogues: Sequence[AnyDialogue], prompt: Callable[[AnyDialogue], str]) -> list[Record]:
    """One for each conversation: right or not, its transcript, and what it took. Cases are clusters."""
    found = []
    for each in dialogues:
        answer = each.decision.answer if each.decision else None
        outcome = "right" if each.correct else "unparsable" if answer is None else "wrong"
        found.append(
            Record(
                question=each.id,
                sample=each.sample,
                prompt=prompt(each),
                completion=each.transcript(),
                ground_truth=each.right,
                extracted=answer,
                score=float(each.correct),
                outcome=outcome,
                tokens=sum(exchange.tokens for exchange in each.exchanges),
                finish="stop",
                cluster=each.id,
                values={"turns": float(len(each.exchanges)), "unanswerable": each.unanswerable},
                reason=f"{len(each.exchanges)} questions",
            )
        )
    return found


def attribute_records(dialogues: Sequence[AnyDialogue]) -> list[Record]:
    """One for each conversation and attribute, where questions have them: the mean over its questions."""
    found = []
    for each in dialogues:
        for name in LEVELS:
            levels = [exchange.values[name] for exchange in each.exchanges if name in exchange.values]
            if levels:
                mean = sum(levels) / len(levels)
                found.append(
                    Record(
                        question=f"{each.id}/{name}",
                        sample=each.sample,
                        prompt="",
                        completion=each.exchanges[0].question,
                        ground_truth="",
                        extracted=None,
                        score=mean,
                        outcome="right" if mean >= 0.5 else "wrong",
                        tokens=0,
                        finish="stop",
                        group=name,
                        cluster=each.id,
                        values={"score": mean},
                    )
                )
    return found


def interaction_numbers(
    dialogues: Sequence[AnyDialogue], fewest: Mapping[str, float], gaps: Callable[[AnyDialogue], Sequence[float]]
) -> dict[str, Any]:
    """Means with intervals that are clustered by case.

    Args:
        fewest: case → questions that the best policy is expected to need, where that is known.
        gaps: of a conversation's questions, bits that the best question would have told more.
    """
    clusters = [each.id for each in dialogues]
    turns = [float(len(each.exchanges)) for each in dialogues]
    found = {"questions": _mean(turns, clusters)}
    asked = [(each.id, float(not exchange.reply.answered)) for each in dialogues for exchange in each.exchanges]
    if asked:
        found["unanswerable"] = _mean([value for _, value in asked], [case for case, _ in asked])
    found["decided"] = _mean([float(bool(each.decision and each.decision.confident)) for each in dialogues], clusters)
    if fewest:
        extra = [turn - fewest[each.id] for turn, each in zip(turns, dialogues, strict=True)]
        found["questions_beyond_best"] = _mean(extra, clusters)
        bits = [(each.id, gap) for each in dialogues for gap in gaps(each)]
        if bits:
            found["gap_bits"] = _mean([value for _, value in bits], [case for case, _ in bits])
    faults = sum(bool(exchange.reply.fault) for each in dialogues for exchange in each.exchanges)
    decisions = [decision for each in dialogues for decision in each.decisions]
    return {
        **found,
        "conversations": len(dialogues),
        "unread_replies": faults,
        "decisions": len(decisions),
        "unread_decisions": sum(each.answer is None for each in decisions),
        "unrated_decisions": sum(not each.rated for each in decisions),
    }


def _mean(values: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    made = estimate(values, clusters)
    return {"mean": made.score, "error": made.error, "interval": list(made.interval)}


def error_reduction(before: Sequence[AnyDialogue], after: Sequence[AnyDialogue], seed: int) -> dict[str, Any] | None:
    """1 − (share of wrong answers after / before), with a 95 % bootstrap interval over cases; None without errors."""
    cases = sorted({each.id for each in before} & {each.id for each in after})
    wrong: list[dict[str, list[float]]] = [{case: [] for case in cases} for _ in range(2)]
    for side, dialogues in zip(wrong, (before, after), strict=True):
        for each in dialogues:
            if each.id in side:
                side[each.id].append(float(not each.correct))
    a, b = (np.array([np.mean(side[case]) for case in cases]) for side in wrong)
    if not a.sum():
        return None
    drawn = np.random.default_rng(seed).integers(len(cases), size=(RESAMPLES, len(cases)))
    above, below = b[drawn].sum(1), a[drawn].sum(1)
    ratios = 1 - above[below > 0] / below[below > 0]
    low, high = (float(bound) for bound in np.quantile(ratios, [0.025, 0.975]))
    return {"reduction": float(1 - b.sum() / a.sum()), "interval": [low, high], "cases": len(cases)}


def results_of(
    task: str,
    records: Mapping[str, Mapping[str, Sequence[Record]]],
    about: Mapping[str, Any],
    baseline: str | None,
    seed: int,
) -> dict[str, Any]:
    """results.json in the form of `evaluate`. records: model → part ("" or "attributes") → its records."""
    parts = [part for part in ("", "attributes") if all(mine.get(part) for mine in records.values())]
    names = {part: f"{task}: {part}" if part else task for part in parts}
    ways = {"": ACCURACY, "attributes": SHARES}
    settings = {"verifier": "simulator", "max_new_tokens": about["max_new_tokens"], "template_hash": None}
    scores: list[Score] = [
        score(model, names[part], MODE, mine[part], ways[part]) for part in parts for model, mine in records.items()
    ]
    tasks = {
        names[part]: {**about, "metric": ways[part].name, "macro": False, "mode": MODE, "skill": "asking"}
        for part in parts
    }
    compared = []
    for before, after in pairs_to_compare(list(records), baseline):
        differences = adjusted(
            [compare_task(names[p], ways[p], records[before][p], records[after][p], seed) for p in parts]
        )
        for each in differences:
            place = {"task": each.task, "mode": MODE, "before": before, "after": after}
            compared.append(place | asdict(each.comparison) | {"p_holm": each.adjusted})
    return {
        "tasks": tasks,
        "models": list(records),
        "scores": [asdict(each) | {"skill": "asking"} | settings for each in scores],
        "comparisons": compared,
    }


def summary_lines(numbers: Mapping[str, Mapping[str, Any]], reductions: Mapping[str, Any]) -> list[str]:
    """For the terminal: one line a model."""
    lines = []
    for model, found in numbers.items():
        told = [
            f"{name.replace('_', ' ')} {each['mean']:.2f} [{each['interval'][0]:.2f}, {each['interval'][1]:.2f}]"
            for name, each in found.items()
            if isinstance(each, dict)
        ]
        if unread := found.get("unread_decisions"):
            told.append(f"{unread} of {found['decisions']} decisions without an answer that could be read")
        if (saved := reductions.get(model)) is not None:
            low, high = saved["interval"]
            told.append(f"errors {-100 * saved['reduction']:+.0f} % [{-100 * high:+.0f}, {-100 * low:+.0f}]")
        lines.append(f"  {model}: {', '.join(told)}")
    return lines
