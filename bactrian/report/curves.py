"""Training curves, chosen by the keys that a step's metrics.jsonl holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.formatting import NARROW, count, number
from bactrian.report.run_record import Metrics, ReportedStep


@dataclass(frozen=True)
class Panel:
    """One chart: the keys that it draws, what they mean, how values are printed, what the axis holds at least,
    and whether the line goes through the points instead of smoothing them."""

    keys: tuple[str, ...]
    title: str
    note: str = ""
    show: Callable[[float], str] = number
    bounds: tuple[float, float] | None = None
    exact: bool = False


def _share(value: float) -> str:
    return f"{number(float(f'{value * 100:.3g}'))}{NARROW}%"


FROM_ZERO = (0.0, 0.0)
REWARD = Panel(("reward",), "Reward", "mean over the sampled answers")
LOSS = Panel(("loss",), "Loss", "mean over the trained tokens")
SURROGATE = "what the optimiser differentiates; near 0 by construction, and no measure of progress"
LEARNING_RATE = Panel(("learning_rate",), "Learning rate", bounds=FROM_ZERO, exact=True)
GRADIENT = Panel(("grad_norm",), "Gradient norm", "before clipping", bounds=FROM_ZERO)
SPEED = Panel(("tokens_per_second",), "Tokens per second", bounds=FROM_ZERO)
TOKENS = Panel(("tokens",), "Tokens", "so far", bounds=FROM_ZERO, exact=True)

REINFORCEMENT = (
    REWARD,
    Panel(("held_out",), "Held-out score", "greedy answers to problems that nothing is trained on", _share, exact=True),
    Panel(("alarm",), "Over-optimisation alarm", "held-out score surely below its best, reward not", exact=True),
    Panel(("score",), "Verifier's score", "the reward before penalties", bounds=FROM_ZERO),
    Panel(("reward_std",), "Advantage spread", "standard deviation of the reward within a group", bounds=FROM_ZERO),
    Panel(("zero_variance",), "Groups without signal", "all answers of the group scored alike", _share, FROM_ZERO),
    Panel(("kl",), "KL to the start", "nats per token", bounds=FROM_ZERO),
    Panel(("completion_length",), "Completion length", "tokens", bounds=FROM_ZERO),
    Panel(("truncated",), "Truncated answers", "cut at the token limit", _share, FROM_ZERO),
    Panel(("logprob_gap_max",), "Log-prob gap, worst token", "sampler against trainer, nats", bounds=FROM_ZERO),
    Panel(("entropy",), "Entropy", "nats per sampled token", bounds=FROM_ZERO),
    Panel(("staleness",), "Age of answers", "steps since their weights", bounds=FROM_ZERO),
    Panel(("importance_truncated",), "Importance weights at the cap", "share of tokens", _share, FROM_ZERO),
)
PREFERENCE = (
    Panel(("accuracy",), "Pairs ranked rightly", "implicit reward of chosen above rejected", _share),
    Panel(("margin",), "Margin", "implicit reward, chosen minus rejected"),
    Panel(("reward_chosen", "reward_rejected"), "Implicit rewards", "solid: chosen · dashed: rejected"),
    Panel(("loss",), "Loss", "mean over pairs"),
    GRADIENT,
    LEARNING_RATE,
)
SUPERVISED = (LOSS, LEARNING_RATE, GRADIENT)
LOOKED_AT = ("bits/", "acc/", "acc_norm/", "acc_token/", "acc_pmi/", "mc1/", "mc2/")
"""What names of looks at texts and ranked tasks begin with."""
GAP = Panel(("logprob_gap_mean",), "Log-prob gap, mean", "sampler against trainer, nats", bounds=FROM_ZERO)
CLIPPED = Panel(("clip_fraction",), "Clipped tokens", "ratio outside the trust region", _share, FROM_ZERO)

FURTHER = (
    Panel(("unjudged",), "Answers without a verdict", "the verifier failed on them", _share, FROM_ZERO),
    Panel(("groups",), "Groups", "problems whose answers were sampled for the step", bounds=FROM_ZERO),
    Panel(("ratio",), "Probability ratio", "policy over the sampler, mean over tokens"),
)


@dataclass(frozen=True)
class DrawnPanel:
    """A panel ready for the page."""

    title: str
    note: str
    last: str
    chart: Markup | None


@dataclass(frozen=True)
class StepCurves:
    """The curves of one training step: those that matter, and the rest for who wants them."""

    step: str
    stage: str
    panels: list[DrawnPanel]
    rest: list[DrawnPanel]
    remarks: list[str]


def step_curves(step: ReportedStep) -> StepCurves | None:
    """The curves of a step, or None when it left no metrics.jsonl."""
    metrics = step.metrics
    if metrics is None:
        return None
    main, rest = _choose(metrics)
    remarks = [] if metrics.lines else ["the log is empty"]
    for at, undone in metrics.columns.get("rewound", []):
        remarks.append(f"after step {count(at)} training went back over {count(undone)} updates; the data went on")
    if metrics.unreadable:
        remarks.append(f"{count(metrics.unreadable)} of {count(metrics.lines)} lines of the log could not be read")
    return StepCurves(
        step.name, step.record.stage, [_draw(p, metrics) for p in main], [_draw(p, metrics) for p in rest], remarks
    )


def _choose(metrics: Metrics) -> tuple[list[Panel], list[Panel]]:
    """Panels for the keys present: by objective first, whatever is left after."""
    keys = metrics.columns.keys()
    rest: list[Panel] = []
    wanted: tuple[Panel, ...]
    if keys & {"reward", "zero_variance", "completion_length"}:
        wanted = REINFORCEMENT
        rest += [Panel(("surrogate",), "Surrogate", SURROGATE), Panel(("loss",), "Surrogate loss", SURROGATE), GAP]
        rest += FURTHER
    elif keys & {"margin", "reward_chosen"}:
        wanted = PREFERENCE
    else:
        wanted = SUPERVISED
    rest += [CLIPPED, LEARNING_RATE, GRADIENT, SPEED, TOKENS]
    main = [panel for panel in wanted if keys & set(panel.keys)]
    main += [_look(key) for key in sorted(keys) if key.startswith(LOOKED_AT)]
    used = {key for panel in main for key in panel.keys}
    rest = [panel for panel in rest if keys & set(panel.keys) and not used & set(panel.keys)]
    used |= {key for panel in rest for key in panel.keys}
    return main, rest + [Panel((key,), key) for key in keys if key not in used]


def _look(key: str) -> Panel:
    """Of texts or a task that were looked at while the model was trained."""
    kind, _, name = key.partition("/")
    if kind == "bits":
        return Panel((key,), f"Bits per byte of {name}", "held-out texts", exact=True)
    return Panel((key,), f"{name}, {kind}", "a task whose answers are ranked", _share, exact=True)


def _draw(panel: Panel, metrics: Metrics) -> DrawnPanel:
    series = [(f"series{index}", sorted(metrics.columns.get(key, []))) for index, key in enumerate(panel.keys)]
    series = [(name, points) for name, points in series if points]
    if not series:
        return DrawnPanel(panel.title, panel.note, "no values recorded", None)
    last = " / ".join(panel.show(points[-1][1] if panel.exact else charts.smooth_end(points)) for _, points in series)
    absent = metrics.lines - max(len(points) for _, points in series)
    note = panel.note
    if absent > 0 and not panel.keys[0].startswith(LOOKED_AT):
        note += f"{' · ' if note else ''}{count(absent)} of {count(metrics.lines)} values missing"
    return DrawnPanel(panel.title, note, last, charts.curve(series, panel.show, panel.bounds, panel.exact))


REWARD_PARTS = re.compile(r"(reward|score|held_out|kl|alarm|overlong|penalt|verifier|judge|zero_variance|unjudged)")


def panel_words(columns: Collection[str]) -> dict[str, tuple[str, str, str]]:
    """Column → the title and note of its chart, and the group in which it belongs: for charts drawn elsewhere."""
    main, rest = _choose(Metrics({name: [] for name in columns}))
    words = {}
    for panel, name in ((each, name) for each in (*main, *rest) for name in each.keys if name in columns):
        title, note = (panel.title, panel.note) if len(panel.keys) == 1 else (name, panel.title)
        reward = "reward" in columns and REWARD_PARTS.match(name)
        group = "Reward and its parts" if reward else "Training" if panel in main else "More"
        words[name] = (title.replace("_", " "), note, group)
    return words
