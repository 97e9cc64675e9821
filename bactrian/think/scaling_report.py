"""What `results.json` of stage `scaling` says about each method and each of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bactrian.chat import ThinkingFormat
from bactrian.think.attempt import Chosen
from bactrian.think.draws import MethodPoint
from bactrian.think.scaling_metrics import MethodRun, at_equal_tokens, curve


def method_run(point: MethodPoint, chosen: Sequence[Chosen]) -> MethodRun:
    right = [float(each.attempt is not None and each.attempt.right) for each in chosen]
    return MethodRun(
        np.array([float(each.tokens) for each in chosen]),
        np.array(right),
        float(np.mean([each.within for each in chosen])),
        point.least,
        point.most,
    )


def run_line(point: MethodPoint, chosen: Sequence[Chosen], run: MethodRun, score: Mapping[str, Any]) -> dict[str, Any]:
    """One run of a method, as in results.json."""
    attempts = [each.attempt for each in chosen if each.attempt is not None]
    return {
        "label": point.label,
        "thinking_tokens": float(run.tokens.mean()),
        "least": point.least,
        "most": point.most,
        "sampled_tokens": sum(each.sampled for each in chosen) / len(chosen),
        "accuracy": float(run.right.mean()),
        "interval": score["interval"],
        "within": run.within,
        "cut": sum(a.ended == "budget" for a in attempts),
        "waits": sum(a.waits for a in attempts),
        "loops": sum(a.loop for a in attempts),
        "unanswered": len(chosen) - len(attempts),
    }


def method_summary(
    name: str, kind: str, lines: Sequence[Mapping[str, Any]], runs: Sequence[MethodRun], seed: int
) -> dict[str, Any]:
    """A method and its metrics, as in results.json."""
    found = curve(runs, seed)
    return {
        "name": name,
        "kind": kind,
        "control": found.control,
        "control_of_means": found.control_of_means,
        "scaling": found.scaling.value,
        "scaling_interval": found.scaling.interval,
        "per_doubling": found.per_doubling.value,
        "per_doubling_interval": found.per_doubling.interval,
        "performance": found.performance.value,
        "performance_interval": found.performance.interval,
        "points": list(lines),
    }


def equal_tokens(
    sequential: str, runs: Mapping[str, Sequence[MethodRun]], methods: Sequence[Mapping[str, Any]], seed: int
) -> list[dict[str, Any]]:
    """The curve of a sequential method against every run of each parallel one, at that run's tokens.

    Args:
        runs: of each method by its name.
        methods: their summaries.
    """
    found = []
    for method in methods:
        for point, run in zip(method["points"], runs[method["name"]], strict=True):
            if method["kind"] == "parallel":
                difference = at_equal_tokens(runs[sequential], run, seed)
                found.append(
                    {
                        "sequential": sequential,
                        "parallel": method["name"],
                        "point": point["label"],
                        "tokens": point["thinking_tokens"],
                        "difference": difference.value,
                        "interval": difference.interval,
                    }
                )
    return found


def answer_columns(row: Mapping[str, Any], chosen: Chosen, form: ThinkingFormat) -> dict[str, Any]:
    """What a method answered to a question, as columns of questions.parquet; no answer at all is "unparsable".

    Its thinking tokens are those that count for it, of parallel methods of all their samples.
    """
    attempt = chosen.attempt
    columns = {
        "question": row["id"],
        "prompt": row["messages"][-1]["content"],
        "ground_truth": row["ground_truth"],
        "tokens": chosen.sampled,
        "thinking_tokens": chosen.tokens,
    }
    if attempt is None:
        nothing = {"sample": 0, "completion": "", "extracted": None, "score": 0.0, "outcome": "unparsable"}
        return columns | nothing | {"finish": "length"}
    before = f"{form.opening}{attempt.thinking}{form.closing}"
    return columns | {
        "sample": attempt.sample,
        "completion": before + attempt.answer,
        "extracted": attempt.extracted,
        "score": attempt.score,
        "outcome": attempt.outcome,
        "finish": attempt.finish,
        "answer_tokens": attempt.answer_tokens,
        "answer_at": len(before),
    }
