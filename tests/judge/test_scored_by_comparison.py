"""Stage `score` with a judge that compares: accuracy by section, its calibration, and how often the order decides."""

import json
import math
from pathlib import Path

import pytest

from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.judge.answer_scores import half_log_odds
from bactrian.judge.opinions import Opinion
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store
from tests.generate.chat_server import Handler, completion, serving

RECIPE = """\
name: compared
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  scored: {stage: score, data: pairs.jsonl, compare: helpfulness, by: subset, sections: rewardbench,
           judge_server: {url: URL, model: m, backoff: 0.01, tries: 2}}
"""
SUBSETS = ("alpacaeval-easy", "alpacaeval-easy", "alpacaeval-easy", "hep-python", "hep-python")
SAID = ("good", "good", "good", "fine", "odd")


def write_inputs(folder: Path, url: str) -> None:
    rows = [
        {
            "id": f"p{number}",
            "prompt": [{"role": "user", "content": f"Say {number}."}],
            "chosen": [{"role": "assistant", "content": f"{word} {number}"}],
            "rejected": [{"role": "assistant", "content": f"poor {number}"}],
            "subset": subset,
            "source": "test",
            "license": "MIT",
        }
        for number, (subset, word) in enumerate(zip(SUBSETS, SAID, strict=True))
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "r.yaml").write_text(RECIPE.replace("URL", url))


def behave(handler: Handler, content: str, nth: int) -> None:
    """Likes what is good, in either place; of what is fine, whichever comes first; refuses to look at what is odd."""
    if "odd 4" in content:
        handler.give(400, b'{"error": {"message": "not this one"}}')
        return
    first = content.split("<answer A ")[1].split("</answer A")[0] if "<answer A" in content else "A"
    a = 0.9 if "good" in first or ("fine" not in first and "good" not in content) else 0.1
    a = 0.7 if "fine" in content else a
    top = [{"token": token, "logprob": math.log(p)} for token, p in (("A", a), ("B", 1 - a))]
    body = json.loads(completion("A"))
    body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": math.log(a), "top_logprobs": top}]}
    handler.give(200, json.dumps(body).encode())


def test_pairs_scored_by_a_judge_that_compares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(behave) as (url, _):
        write_inputs(tmp_path, url)
        (record,) = runner.run(load(Path("r.yaml"), ()), Store(Path("runs")))
    folder = tmp_path / "runs" / str(record.path)
    found, rows = json.loads((folder / "scores.json").read_text()), read_rows(folder)
    assert len(rows) == 4 and "refused with 400" in (folder / "README.md").read_text()
    for row in rows[:3]:
        assert row["chosen_reward"] - row["rejected_reward"] == pytest.approx(math.log(9))
    assert rows[3]["chosen_reward"] == pytest.approx(0.0, abs=1e-9)  # both orders disagree: it knows nothing
    assert found["order_changed"]["pairs"] == 4 and found["order_changed"]["share"] == 0.25
    assert {each["name"]: each["accuracy"] for each in found["sections"]}["Chat"] == 1.0
    assert found["calibration"]["loss"] == pytest.approx((3 * -math.log(0.9) + math.log(2)) / 4)


def test_comparing_needs_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(BactrianError, match="compare: expected a judge"):
        load(Path("r.yaml"), ("scored.judge_server=null",))


def test_certainty_leaves_finite_odds() -> None:
    sure = half_log_odds(Opinion((1.0, 0.0), False, 1.0))
    assert isinstance(sure, float) and math.isfinite(sure) and sure > 6
    assert half_log_odds(Opinion(fault="prose")) == "no opinion: prose"
