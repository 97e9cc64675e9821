"""A judge's server that goes wrong in every way the issue names: counted or refused in plain words, verdicts kept."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.judge.calibrated import CalibratedJudge, JudgeCalibration
from tests.generate.chat_server import Clock, Handler, completion, preference, serving
from tests.judge.cascade_recipes import calibration_of, made, recipe, write

LABELLED, MINUTE = 40, 60.0
BUSY_FROM = 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACTRIAN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def labels(first: int = 0, count: int = LABELLED) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Question {n}.", "first": f"good {n}", "second": f"poor {n}", "label": 1, "license": "MIT"}
        if n % 2
        else {"prompt": f"Question {n}.", "first": f"poor {n}", "second": f"good {n}", "label": 2}
        for n in range(first, first + count)
    ]


def number_of(content: str) -> int:
    """Which question the judge is asked about; −1: the first one of all, whether there are log-probabilities."""
    return int(content.partition("Question ")[2].partition(".")[0] or -1)


def prefers_good(handler: Handler, content: str) -> None:
    first = content.partition("<answer A")[2].partition("</answer A")[0]
    handler.give(200, preference(0.9 if "good" in first else 0.1))


def calibrate(folder: Path, url: str, **more: Any) -> CalibratedJudge:
    """The judge of a calibration; retries and backoff as they are by default."""
    server = json.dumps({"url": url, "model": "m", "concurrency": 1, **more})
    write(folder / "labels.jsonl", labels())
    recipe(
        folder,
        f"calibrated: {{stage: calibrate, labels: labels.jsonl, judges: [{{server: {server}}}], "
        "alpha: 0.2, delta: 0.2, least: 10}",
    )
    return JudgeCalibration.read(made(folder)["calibrated"]).judges[0]


def cut(handler: Handler) -> None:
    """A stream that breaks off in the middle of the answer."""
    body = preference(0.9)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:40])
    handler.close_connection = True


def without_letters() -> bytes:
    body = json.loads(completion("Well"))
    body["choices"][0]["logprobs"] = {
        "content": [{"token": "Well", "top_logprobs": [{"token": "Well", "logprob": -1}]}]
    }
    return json.dumps(body).encode()


SAID: dict[int, Callable[[Handler], None]] = {
    3: lambda handler: handler.give(200, without_letters()),  # prose
    4: lambda handler: handler.give(200, completion("A")),  # no log-probabilities, where there were some
    6: lambda handler: handler.give(400, b'{"error": {"message": "not this one"}}'),
}


def test_faults_are_counted_by_reason_and_a_minute_of_429s_is_outlasted(folder: Path, clock: Clock) -> None:
    began: list[float] = []

    def behave(handler: Handler, content: str, nth: int) -> None:
        number = number_of(content)
        if number >= BUSY_FROM:
            began.append(clock.now)
        if began and clock.now < began[0] + MINUTE:
            handler.give(429)
        elif number == 5 and nth == 1:
            cut(handler)
        elif number in SAID:
            SAID[number](handler)
        else:
            prefers_good(handler, content)

    with serving(behave) as (url, handler):
        judge = calibrate(folder, url)
        asked = Counter(number_of(body["messages"][-1]["content"]) for body in handler.bodies)
    assert judge.about["pairs"] == LABELLED and judge.about["faults"] == 3 and judge.about["agreement"] == 1.0
    reasons = " | ".join(judge.about["faults_by_reason"])
    for words in (
        "none of A, B is among the likeliest tokens",
        "gave no log-probabilities",
        "refused with 400: not th",
    ):
        assert words in reasons
    assert asked[5] == 4  # each order a second time
    assert clock.now >= MINUTE and 2 < asked[BUSY_FROM] <= 2 + 6


def test_labels_in_prose_and_both_at_once_are_counted_where_answers_are_sampled(folder: Path) -> None:
    said = {3: ["Both have merits."], 4: ["A or B", "A\nB"], 5: ["A", "Hard to say."]}

    def behave(handler: Handler, content: str, nth: int) -> None:
        number = number_of(content)
        first = content.partition("<answer A")[2].partition("</answer A")[0]
        texts = said.get(number, ["A" if "good" in first else "B"])
        handler.give(200, completion(texts[nth % len(texts)]))

    with serving(behave) as (url, _):
        judge = calibrate(folder, url, concurrency=8)
    assert "8 samples" in judge.identity["method"] and judge.about["faults"] == 2
    assert all("none of 8 answers is one of A, B" in reason for reason in judge.about["faults_by_reason"])
    assert judge.about["mass"] == pytest.approx(1 - 0.5 / (LABELLED - 2))  # half of what it says of one pair is prose


def test_429s_without_end_are_refused_in_plain_words_and_what_was_said_is_kept(folder: Path, clock: Clock) -> None:
    there = [False]

    def behave(handler: Handler, content: str, nth: int) -> None:
        if number_of(content) >= BUSY_FROM and not there[0]:
            handler.give(429)
        else:
            prefers_good(handler, content)

    with serving(behave) as (url, handler):
        with pytest.raises(BactrianError, match=r"got no answer in 7 tries each \(pair .*too many 429") as error:
            calibrate(folder, url)
        assert "the answers that came are kept: run again" in str(error.value)
        there[0] = True
        handler.bodies.clear()
        judge = calibrate(folder, url)
        again = {number_of(body["messages"][-1]["content"]) for body in handler.bodies}
    assert again - {-1} == set(range(BUSY_FROM, LABELLED)) and judge.about["faults"] == 0


def test_a_check_on_fresh_labels_that_breaks_off_goes_on_and_a_later_one_asks_anew(
    folder: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [True]

    def behave(handler: Handler, content: str, nth: int) -> None:
        if number_of(content) >= LABELLED + BUSY_FROM and not there[0]:
            handler.give(503)
        else:
            prefers_good(handler, content)

    with serving(behave) as (url, handler):
        calibrate(folder, url)
        write(folder / "fresh.jsonl", labels(LABELLED))
        command = ["judge", "check", str(calibration_of(folder)), "--labels", "fresh.jsonl"]

        def check() -> tuple[int, set[int]]:
            handler.bodies.clear()
            status = invoke(command)
            return status, {number_of(body["messages"][-1]["content"]) for body in handler.bodies} - {-1}

        there[0] = False
        status, asked = check()
        assert status == 2 and LABELLED in asked and "the answers that came are kept" in capsys.readouterr().err
        there[0] = True
        assert check() == (0, set(range(LABELLED + BUSY_FROM, 2 * LABELLED)))
        assert "the guarantee holds" in capsys.readouterr().out
        assert check() == (0, set(range(LABELLED, 2 * LABELLED)))  # the model may have become another one since
