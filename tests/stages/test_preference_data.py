"""Preference data from prompts to pairs, by servers that misbehave: nothing lost, everything on record."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.stages.data.filter import Filter
from bactrian.stages.judge.binarise import Binarise
from bactrian.stages.judge.respond import Respond
from bactrian.stages.stage import Facts, answer_tokens
from bactrian.store.artifact import Store
from tests.generate.chat_server import Handler, completion, serving
from tests.synth.mock import workspace

KEY = "sk-not-to-be-seen-anywhere-42"
RECIPE = """\
name: preferences
seed: 3
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  asked: {stage: prompts, data: [tuned.jsonl, more.jsonl], used: [tuned.jsonl], reused: 4}
  answers:
    stage: respond
    prompts: asked
    per_prompt: 2
    samples: 2
    temperature: 0.7
    servers:
      - {url: URL, model: good, key: PREFERENCE_KEY, backoff: 0.01, tries: 4, timeout: 2, licence: MIT}
      - {url: URL, model: poor, key: PREFERENCE_KEY, backoff: 0.01, tries: 4, timeout: 2, licence: MIT}
      - {url: URL, model: middling, backoff: 0.01, tries: 4, timeout: 2, licence: MIT}
  rated:
    stage: annotate
    data: answers
    server: {url: URL, model: judge, key: PREFERENCE_KEY, backoff: 0.01, tries: 4}
  pairs: {stage: binarise, data: rated, margin: 0.5, pairs_per_prompt: 2}
"""
WORTH = {"good": 5, "middling": 3, "poor": 1}


def write_inputs(folder: Path, url: str) -> None:
    def said(n: int, source: str) -> dict[str, Any]:
        turns = [("user", f"Question {n}?"), ("assistant", "Yes.")]
        messages = [{"role": role, "content": content} for role, content in turns]
        return {"id": f"{source}-{n}", "messages": messages, "source": source, "license": "MIT"}

    tuned = [said(n, "chat") for n in range(10)]
    more = [said(n, "chat") for n in range(8, 14)] + [said(n, "web") for n in range(20, 26)]
    for name, rows in (("tuned", tuned), ("more", more)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "p.yaml").write_text(RECIPE.replace("URL", url))


def honest(handler: Handler, body: dict[str, Any]) -> None:
    """Models whose texts say who wrote them; a judge that knows what each is worth, and calls honesty N/A."""
    content = body["messages"][-1]["content"]
    if body["model"] != "judge":
        handler.give(200, completion(f"I am {body['model']}, number {body['seed'] % 7}: to {content}"))
        return
    authors = [line.split(",")[0].removeprefix("I am ") for line in content.splitlines() if line.startswith("I am ")]
    ratings = ["N/A" if "aspect: Honesty" in content else WORTH[author] for author in authors]
    handler.give(200, completion("\n".join(f"Text {n}\nRating: {r}\nRationale: so." for n, r in enumerate(ratings, 1))))


class Mischief:
    """Of every third row the first two tries fail in some way; from the `dead_from`-th request on, all fail."""

    def __init__(self, dead_from: int | None = None) -> None:
        self.count, self.dead_from, self.answered = 0, dead_from, Counter[str]()
        self.tries: Counter[int] = Counter()

    def __call__(self, handler: Handler, content: str, nth: int) -> None:
        with Handler.lock:
            self.count += 1
            count = self.count
            row = zlib.crc32(json.dumps(handler.body).encode())
            self.tries[row] += 1
            tried = self.tries[row]
        if self.dead_from is not None and count > self.dead_from:
            handler.give(503)
        elif row % 3 == 0 and tried <= 2:
            handler.give((429, 500, 200)[(row // 3 + tried) % 3], b"<broken>")
        else:
            self.answered[handler.body["model"]] += 1
            honest(handler, handler.body)


def run(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(folder)
    write_inputs(folder, url)
    records = runner.run(load(Path("p.yaml"), ()), Store(Path("runs")))
    return {record.name: folder / "runs" / str(record.path) for record in records}


def test_from_prompts_to_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFERENCE_KEY", KEY)
    with serving(Mischief()) as (url, _):
        made = run(tmp_path, url, monkeypatch)
    asked = Counter(row["use"] for row in read_rows(made["asked"]))
    assert asked == {"reused": 4, "unused": 4, "new": 6}
    answers = read_rows(made["answers"])
    assert all(len(row["answers"]) == 4 and len({a["model"] for a in row["answers"]}) == 2 for row in answers)
    assert {a["model"] for row in answers for a in row["answers"]} == set(WORTH)
    for row in read_rows(made["rated"]):
        assert {each["aspect"] for each in row["judgements"]} == {
            "helpfulness",
            "instruction_following",
            "honesty",
            "truthfulness",
        }
        for answer in row["answers"]:
            assert answer["score"] == WORTH[answer["model"]] and len(answer["ratings"]) == 4
            assert {rating["aspect"] for rating in answer["ratings"] if "rating" not in rating} == {"honesty"}
            assert {rating["rationale"] for rating in answer["ratings"]} == {"so."}
    pairs = read_rows(made["pairs"], "pair")
    for pair in pairs:
        assert WORTH[pair["chosen_model"]] > WORTH[pair["rejected_model"]]
        assert pair["chosen_score"] == WORTH[pair["chosen_model"]] and pair["judge"] == "judge"
        assert pair["chosen_model"] in pair["chosen"][0]["content"]
        assert "Rating: " in json.loads(pair["judgements"])[0]["raw"] and pair["use"] in ("reused", "unused", "new")
        orders = [json.loads(each["order"]) for each in json.loads(pair["judgements"])]
        assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    said = capsys.readouterr()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert KEY not in said.out + said.err and KEY.encode() not in kept and b"PREFERENCE_KEY" in kept


def test_a_server_that_dies_costs_no_finished_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made after two deaths is what is made without any, and nothing was asked twice."""
    monkeypatch.setenv("PREFERENCE_KEY", KEY)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    with serving(Mischief()) as (url, _):
        whole = run(tmp_path / "whole", url, monkeypatch)
    answered: Counter[str] = Counter()
    mischief = Mischief(dead_from=30)
    with serving(mischief) as (url, _):
        for revived in (60, None):
            with pytest.raises(BactrianError, match="run again to ask for the rest"):
                run(tmp_path / "cut", url, monkeypatch)
            mischief.count, mischief.dead_from = 0, revived
        cut = run(tmp_path / "cut", url, monkeypatch)
        answered = mischief.answered
    for step in ("answers", "rated", "pairs"):
        assert read_rows(whole[step]) == read_rows(cut[step])
    assert answered["judge"] == 14 * 4 and sum(answered[name] for name in WORTH) == 14 * 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("answers.servers=[{url: http://a:b@host/v1, model: m}]", "text like"),
        ("answers.servers=[{url: http://host/v1, model: m, key: sk-0123-abc}]", "text like"),
        ("answers.servers=[{url: http://h/v1, model: m}, {url: http://i/v1, model: m}]", "tell a server apart by its"),
        ("answers.servers=[]", "expected at least one model in pool, servers or always"),
        ("rated.server=null", "expected one of judge, server and calibration"),
        ("rated.aspects=[honesty, honesty]", "expected each once"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(BactrianError, match=complaint):
        load(Path("p.yaml"), (change,))


def test_a_judge_that_says_nothing_readable_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFERENCE_KEY", KEY)

    def behave(handler: Handler, content: str, nth: int) -> None:
        if handler.body["model"] == "judge":
            handler.give(200, completion("They are all lovely."))
        else:
            honest(handler, handler.body)

    with serving(behave) as (url, _), pytest.raises(BactrianError, match="a judgement: 'They are all lovely"):
        run(tmp_path, url, monkeypatch)


def test_a_plan_needs_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, "http://127.0.0.1:9/v1")
    assert invoke(["plan", "p.yaml"]) == 0
    assert "respond" in capsys.readouterr().out


@pytest.mark.slow
def test_a_kill_costs_no_finished_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while servers answer slowly: what was finished is not asked for again, and the artifacts are the same."""
    answered: Counter[int] = Counter()

    def behave(handler: Handler, content: str, nth: int) -> None:
        time.sleep(0.15)
        honest(handler, handler.body)
        with Handler.lock:
            answered[zlib.crc32(json.dumps(handler.body).encode())] += 1

    environment = os.environ | {"PREFERENCE_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "bactrian", "run", "p.yaml"]
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    with serving(behave) as (url, _):
        monkeypatch.setenv("PREFERENCE_KEY", KEY)
        whole = run(tmp_path / "whole", url, monkeypatch)
        once = len(answered)
        answered.clear()
        write_inputs(tmp_path / "cut", url)
        for kills in (20, 70):
            process = subprocess.Popen(
                command,
                cwd=tmp_path / "cut",
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + 120
            while len(answered) < kills and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        cut = run(tmp_path / "cut", url, monkeypatch)
    assert len(answered) == once and sum(answered.values()) <= once + 2 * 8, "only what was on its way is asked twice"
    for step in ("answers", "rated", "pairs"):
        assert read_rows(whole[step]) == read_rows(cut[step])


def answered(*texts: tuple[str, str, str], name: str = "q") -> dict[str, Any]:
    answers = [
        {"model": model, "sample": n, "text": text, "finish": finish, "tokens": 9}
        for n, (model, text, finish) in enumerate(texts)
    ]
    asked = [{"role": "user", "content": f"Question {name}?"}]
    return {"id": name, "messages": asked, "answers": answers, "source": "s", "license": "MIT"}


def test_delta_pairs_are_a_strong_model_s_answers_over_a_weak_one_s(tmp_path: Path) -> None:
    rows = [
        answered(("strong", "So it is.", "stop"), ("weak", "No.", "stop"), ("other", "x", "stop"), name="a"),
        answered(
            ("weak", "w1", "stop"), ("strong", "s1", "stop"), ("weak", "w2", "stop"), ("strong", "s2", "stop"), name="b"
        ),
        answered(("strong", "Same.", "stop"), ("weak", " Same. ", "stop"), name="c"),
        answered(("strong", "cut of", "length"), ("weak", "No.", "stop"), name="d"),
        answered(("strong", "Yes.", "stop"), ("weak", " ", "stop"), name="e"),
    ]
    work = workspace(tmp_path, rows)
    delta = {"chosen": "strong", "rejected": "weak"}
    Binarise(data="seeds.jsonl", delta=delta, pairs_per_prompt=2).run(work)
    pairs = read_rows(work.output, "pair")
    said = [(pair["id"], pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs]
    assert said == [("a-0", "So it is.", "No."), ("b-0", "s1", "w1"), ("b-1", "s2", "w2")]
    assert all((pair["chosen_model"], pair["rejected_model"]) == ("strong", "weak") for pair in pairs)
    assert all("chosen_score" not in pair and pair["license"] == "MIT" for pair in pairs), "nobody gave scores"
    account = json.loads((work.output / "rows.json").read_text())
    counted = {reason: each["count"] for reason, each in account["dropped"].items()}
    assert counted == {"both models gave one answer": 1, "a model gave no whole answer": 2}
    assert account["lengths"]["pairs"]["pairs"] == 3 and work.metrics["pairs"] == 3
    with pytest.raises(BactrianError, match="found no answer of 'strongest'; there are answers of other, strong, weak"):
        Binarise(data="seeds.jsonl", delta={"chosen": "strongest", "rejected": "weak"}).run(work)
    for more in ({"margin": 1.0}, {"calibration": "c"}):
        with pytest.raises(ValidationError, match="expected one of them, as nobody judges"):
            Binarise(data="x", delta=delta, **more)


def pair(number: int, chosen: int, rejected: int) -> dict[str, Any]:
    """Answers of so many tokens of four bytes."""
    sides = {
        side: [{"role": "assistant", "content": "abc " * n}] for side, n in (("chosen", chosen), ("rejected", rejected))
    }
    asked = [{"role": "user", "content": f"{number}?"}]
    return {"id": f"p{number}", "prompt": asked, **sides, "source": "s", "license": "MIT"}


def test_pairs_far_apart_in_length_are_dropped_and_the_bias_is_told_before_and_after(tmp_path: Path) -> None:
    lengths = [(300, 10), (150, 50), (151, 50), (20, 119), (20, 121), (40, 40), (90, 30), (10, 200)]
    work = workspace(tmp_path, [pair(n, *both) for n, both in enumerate(lengths)])
    Filter(data="seeds.jsonl", rules=[{"rule": "pair_lengths"}]).run(work)
    left = [both for both in lengths if abs(both[0] - both[1]) <= 100]
    assert [row["id"] for row in read_rows(work.output)] == [f"p{lengths.index(both)}" for both in left]
    account = json.loads((work.output / "rows.json").read_text())
    assert account["dropped"]["answers more than 100 tokens apart"]["count"] == 4
    for name, some in (("before", lengths), ("after", left)):
        found = account["lengths"][name]
        assert found["pairs"] == len(some)
        assert found["mean_difference"] == pytest.approx(sum(a - b for a, b in some) / len(some))
        assert found["chosen_longer"] == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in some) / len(some))
    with pytest.raises(BactrianError, match="expected a pair: chosen and rejected"):
        Filter(data="seeds.jsonl", rules=[{"rule": "pair_lengths"}]).run(
            workspace(tmp_path / "other", [{"id": "t", "text": "no pair", "license": "MIT"}])
        )


def test_what_servers_answered_has_a_price(tmp_path: Path) -> None:
    work = workspace(tmp_path, [{k: v for k, v in answered(name=f"{n}").items() if k != "answers"} for n in range(6)])

    def behave(handler: Handler, content: str, nth: int) -> None:
        said = json.loads(completion("one two three four"))
        said["usage"] = {"prompt_tokens": 50, "completion_tokens": 4} if handler.body["model"] == "counts" else {}
        handler.give(200, json.dumps(said).encode())

    with serving(behave) as (url, _):
        servers = [
            {"url": url, "model": "counts", "licence": "MIT", "price_in": 2e6, "price_out": 3e6},
            {"url": url, "model": "silent", "licence": "MIT", "price_out": 1e6},
        ]
        stage = Respond(prompts="seeds.jsonl", servers=servers, samples=2)
        stage.run(work)
    guessed = -(-len("one two three four") // 4)
    assert work.metrics["money"] == pytest.approx(6 * 2 * (50 * 2 + 4 * 3 + guessed))
    asked = sum(-(-len(f"Question {n}?") // 4) for n in range(6))
    assert work.metrics["tokens_read"] == 6 * 2 * 50 + 2 * asked
    assert work.metrics["tokens_written"] == 12 * (4 + guessed)
    told = stage.forecast({"seeds.jsonl": Facts(rows=1000, tokens_per_row=20)})
    assert told.money == pytest.approx(2000 * (20 * 2 + answer_tokens(512) * 3 + answer_tokens(512)))
    assert told.tokens == 0 and told.flops == 0, "nothing is computed here"
