"""Stage `winrate` where somebody judges: behind a server, a calibrated cascade, each family of tasks in its way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from tests.generate.chat_server import Handler, completion, preference, serving
from tests.judge.cascade_recipes import made, recipe, write

SERVER = "{url: URL, model: m, backoff: 0.01, tries: 3, concurrency: 2}"
Behave = Callable[[Handler, str, int], None]


def says(handler: Handler, first: float) -> None:
    """P(answer A) as log-probabilities."""
    handler.give(200, preference(first))


def prefers_good(handler: Handler, content: str, nth: int) -> None:
    """What is good, by 0.9; on prompt 3 whatever stands first, on 4 prose, on 5 after one refusal for being busy, on
    prompts from 20 on it knows nothing."""
    first = content.partition("<answer A")[2].partition("</answer A")[0]
    number = int(content.partition("prompt ")[2].partition(".")[0] or 0)
    if number == 4:
        top = [{"token": "Well", "logprob": -0.1}]
        body = json.loads(completion("Well"))
        body["choices"][0]["logprobs"] = {"content": [{"token": "Well", "logprob": -0.1, "top_logprobs": top}]}
        handler.give(200, json.dumps(body).encode())
    elif number == 5 and nth == 1:
        handler.give(429, Retry_After="0")
    elif number == 3:
        says(handler, 0.9)
    else:
        says(handler, 0.5 + 1e-3 if number >= 20 else 0.9 if "good" in first else 0.1)


def answers(model: str, word: str, numbers: range, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"prompt {n}.", "completion": f"{word} {n}", "model": model, "license": "MIT", **more}
        for n in numbers
    ]


def labels(numbers: range) -> list[dict[str, Any]]:
    return [
        {"prompt": f"prompt 1{n:03}.", "first": f"good {n}", "second": f"poor {n}", "label": 1, "license": "CC-BY-4.0"}
        if n % 2
        else {"prompt": f"prompt 1{n:03}.", "first": f"poor {n}", "second": f"good {n}", "label": 2}
        for n in numbers
    ]


def test_a_server_judges_both_orders_and_what_it_fails_on_is_in_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", answers("ours", "good", range(8)))
    write(tmp_path / "b.jsonl", answers("base", "poor", range(8)))
    with serving(prefers_good) as (url, handler):
        judge = SERVER.replace("URL", url)
        recipe(
            tmp_path,
            f"rates: {{stage: winrate, data: [a.jsonl, b.jsonl], baseline: base, judge: {{server: {judge}}}, "
            f"resamples: 30}}",
        )
        folder = made(tmp_path)["rates"]
        asked = [body["messages"][-1]["content"] for body in handler.bodies]
    found, rows = json.loads((folder / "winrates.json").read_text()), read_rows(folder)
    (ours,) = found["models"]
    assert ours["raw"]["rate"] == pytest.approx((6 * 0.9 + 0.5) / 7) and ours["prompts"] == 7
    assert found["abstained"] == 1 and ours["bounds"] == pytest.approx([(6 * 0.9 + 0.5) / 8, (6 * 0.9 + 1.5) / 8])
    assert found["position"]["changed"] == pytest.approx(1 / 7)  # prompt 3, where the order decides
    assert any("whatever those without a verdict" in note for note in found["notes"])
    (failed,) = [row for row in rows if "fault" in row]
    assert "none of A, B" in failed["fault"] and "probability" not in failed and len(rows) == 8
    assert sum("prompt 5." in text for text in asked) == 4  # both orders, each tried again
    page = (tmp_path / "runs" / "judged" / "report.html").read_text()
    assert 'id="winrates"' in page and "ours wins" in page


def test_a_server_that_goes_away_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", answers("ours", "good", range(6, 12)))
    write(tmp_path / "b.jsonl", answers("base", "poor", range(6, 12)))
    there = [False]

    def goes(handler: Handler, content: str, nth: int) -> None:
        if not there[0] and any(f"prompt {n}." in content for n in (8, 9, 10, 11)):
            handler.give(500)
        else:
            prefers_good(handler, content, nth)

    with serving(goes) as (url, handler):
        judge = SERVER.replace("URL", url)
        step = f"rates: {{stage: winrate, data: [a.jsonl, b.jsonl], judge: {{server: {judge}}}, resamples: 20}}"
        recipe(tmp_path, step)
        with pytest.raises(BactrianError):
            made(tmp_path)
        there[0] = True
        handler.bodies.clear()
        folder = made(tmp_path)["rates"]
        again = " ".join(body["messages"][-1]["content"] for body in handler.bodies)
    assert "prompt 6." not in again and "prompt 7." not in again and "prompt 11." in again
    assert len(read_rows(folder)) == 6


def test_a_calibrated_cascade_behind_a_server_abstains_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels.jsonl", labels(range(40)))
    write(tmp_path / "a.jsonl", answers("ours", "good", range(10, 26)))
    write(tmp_path / "b.jsonl", answers("base", "poor", range(10, 26)))

    def calibrated(handler: Handler, content: str, nth: int) -> None:
        """As before, but sure of the labelled prompts."""
        first = content.partition("<answer A")[2].partition("</answer A")[0]
        if "prompt 1" in content and "." not in content.partition("prompt ")[2][:3]:
            says(handler, 0.9 if "good" in first else 0.1)
        else:
            prefers_good(handler, content, nth)

    with serving(calibrated) as (url, handler):
        judge = f"{{name: served, server: {SERVER.replace('URL', url)}, price: {{comparison: 0.5}}}}"
        steps = (
            f"calibrated: {{stage: calibrate, labels: labels.jsonl, judges: [{judge}], alpha: 0.2, delta: 0.2, "
            f"least: 10}}\n"
            "rates: {stage: winrate, data: [a.jsonl, b.jsonl], baseline: base, calibration: calibrated, resamples: 30}"
        )
        recipe(tmp_path, steps)
        folder = made(tmp_path)["rates"]
        before = len(handler.bodies)
    found, rows = json.loads((folder / "winrates.json").read_text()), read_rows(folder)
    apart = [json.loads(line) for line in (folder / "abstained.jsonl").read_text().splitlines()]
    account = json.loads((folder / "judged.json").read_text())
    assert len(rows) == 10 and len(apart) == 6 and all(row["fault"] == "abstains" for row in apart)
    assert {row["probability"] for row in rows} == {1.0} and not any("probability" in row for row in apart)
    (ours,) = found["models"]
    assert ours["raw"]["rate"] == 1.0 and ours["abstained"] == 6 and ours["bounds"] == [10 / 16, 1.0]
    assert account["composition"] == {"served": 10, "abstains": 6} and account["bills"]["served"]["cost"] == 8.0
    assert before == 2 * (40 + 16) + 2  # both orders of each; two questions show whether there are log-probabilities
    page = (tmp_path / "runs" / "judged" / "report.html").read_text()
    assert 'id="winrates"' in page and 'id="judges"' in page


def test_a_cascade_that_is_sure_of_nothing_gives_no_win_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels.jsonl", labels(range(6, 20)))
    write(tmp_path / "a.jsonl", answers("ours", "good", range(20, 24)))
    write(tmp_path / "b.jsonl", answers("base", "poor", range(20, 24)))

    def behave(handler: Handler, content: str, nth: int) -> None:
        first = content.partition("<answer A")[2].partition("</answer A")[0]
        says(handler, 0.501 if "prompt 2" in content else 0.9 if "good" in first else 0.1)

    with serving(behave) as (url, _):
        judge = f"{{server: {SERVER.replace('URL', url)}}}"
        calibrate = f"calibrated: {{stage: calibrate, labels: labels.jsonl, judges: [{judge}], alpha: 0.2, delta: 0.2, "
        rates = "rates: {stage: winrate, data: [a.jsonl, b.jsonl], calibration: calibrated}"
        recipe(tmp_path, f"{calibrate}least: 10}}\n{rates}")
        with pytest.raises(BactrianError, match=r"abstains on all 4 comparisons: there is no win rate"):
            made(tmp_path)
        write(tmp_path / "labels.jsonl", [{**row, "label": 3 - row["label"]} for row in labels(range(6, 20))])
        with pytest.raises(BactrianError, match="no judge of this calibration may be trusted"):
            made(tmp_path)


FAMILY_LABELS = [
    {"prompt": f"sum {n}", "first": f"{n}", "second": f"{n + 1}", "label": 1, "reference": f"{n}", "task": "closed qa"}
    for n in range(24)
] + [
    {"prompt": f"poem {n}", "first": "rhyme", "second": "good", "label": 2, "reference": "rhyme", "task": "generation"}
    for n in range(24)
]


def test_each_family_of_tasks_is_compared_in_the_way_that_people_agree_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels.jsonl", FAMILY_LABELS)
    sums = {"reference": "7", "task": "closed qa"}
    poems = {"reference": "rhyme", "task": "generation"}
    ours = [*answers("ours", "good", range(6, 9), **sums), *answers("ours", "good", range(10, 14), **poems)]
    base = [*answers("base", "7", range(6, 9), **sums), *answers("base", "rhyme", range(10, 14), **poems)]
    write(tmp_path / "a.jsonl", [*ours, *[{**row, "completion": "7"} for row in base[:3]], *base[3:]])
    with serving(prefers_good) as (url, handler):
        step = (
            "rates: {stage: winrate, data: [a.jsonl], baseline: base, resamples: 20, "
            f"judge: {{server: {SERVER.replace('URL', url)}}}, by_task: {{labels: labels.jsonl}}}}"
        )
        recipe(tmp_path, step)
        folder = made(tmp_path)["rates"]
        asked = {body["messages"][-1]["content"] for body in handler.bodies}
    found, rows = json.loads((folder / "winrates.json").read_text()), read_rows(folder)
    by_task = {each["task"]: each for each in found["tasks"]}
    assert by_task["closed qa"]["method"] == "exact" and by_task["generation"]["method"] == "judge"
    assert by_task["generation"]["agreements"] == {"judge": 1.0, "judge_reference": 1.0}
    assert by_task["closed qa"]["rates"][0]["rate"] == 0.0
    assert by_task["generation"]["rates"][0]["rate"] == pytest.approx(0.9)
    assert found["over_tasks"] == [{"model": "ours", "rate": pytest.approx(0.45), "families": 2}]
    assert found["models"][0]["raw"]["rate"] == pytest.approx(4 * 0.9 / 7)
    assert {row["task"] for row in rows} == {"closed qa", "generation"}
    # sums were put to nobody beyond the labelled ones; no judged poem showed the person's answer
    assert not any("prompt 6." in text for text in asked)
    assert not any("reference" in text for text in asked if "prompt 10." in text)
    page = (tmp_path / "runs" / "judged" / "report.html").read_text()
    assert "Win rates by family of tasks" in page


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("data: [a.jsonl], by_task: {labels: a.jsonl}", "expected a baseline"),
        ("data: [a.jsonl], baseline: b, by_task: {labels: a.jsonl}", "expected both, or neither"),
        (
            "data: [a.jsonl], baseline: b, judge: {model: m}, by_task: {labels: a.jsonl, methods: [words]}",
            "expected both, or neither",
        ),
        (
            "data: [a.jsonl], baseline: b, by_task: {labels: a.jsonl, methods: [words], embedder: e}",
            "only meaning reads one",
        ),
    ],
)
def test_ways_of_families_that_do_not_fit_are_refused(
    step: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", answers("ours", "good", range(3)))
    recipe(tmp_path, f"rates: {{stage: winrate, {step}}}")
    with pytest.raises(BactrianError) as error:
        load(tmp_path / "r.yaml")
    assert told in str(error.value)


def test_prompts_that_methods_are_chosen_on_are_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels.jsonl", FAMILY_LABELS)
    rows = [
        {"prompt": "sum 3", "completion": text, "model": text, "reference": "3", "task": "closed qa"}
        for text in ("x", "y")
    ]
    write(tmp_path / "a.jsonl", rows)
    by = json.dumps({"labels": "labels.jsonl", "methods": ["exact"]})
    assert invoke(["winrate", "a.jsonl", "--baseline", "y", "--by-task", by, "--store", "s"]) == 2
    assert "whose prompts are among the prompts to score" in capsys.readouterr().err
    write(tmp_path / "a.jsonl", [{**row, "prompt": "sum 300"} for row in rows])
    assert invoke(["winrate", "a.jsonl", "--baseline", "y", "--by-task", by, "--store", "s"]) == 2
    assert "none of which is tried for generation; expected one of meaning, judge" in capsys.readouterr().err
    write(tmp_path / "labels.jsonl", FAMILY_LABELS[:24])
    both = json.dumps({"labels": "labels.jsonl", "methods": ["exact", "words"]})
    rows = [{**row, "prompt": "sum 300", "completion": said} for row, said in zip(rows, "39", strict=True)]
    write(tmp_path / "a.jsonl", rows)
    command = ["winrate", "a.jsonl", "--baseline", "y", "--by-task", both, "--store", "s", "--resamples", "20"]
    assert invoke(command) == 0
    found = json.loads(next((tmp_path / "s" / "artifacts").glob("winrate-*/winrates.json")).read_text())
    (task,) = found["tasks"]
    assert (task["task"], task["method"], task["rates"][0]["rate"]) == ("closed qa", "exact", 1.0)
