"""The figure of recipes/overoptimisation.yaml: what was rewarded, and what is true, while two policies are trained.

    python benchmarks/overoptimisation.py runs/overoptimisation docs/overoptimisation.svg

Left: the reward model's reward of each step's own answers (mean over the step, smoothed over five). Right: held-out
problems answered rightly, greedy, with one standard error, and the verifier's score of each step's sampled answers as a
thin line; a ring is an alarm. Beside the figure its data, as .csv. A policy that the run has not made yet is left out.
Ends with a line of JSON.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.svg import coordinate, join, tag
from bactrian.train.rl.held_out import HeldOutLook

WIDTH, HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 380.0, 280.0, 30.0, 38.0, 46.0, 10.0
COLOURS = {"proxy": "#dc3912", "verifier": "#3366cc"}
NAMES = {"proxy": "PPO on the reward model", "verifier": "GRPO on the verifier"}


@dataclass(frozen=True)
class RewardCurve:
    """A policy's training: one record of metrics a step, and the looks at held-out problems."""

    steps: list[dict[str, Any]]
    looks: list[HeldOutLook]

    def line(self, key: str) -> list[charts.Point]:
        return [(at, float(each[key])) for at, each in enumerate(self.steps) if key in each]

    @property
    def alarms(self) -> set[int]:
        return {at for at, each in enumerate(self.steps) if each.get("alarm")}


def read_curves(folder: Path) -> dict[str, RewardCurve]:
    record = json.loads((folder / "run.json").read_text())
    paths = {each["name"]: folder.parent / each["path"] for each in record["steps"] if each["path"]}
    return {
        name: RewardCurve(
            [json.loads(line) for line in (paths[name] / "metrics.jsonl").read_text().splitlines()],
            [HeldOutLook(**each) for each in json.loads((paths[name] / "looks.json").read_text())],
        )
        for name in COLOURS
        if name in paths
    }


def error(look: HeldOutLook) -> float:
    """Standard error of a look's score."""
    return float((look.score * (1 - look.score) / len(look.scores)) ** 0.5)


def panel(x: float, title: str, last: int, up: charts.Axis, body: Any) -> Markup:
    """One set of axes at x; `body` draws into it with the function place."""

    def place(point: charts.Point) -> charts.Point:
        across = x + LEFT + point[0] / last * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - up.share(point[1]) * (HEIGHT - TOP - BOTTOM)

    faint = {"stroke": "currentColor", "stroke-opacity": "0.15"}
    parts = [tag("text", {"x": x + LEFT, "y": 16, "font-weight": "bold"}, title)]
    for tick in up.ticks:
        y = place((0, tick))[1]
        parts.append(tag("line", {"x1": x + LEFT, "x2": x + WIDTH - RIGHT, "y1": y, "y2": y, **faint}))
        parts.append(tag("text", {"x": x + LEFT - 6, "y": y + 4, "text-anchor": "end"}, f"{tick:g}"))
    for tick in charts.axis(0, last, 4).ticks:
        if tick <= last:
            at = place((tick, 0))[0]
            parts.append(tag("text", {"x": at, "y": HEIGHT - BOTTOM + 15, "text-anchor": "middle"}, f"{tick:g}"))
    foot = {"x": x + (LEFT + WIDTH) / 2, "y": HEIGHT - 6, "text-anchor": "middle"}
    parts.append(tag("text", foot, "steps"))
    return join([*parts, *body(place)])


def path(points: list[charts.Point], colour: str, width: str, opacity: str = "1") -> Markup:
    d = "M" + "L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in points)
    return tag("path", {"d": d, "fill": "none", "stroke": colour, "stroke-width": width, "stroke-opacity": opacity})


def draw(curves: dict[str, RewardCurve]) -> Markup:
    last = max(look.step for curve in curves.values() for look in curve.looks)
    reward = charts.smooth(curves["proxy"].line("reward"), 5)
    high = max(
        [look.score + error(look) for c in curves.values() for look in c.looks]
        + [v for c in curves.values() for _, v in c.line("score")]
    )

    def left(place: Any) -> list[Markup]:
        raw = [
            tag(
                "circle",
                {"cx": place(p)[0], "cy": place(p)[1], "r": "1.5", "fill": COLOURS["proxy"], "fill-opacity": "0.35"},
            )
            for p in curves["proxy"].line("reward")
        ]
        return [*raw, path([place(p) for p in reward], COLOURS["proxy"], "2")]

    def right(place: Any) -> list[Markup]:
        parts = []
        for name, curve in curves.items():
            parts.append(path([place(p) for p in charts.smooth(curve.line("score"), 5)], COLOURS[name], "1", "0.5"))
            parts.append(path([place((look.step, look.score)) for look in curve.looks], COLOURS[name], "2"))
            for look in curve.looks:
                parts += mark(place, look, COLOURS[name], look.step in curve.alarms)
        return parts

    raw = [value for _, value in curves["proxy"].line("reward")]
    panels = [
        panel(0, "Reward model's reward, of its own policy", last, charts.axis(min(raw), max(raw)), left),
        panel(WIDTH, "Truly right, held-out problems (greedy)", last, charts.axis(0.0, high), right),
    ]
    for place, name in enumerate(curves):
        at = {"x": LEFT + place * 190, "y": HEIGHT + 14, "fill": COLOURS[name]}
        panels.append(tag("text", at, f"■ {NAMES[name]}"))
    thin = {"x": LEFT + 380, "y": HEIGHT + 14}
    panels.append(tag("text", thin, "thin: sampled, training problems; ring: alarm"))
    box = {
        "viewBox": f"0 0 {2 * WIDTH:g} {HEIGHT + 22:g}",
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "font-family": "sans-serif",
        "font-size": "11",
        "fill": "currentColor",
        "aria-label": "Over-optimisation",
    }
    return tag("svg", box, join(panels))


def mark(place: Any, look: HeldOutLook, colour: str, alarm: bool) -> list[Markup]:
    """A look: a dot with one standard error, ringed where there was an alarm."""
    x, y = place((look.step, look.score))
    ends = [place((look.step, look.score + sign * error(look)))[1] for sign in (-1, 1)]
    parts = [
        tag("line", {"x1": x, "x2": x, "y1": ends[0], "y2": ends[1], "stroke": colour}),
        tag("circle", {"cx": x, "cy": y, "r": "3", "fill": colour}),
    ]
    ring = {"cx": x, "cy": y, "r": "7", "fill": "none", "stroke": colour, "stroke-width": "1.5"}
    return [*parts, tag("circle", ring)] if alarm else parts


def write_data(curves: dict[str, RewardCurve], file: Path) -> None:
    """One line a step and policy; held_out and alarm where there was a look."""
    keys = ("reward", "score", "kl", "completion_length", "truncated", "alarm")
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["policy", "step", *keys, "held_out", "held_out_error", "held_out_length"])
        for name, curve in curves.items():
            looks = {look.step: look for look in curve.looks}
            for step in range(len(curve.steps) + 1):
                told = curve.steps[step] if step < len(curve.steps) else {}
                look = looks.get(step)
                seen = [f"{n:.4f}" for n in (look.score, error(look), look.length)] if look else [""] * 3
                writer.writerow([name, step, *(f"{told[key]:.5g}" if key in told else "" for key in keys), *seen])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path, help="folder of the run, with run.json")
    options.add_argument("figure", type=Path, help="file to write; its data go beside it")
    asked = options.parse_args()
    curves = read_curves(asked.run)
    asked.figure.write_text(str(draw(curves)) + "\n", encoding="utf-8")
    write_data(curves, asked.figure.with_suffix(".csv"))
    told = {
        name: {
            "held_out": [round(look.score, 4) for look in c.looks],
            "alarms": sorted(c.alarms),
            "reward": [round(c.steps[0]["reward"], 3), round(c.steps[-1]["reward"], 3)],
            "kl": round(c.steps[-1].get("kl", 0.0), 4),
        }
        for name, c in curves.items()
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
