"""Gates that look at several rows or ask somebody: near duplicates, a judge that is calibrated, one that is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import read_rows
from bactrian.data.synth.row_gates import near_flaws
from bactrian.errors import BactrianError
from bactrian.stages.synth.synthesise import Synthesise
from tests.generate.chat_server import Handler, completion, serving
from tests.synth.mock import dropped, personas, workspace
from tests.synth.test_synthesise import problem

OPEN: dict[str, Any] = {"decontaminate": False, "novelty": None}
BASE: dict[str, Any] = {"seeds": "seeds.jsonl", "prompt": "Sum for: {{ persona }}", "failures": 0.0}


def account(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "rows.json").read_text())
    return found


def test_near_duplicates_go_for_what_came_before() -> None:
    long = " ".join(problem(n) for n in range(8))
    texts = [long, f"{long} And more.", long.upper(), problem(99), f"{long} And more!", problem(98), problem(99)]
    flaws = near_flaws([{"id": str(n), "text": text} for n, text in enumerate(texts)], 0.8)
    near = "a near duplicate (MinHash, at least 0.8)"
    assert [flaw.reason if flaw else None for flaw in flaws] == [
        None,
        near,
        "came before",
        None,
        near,
        None,
        "came before",
    ]
    assert flaws[2].detail == "0" and flaws[6].detail == "3"  # type: ignore[union-attr]
    assert flaws[1].detail.endswith(", 0") and near_flaws([], 0.8) == []  # type: ignore[union-attr]


def rated(handler: Handler, content: str, nth: int) -> None:
    """A generator, and a judge of another name: it likes what was written for a keeper of few bees."""
    if handler.body["model"] == "writer":
        return handler.give(200, completion(problem(handler.body["seed"])))
    bees = int(content.split("keeper of ")[1].split()[0])
    said = "I had rather not say." if bees == 5 else f"It will do.\nRating: {9 if bees < 8 else 3}"
    handler.give(200, completion(said))


def test_a_judge_that_rates_drops_and_says_that_it_is_not_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = workspace(tmp_path, personas(12))
    with serving(rated) as (url, handler):
        writer, judge = ({"server": {"url": url, "model": name, "licence": "MIT"}} for name in ("writer", "judge"))
        gate = {"by": {**judge, "price_in": 1000.0, "price_out": 1000.0}, "rubric": "Is it a sum?"}
        stage = Synthesise(**BASE, generators=[writer], gates={**OPEN, "judge": gate})
        stage.run(work)
        asked, before = sum(handler.seen.values()), read_rows(work.output)
        assert asked == 24 and all("Is it a sum?" in text for text in handler.seen if "Rate the answer" in text)
        stage.run(work)
        assert sum(handler.seen.values()) == asked and read_rows(work.output) == before, "no row is judged twice"
    rows = read_rows(work.output)
    assert [row["made_by"]["seed"] for row in rows] == ["p0", "p1", "p2", "p4", "p5"]
    assert {json.dumps(row["judged_by"], sort_keys=True) for row in rows} == {
        json.dumps({"calibrated": False, "judge": "judge", "score": 9.0}, sort_keys=True)
    }
    reasons = account(work.output)["dropped"]
    assert {reason: each["count"] for reason, each in reasons.items()} == {
        "the judge gives no verdict": 1,
        "the judge's rating is below 7": 6,
    }
    told = account(work.output)["judge"]
    assert told["calibrated"] is False and "not calibrated" in told["warning"] and told["without_verdict"] == 1
    assert "not calibrated" in (work.output / "README.md").read_text() and "not calibrated" in capsys.readouterr().err
    assert work.metrics["judge_answers"] == 12 and work.metrics["judge_money"] > 0 == work.metrics["money"]
    assert not (work.output / "abstained.jsonl").exists()
    assert account(work.output)["funnel"]["judged"] == 12 and len(dropped(work)) == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gates": {**OPEN, "judge": {}}}, "found none, expected one of calibration, by, reward_model"),
        ({"gates": {**OPEN, "judge": {"calibration": "c"}}}, "a calibrated judge compares two answers"),
        ({"gates": {**OPEN, "judge": {"calibration": "c", "at_least": 3}}}, "thresholds of its own"),
        ({"gates": {**OPEN, "judge": {"reward_model": "r", "rubric": "x"}}}, "only `by` is told one"),
        ({"gates": {**OPEN, "near": 0.3}}, "greater than or equal to 0.5"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Synthesise(**BASE, generators=[{"model": "a"}], **settings)


def test_a_calibration_needs_seeds_with_an_answer(tmp_path: Path) -> None:
    asked = [{"id": "q", "messages": [{"role": "user", "content": "Why?"}], "license": "MIT"}]
    stage = Synthesise(
        seeds="seeds.jsonl",
        prompt="{{ question }}",
        into="solution",
        generators=[{"model": "a"}],
        gates={**OPEN, "judge": {"calibration": "c"}},
    )
    with pytest.raises(BactrianError, match="row q: no answer; a calibrated judge compares with the seed's own"):
        stage.run(workspace(tmp_path, asked))
