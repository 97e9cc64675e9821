"""What `results.json` of stage `scaling` says about each method and each of its runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bactrian.stages.measure.thinking_methods import AnyMethod, Point

if TYPE_CHECKING:
    from bactrian.evaluate.thinking_metrics import Run
    from bactrian.think.attempt import Chosen


def as_run(point: Point, chosen: "Sequence[Chosen]") -> "Run":
    import numpy as np

    from bactrian.evaluate.thinking_metrics import Run

    right = [float(each.attempt is not None and each.attempt.right) for each in chosen]
    return Run(
        np.array([float(each.tokens) for each in chosen]),
        np.array(right),
        float(np.mean([each.within for each in chosen])),
        point.least,
        point.most,
    )


def line(point: Point, chosen: "Sequence[Chosen]", run: "Run", score: Mapping[str, Any]) -> dict[str, Any]:
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


def summary(method: AnyMethod, lines: Sequence[Mapping[str, Any]], runs: "Sequence[Run]", seed: int) -> dict[str, Any]:
    """A method and its metrics, as in results.json."""
    from bactrian.evaluate.thinking_metrics import curve

    found = curve(runs, seed)
    return {
        "name": method.label,
        "kind": method.kind,
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
