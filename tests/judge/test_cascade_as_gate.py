"""A calibrated cascade as a gate: what beats the seed's answer stays, what nobody is sure of is kept apart."""

import json
from pathlib import Path
from typing import Any

from bactrian.data.io.files import read_rows
from bactrian.judge.opened import open_cascade
from bactrian.judge.opinions import AnswerPair
from bactrian.store.hardware import Hardware
from tests.generate.chat_server import Handler, completion, serving
from tests.judge.cascade_recipes import CALIBRATE, made, recipe, rows, write

OPEN: dict[str, Any] = {"decontaminate": False, "novelty": None}


def test_a_calibrated_judge_keeps_what_beats_the_seed_and_puts_apart_what_it_is_not_sure_of(ready: Path) -> None:
    given = rows(100, 40)
    turns = [[*row["prompt"], {"role": "assistant", "content": row["first"]}] for row in given]
    write(
        ready / "seeds.jsonl",
        [{"id": row["id"], "messages": t, "license": "MIT"} for row, t in zip(given, turns, strict=True)],
    )
    new = {row["prompt"][0]["content"]: row["second"] for row in given}

    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(200, completion(json.dumps({"prompt": content, "answer": new[content]})))

    text = {"type": "string"}
    schema = {"type": "object", "properties": {"prompt": text, "answer": text}, "required": ["prompt", "answer"]}
    with serving(behave) as (url, _):
        step = {
            "stage": "synthesise",
            "seeds": "seeds.jsonl",
            "prompt": "{{ question }}",
            "into": "conversation",
            "answer_schema": schema,
            "generators": [{"server": {"url": url, "model": "m", "licence": "MIT"}}],
            "gates": {**OPEN, "judge": {"calibration": "calibrated"}},
        }
        recipe(ready, f"{CALIBRATE}\nmade: {json.dumps(step)}")
        steps = made(ready)
    kept, told = read_rows(steps["made"]), json.loads((steps["made"] / "rows.json").read_text())
    apart = [json.loads(line) for line in (steps["made"] / "abstained.jsonl").read_text().splitlines()]
    cascade = open_cascade(steps["calibrated"], Hardware())
    pairs = [AnswerPair(row["id"], tuple(row["prompt"]), row["second"], row["first"]) for row in given]
    said = {row["prompt"][0]["content"]: v for row, v in zip(given, cascade.verdicts(pairs), strict=True)}
    assert {row["messages"][0]["content"] for row in kept} == {q for q, v in said.items() if v.preferred == 0}
    assert {row["messages"][0]["content"] for row in apart} == {q for q, v in said.items() if v.abstains}
    lost = sum(each.preferred == 1 for each in said.values())
    assert kept and apart and lost, "verdicts of every kind"
    counted = {reason: each["count"] for reason, each in told["dropped"].items()}
    assert counted == {"the judge abstains": len(apart), "the judge prefers the other answer": lost}
    assert told["judge"]["calibrated"] is True and told["judge"]["abstained"] == len(apart)
    assert all(row["judged_by"]["calibrated"] for row in [*kept, *apart])
