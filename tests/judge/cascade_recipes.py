"""Recipes that calibrate a tiny judge and use it, for the tests of calibrated cascades."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "what", "is", "no", "yes", "one", "two", "three"]
LEVELS = "alpha: 0.2, delta: 0.2, least: 10"
PAIRS = 36


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Pairs of short answers, no prompt twice."""
    found = []
    for n in range(first, first + count):
        words = [WORDS[(n * 5 + k * k) % len(WORDS)] for k in range(4)]
        asked = [{"role": "user", "content": f"{WORDS[n % 14]} {WORDS[n // 14 % 14]} {WORDS[n * 3 % 14]} ?"}]
        found.append({"id": f"p{n}", "prompt": asked, "first": " ".join(words[:2]), "second": " ".join(words[2:])})
    return found


def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def recipe(folder: Path, steps: str) -> None:
    (folder / "r.yaml").write_text(
        "name: judged\nhardware: {dtype: float32, threads: 1, device: cpu}\nsteps:\n"
        + "".join(f"  {line}\n" for line in steps.strip().splitlines())
    )


def made(folder: Path) -> dict[str, Path]:
    return {
        each.name: folder / "runs" / str(each.path)
        for each in runner.run(load(folder / "r.yaml"), Store(folder / "runs"))
    }


def calibration_of(folder: Path) -> Path:
    """The artifact of the last run's calibration; another may lie beside it, of other labels."""
    run = json.loads((folder / "runs" / "judged" / "run.json").read_text())
    return folder / "runs" / next(step["path"] for step in run["steps"] if step["name"] == "calibrated")


CALIBRATE = f"calibrated: {{stage: calibrate, labels: labels.jsonl, judges: [{{likelihood: judge}}], {LEVELS}}}"
JUDGE = "judged: {stage: judge, data: fresh.jsonl, calibration: calibrated}"
