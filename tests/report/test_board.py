"""The board's server and what it reads: live steps, answers by row, and what it refuses."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fabricate import write_lines, write_run
from test_report import HOSTILE, poison

from bactrian.cli.board_command import board_command
from bactrian.errors import BactrianError
from bactrian.progress import progress, published
from bactrian.report.board.board_page import BoardPage
from bactrian.report.board.live import LiveStore, time_left
from bactrian.report.board.queries import BoardQueries
from bactrian.report.board.samples import SampleSet, of_questions, of_rollouts
from bactrian.report.board.server import BoardServer
from bactrian.report.curves import panel_words
from bactrian.store import step_attempt


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_run(folder)
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[BoardServer]:
    with BoardServer(BoardQueries(LiveStore(folder)), BoardPage.live(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[BoardServer]:
    with serving(store) as server:
        yield server


def ask(server: BoardServer, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def told(server: BoardServer, question: str) -> Any:
    answer, body = ask(server, f"/{server.secret}/{question}")
    assert answer.status == 200, body
    return json.loads(body)


def step_id(server: BoardServer, name: str) -> str:
    return next(step["id"] for step in told(server, "runs.json")["runs"][0]["steps"] if step["name"] == name)


# --- who may ask, and what


def test_the_page_comes_with_a_policy_that_allows_its_own_script_and_nothing_else(server: BoardServer) -> None:
    answer, body = ask(server, f"/{server.secret}/")
    policy = answer.getheader("Content-Security-Policy") or ""
    assert answer.status == 200 and b"<script>" in body
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "script-src 'sha256-" in policy
    assert (
        answer.getheader("X-Content-Type-Options") == "nosniff" and answer.getheader("Referrer-Policy") == "no-referrer"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:{port}.evil.example"},
        {"Host": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_hosts_and_other_origins_are_refused(server: BoardServer, headers: dict[str, str]) -> None:
    given = {name: value.replace("{port}", str(server.server_port)) for name, value in headers.items()}
    for path in ("/", f"/{server.secret}/", f"/{server.secret}/runs.json"):
        assert ask(server, path, **given)[0].status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X" * 50])
def test_only_get_is_answered(server: BoardServer, method: str) -> None:
    assert ask(server, f"/{server.secret}/runs.json", method)[0].status == 501


def test_without_the_secret_there_is_nothing(server: BoardServer) -> None:
    for path in (
        "/",
        "/runs.json",
        f"/{server.secret[:-1]}/runs.json",
        f"/{server.secret}",
        f"/x{server.secret}/",
        "//",
    ):
        answer, body = ask(server, path)
        assert answer.status == 404 and b"artifacts" not in body, path


@pytest.mark.parametrize("step", ["../../etc", "..", ".", "/etc", "a/b", "%2e%2e", "x" * 5000, "", "nul\0", "é"])
def test_no_name_leads_out_of_the_store(server: BoardServer, step: str) -> None:
    from urllib.parse import quote

    assert LiveStore(server.answers.store.root).folder(step) is None
    for question in ("samples", "texts", "search"):
        answer, body = ask(server, f"/{server.secret}/{question}.json?step={quote(step)}&rows=0&words=a")
        assert answer.status == 400 and b"no answers of such a step" in body
    assert told(server, f"curves.json?step={quote(step)}")["columns"] == {}


def test_links_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "metrics.jsonl").write_text('{"step": 1, "secret": 5}\n')
    artifacts = tmp_path / "store" / "artifacts"
    (artifacts / "sft-0123456789abcdef").symlink_to(outside)
    (artifacts / "dpo-0123456789abcdef").mkdir()
    (artifacts / "dpo-0123456789abcdef" / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    (tmp_path / "store" / "elsewhere").symlink_to(run.parent.parent / "outside")
    live = LiveStore(tmp_path / "store")
    assert live.folder("sft-0123456789abcdef") is None
    assert live.file("dpo-0123456789abcdef", "metrics.jsonl") is None
    assert [each.name for each in live.runs()] == ["quickstart"]


# --- what is being made


def begin(folder: Path, step: str, **about: Any) -> Path:
    partial = folder / "artifacts" / f"{step}.partial"
    (partial / "output").mkdir(parents=True)
    record = {**asdict(step_attempt.begin(partial)), **about.pop("record", {})}
    (partial / "attempt.json").write_text(json.dumps(record))
    (partial / "progress.json").write_text(
        json.dumps({"title": "rlvr", "done": 3, "total": 9, "unit": "step", **about})
    )
    return partial / "output"


def a_run(folder: Path, key: str = "0123456789abcdef0123") -> str:
    (folder / "r").mkdir(parents=True)
    step = {"name": "rl", "stage": "rlvr", "kind": "model", "key": key, "path": None, "status": "waiting"}
    (folder / "r" / "run.json").write_text(json.dumps({"name": "r", "steps": [step]}))
    return f"rlvr-{key[:16]}"


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({}, "making"),
        ({"process": 999_999_999}, "cut"),
        ({"process": 1, "host": "another-machine"}, "making"),
        ({"failure": "no room"}, "cut"),
        ({"seconds": None, "began": []}, "making"),
    ],
)
def test_a_step_is_being_made_while_its_process_is_there(tmp_path: Path, record: dict[str, Any], status: str) -> None:
    now = time.time()
    begin(tmp_path, a_run(tmp_path), record=record, before=0, began=now - 30, time=now)
    [step] = LiveStore(tmp_path).runs()[0].steps
    assert step.status == status
    assert step.left == (pytest.approx(60, abs=1) if status == "making" else None)
    assert step.note == {"failure": "no room"}.get(next(iter(record), ""), step.note)


def test_curves_and_rollouts_of_a_step_that_is_being_made_grow_with_it(tmp_path: Path) -> None:
    output = begin(tmp_path, a_run(tmp_path))
    step = "rlvr-0123456789abcdef"
    metrics, rollouts = output / "metrics.jsonl", output / "rollouts.jsonl"
    metrics.write_text('{"step": 1, "reward": 0.25, "kl": null}\n{"step": 2, "rew')
    rollouts.write_text(json.dumps({"step": 1, "question": "q", "prompt": "p", "completion": "c", "score": 1}) + "\n{")
    answers = BoardQueries(LiveStore(tmp_path))
    first = answers.curves({"step": step})
    assert first["columns"] == {"reward": [[1.0], [0.25]]} and first["words"]["reward"][2] == "Reward and its parts"
    assert "columns" not in answers.curves({"step": step, "version": first["version"]})
    assert answers.samples({"step": step})["count"] == 1
    with metrics.open("a") as file:
        file.write('ard": 0.5}\nnot json\n[3]\n')
    with rollouts.open("a") as file:
        file.write("}\n" + json.dumps({"step": 2, "question": "q", "prompt": "p", "completion": "d"}) + "\n")
    later = answers.curves({"step": step, "version": first["version"]})
    assert later["columns"]["reward"] == [[1.0, 2.0], [0.25, 0.5]]
    found = answers.samples({"step": step})
    assert found["labels"]["model"] == ["rl"] and found["count"] == 2 and found["rows"]["step"] == [1, 2]
    assert answers.texts({"step": step, "rows": "1"})[0]["completion"] == "d"


def test_a_step_that_is_made_anew_is_told_anew(tmp_path: Path) -> None:
    step = a_run(tmp_path)
    output = begin(tmp_path, step)
    (output / "metrics.jsonl").write_text('{"step": 1, "reward": 0.25}\n{"step": 2, "reward": 0.5}\n')
    answers = BoardQueries(LiveStore(tmp_path))
    assert len(answers.curves({"step": step})["columns"]["reward"][0]) == 2
    shutil.rmtree(output.parent)
    output = begin(tmp_path, step)
    (output / "metrics.jsonl").write_text('{"step": 1, "reward": 0.125}\n')
    assert answers.curves({"step": step})["columns"]["reward"] == [[1.0], [0.125]]


@pytest.mark.parametrize(
    "about", [{}, {"total": None}, {"done": 0, "before": 0}, {"total": "x"}, {"began": float("nan")}]
)
def test_no_end_is_foretold_where_nothing_says_it(about: dict[str, Any]) -> None:
    known = {"done": 0, "total": 9, "before": 0, "began": 0.0, "time": 30.0}
    assert time_left({**known, **about}) is None


def test_what_a_bar_shows_is_in_the_file_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "progress.json"
    with published(file), progress("title", total=4, done=1) as bar:
        assert json.loads(file.read_text())["done"] == 1
        bar.advance(2, loss=0.5)
        bar.bar.written = -100.0  # type: ignore[attr-defined]
        bar.advance(1, loss=0.25)
        found = json.loads(file.read_text())
        assert (found["done"], found["total"], found["values"], found["before"]) == (4, 4, {"loss": 0.25}, 1)
        assert found["process"] == os.getpid() and found["memory"] > 1e6
        file.unlink()
    with progress("later", total=1) as bar:
        bar.advance()
    assert not file.exists() and "title" in capsys.readouterr().err


def test_damaged_and_foreign_files_in_a_store_are_passed_by(tmp_path: Path) -> None:
    for name, text in (
        ("a", "{"),
        ("b", "[]"),
        ("c", "{" * 100_000),
        ("d", '{"name": "d", "steps": [{"name": "s", "stage": "../x", "key": "k"}]}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    [run] = LiveStore(tmp_path).runs()
    assert run.name == "d" and run.steps[0].id == "" and run.steps[0].note
    assert LiveStore(tmp_path / "nowhere").runs() == []


# --- answers


def test_the_index_says_of_every_row_what_the_file_says(store: Path, server: BoardServer) -> None:
    step = step_id(server, "scores")
    rows = pq.read_table(store / "artifacts" / step / "questions.parquet").to_pylist()
    index = told(server, f"samples.json?step={step}")
    assert index["count"] == len(rows) and index["kind"] == "answers"
    columns, labels = index["rows"], index["labels"]
    for at in range(0, len(rows), 7):
        for name in ("model", "task", "mode", "outcome"):
            assert labels[name][columns[name][at]] == rows[at][name]
        assert columns["score"][at] == rows[at]["score"] and columns["tokens"][at] == rows[at]["tokens"]
        assert index["questions"][columns["question"][at]][1] == rows[at]["question"]
        assert index["extracted"][columns["extracted"][at]] == (rows[at]["extracted"] or "∅")
    head = index["questions"][0][2]
    assert head.startswith("A caravan carries") and "<|" not in head
    texts = told(server, f"texts.json?step={step}&rows=0,11,{len(rows) - 1}")
    for found, at in zip(texts, (0, 11, len(rows) - 1), strict=True):
        assert found["prompt"] == rows[at]["prompt"] and found["completion"] == rows[at]["completion"]


@pytest.mark.parametrize("rows", ["-1", "1.5", "x", "9999999", ",".join(["1"] * 501), "1 2", "٣"])
def test_rows_that_are_none_are_one_clear_error(server: BoardServer, rows: str) -> None:
    from urllib.parse import quote

    answer, body = ask(server, f"/{server.secret}/texts.json?step={step_id(server, 'scores')}&rows={quote(rows)}")
    assert answer.status == 400 and b"row" in body and b"Traceback" not in body


SHOTS = "Q: what is fish soup?\nA: wet\n\n" * 3


def some(**columns: list[Any]) -> SampleSet:
    many = len(next(iter(columns.values())))
    plain = {"model": ["m"] * many, "task": ["t"] * many, "question": [str(n) for n in range(many)]}
    return SampleSet(pa.table({**plain, **columns}), "answers")


def test_search_finds_words_in_question_answer_and_gold_but_not_in_the_shots() -> None:
    found = some(
        prompt=[f"{SHOTS}Q: {each}\nA:" for each in ("How many Pears?", "What (a+b)* is", "ÉTÉ", "last")],
        completion=["Three fish.", "soup of .*", "été 100%", ""],
        ground_truth=["3", "none", "gold", "Fish soup"],
    )
    assert found.search("PEARS") == [0] and found.search("fish") == [0, 3] and found.search("fish soup") == [3]
    assert found.search('"soup of"') == [1] and found.search("(a+b)*") == [1] and found.search(".*") == [1]
    assert found.search("été") == [2] and found.search("100% gold") == [2] and found.search("") == [0, 1, 2, 3]
    assert [row["start"] for row in found.texts([0, 3])] == [len(SHOTS)] * 2


def test_the_index_names_the_tasks_that_are_measured_in_bits(tmp_path: Path) -> None:
    about = {"model": ["a", "a"], "question": ["x", "y"], "score": [1.25, 1.0]}
    pq.write_table(pa.table({**about, "task": ["sums", "wiki"]}), tmp_path / "questions.parquet")
    assert of_questions(tmp_path / "questions.parquet").index["bits"] == []
    scores = [{"model": "a", "task": "wiki", "score": 1.25, "metric": "bits per byte"}]
    (tmp_path / "results.json").write_text(json.dumps({"tasks": {}, "scores": scores, "models": ["a"]}))
    assert of_questions(tmp_path / "questions.parquet").index["bits"] == [1]


def test_fifty_thousand_answers_are_indexed_searched_and_paged_at_once() -> None:
    many = 50_000
    table = pa.table(
        {
            "model": [f"m{n % 5}" for n in range(many)],
            "task": ["t"] * many,
            "mode": ["greedy"] * many,
            "question": [str(n // 5) for n in range(many)],
            "sample": [0] * many,
            "prompt": [f"{SHOTS}Q: number {n // 5}\nA:" for n in range(many)],
            "completion": [f"So it is {n}. " * 20 for n in range(many)],
            "score": [float(n % 3 == 0) for n in range(many)],
            "outcome": ["right" if n % 3 == 0 else "wrong" for n in range(many)],
            "tokens": [n % 90 for n in range(many)],
        }
    )
    began = time.process_time()
    found = SampleSet(table, "answers")
    size = len(json.dumps(found.index, separators=(",", ":")))
    made = time.process_time() - began
    assert size < 4_000_000 and len(found.index["questions"]) == many // 5
    assert made < 8, made  # about 1 s on an idle core
    began = time.process_time()
    for first in range(0, many, many // 50):
        assert [row["row"] for row in found.texts(range(first, first + 50))] == list(range(first, first + 50))
    assert found.search("49999") == [49_999]
    assert time.process_time() - began < 4


def test_columns_that_are_not_there_and_values_that_are_none(tmp_path: Path) -> None:
    found = of_rollouts(
        [{"step": 1, "score": float("nan"), "completion": None}, {"reward": "x", "completion": "\ud800"}], "rl"
    )
    assert found.index["rows"]["step"] == [1, None] and "reward" not in found.index["rows"]
    assert found.texts([1])[0]["completion"] == "?" and of_rollouts([], "rl").index["count"] == 0
    (tmp_path / "q.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(BactrianError, match=r"q\.parquet: cannot be read"):
        of_questions(tmp_path / "q.parquet")


def test_hostile_text_travels_as_json_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    poison(write_run(tmp_path))
    with serving(tmp_path) as server:
        answer, body = ask(server, f"/{server.secret}/")
        assert answer.status == 200 and b"alert(1)" not in body
        answer, body = ask(server, f"/{server.secret}/runs.json")
        assert (answer.getheader("Content-Type") or "").startswith("application/json") and b"alert(1)" in body
        step = next(s for s in json.loads(body)["runs"][0]["steps"] if s["samples"])["id"]
        assert told(server, f"texts.json?step={step}&rows=0")[0]["completion"].startswith(HOSTILE[:20])


# --- the command


def test_the_command_refuses_what_is_not_there(tmp_path: Path, store: Path, server: BoardServer) -> None:
    result = CliRunner().invoke(board_command, ["--store", str(tmp_path / "none")])
    assert isinstance(result.exception, BactrianError) and "no such folder" in str(result.exception)
    with pytest.raises(BactrianError, match="expected a free port"):
        BoardServer(server.answers, server.page, server.server_port)


def test_nothing_in_the_store_is_touched(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_lines(tmp_path / "artifacts" / "rollouts.jsonl", [{"step": 1}])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with serving(tmp_path) as server:
        for step in told(server, "runs.json")["runs"][0]["steps"]:
            told(server, f"curves.json?step={step['id']}")
        told(server, f"search.json?step={step_id(server, 'scores')}&words=caravan")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_charts_have_the_words_of_their_objective() -> None:
    assert panel_words(["loss", "learning_rate", "mine_own"]) == {
        "loss": ("Loss", "mean over the trained tokens", "Training"),
        "learning_rate": ("Learning rate", "", "Training"),
        "mine_own": ("mine own", "", "More"),
    }
    pairs = panel_words(["loss", "margin", "reward_chosen", "reward_rejected"])
    assert pairs["loss"][1] == "mean over pairs" and pairs["reward_chosen"][:2] == ("reward chosen", "Implicit rewards")
    policy = panel_words(["reward", "score", "kl", "loss", "entropy", "tokens"])
    assert {name for name, words in policy.items() if words[2] == "Reward and its parts"} == {"reward", "score", "kl"}
    assert policy["loss"][0] == "Surrogate loss"
