"""A growing step is told once and whole, whatever a kill, a resume or a slow writer does to its files."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from growing_step import KEY, GrowingStep
from hypothesis import given
from hypothesis import strategies as st

from bactrian.report.track.follow import (
    Began,
    Event,
    Failed,
    Finished,
    Follower,
    FollowPosition,
    Samples,
    Scalars,
    Table,
)
from bactrian.store import step_attempt
from bactrian.store.artifact import ROLLOUTS
from bactrian.store.hashes import METRICS
from bactrian.store.manifest import Kind


@pytest.fixture
def step(tmp_path: Path) -> GrowingStep:
    return GrowingStep(tmp_path)


def updates(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, Scalars)]


def rows(events: list[Event]) -> list[tuple[int, Any]]:
    return [(event.step, row["sample"]) for event in events if isinstance(event, Samples) for row in event.rows]


def test_a_step_from_before_its_beginning_to_its_end(step: GrowingStep) -> None:
    follower = Follower(step.folder)
    assert follower.poll() == []
    workspace = step.begin()
    workspace.log(1, loss=2.0, broken=float("nan"))
    begun, first = follower.poll()
    assert begun == Began(step.attempt.making, step.attempt.started, 1)
    assert first == Scalars(1, {"loss": 2.0})
    assert follower.poll() == []
    workspace.show_rollouts(1, [{"sample": 0}, {"sample": 1}])
    workspace.log(2, loss=1.0)
    assert follower.poll() == [
        Scalars(2, {"loss": 1.0}),
        Samples(1, [{"step": 1, "sample": 0}, {"step": 1, "sample": 1}]),
    ]
    workspace.log(3, loss=0.5)
    step.commit()
    assert follower.poll() == [Scalars(3, {"loss": 0.5}), Finished(step.folder, 3.0, {"loss": 0.5})]
    assert follower.over and follower.poll() == []


def test_one_who_comes_late_hears_all_of_it(step: GrowingStep) -> None:
    workspace = step.begin()
    for number in range(1, 5):
        workspace.log(number, loss=1.0)
    step.commit()
    events = Follower(step.folder).poll()
    assert updates(events) == [1, 2, 3, 4]
    assert isinstance(events[0], Began) and isinstance(events[-1], Finished)


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_however_the_writing_is_cut_each_line_is_told_once(cuts: list[int], tmp_path_factory: Any) -> None:
    step = GrowingStep(tmp_path_factory.mktemp("store"))
    workspace = step.begin()
    follower, events = Follower(step.folder), []
    text = "".join(json.dumps({"step": number, "loss": number / 3}) + "\n" for number in range(1, 13)).encode()
    for end in [*sorted(cuts), len(text)]:
        (workspace.output / METRICS).touch()
        with (workspace.output / METRICS).open("r+b") as file:
            file.write(text[:end])
        events += follower.poll()
    assert updates(events) == list(range(1, 13))
    assert [event.values["loss"] for event in events if isinstance(event, Scalars)] == [n / 3 for n in range(1, 13)]


@pytest.mark.parametrize("same", [True, False], ids=["one follower", "another follower at its position"])
def test_what_a_resumed_step_makes_again_is_not_told_twice(step: GrowingStep, same: bool) -> None:
    follower = Follower(step.folder)
    workspace = step.begin()
    for number in range(1, 6):
        workspace.log(number, loss=1 / number)
        workspace.show_rollouts(number, [{"sample": 0}, {"sample": 1}])
    with (workspace.output / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')  # the kill
    events = follower.poll()
    if not same:
        follower = Follower(step.folder, FollowPosition.from_json(follower.position.to_json()))
    making = step.attempt.making
    workspace = step.begin()  # from the checkpoint after step 3
    workspace.rewind(3)
    events += follower.poll()
    for number in range(4, 9):
        workspace.log(number, loss=1 / number)
        workspace.show_rollouts(number, [{"sample": 0}, {"sample": 1}])
        events += follower.poll()
    step.commit()
    events += follower.poll()
    assert updates(events) == list(range(1, 9))
    assert rows(events) == [(number, sample) for number in range(1, 9) for sample in (0, 1)]
    assert [event for event in events if isinstance(event, Began)] == [
        Began(making, step.attempt.started, 1),
        Began(making, step.attempt.started, 2),
    ]


def test_the_rest_of_a_step_that_was_told_in_part_is_told(step: GrowingStep) -> None:
    workspace, follower = step.begin(), Follower(step.folder)
    workspace.show_rollouts(1, [{"sample": 0}])
    assert rows(follower.poll()) == [(1, 0)]
    workspace.show_rollouts(1, [{"sample": 1}])
    assert rows(follower.poll()) == [(1, 1)]


def test_what_is_made_anew_is_told_from_its_beginning(step: GrowingStep) -> None:
    follower = Follower(step.folder)
    step.begin().log(1, loss=1.0)
    step.commit()
    first = follower.poll()
    assert isinstance(first[-1], Finished)
    step.store.set_aside(step.store.find("rlvr", KEY))  # type: ignore[arg-type]
    step.begin().log(1, loss=2.0)
    again = follower.poll()
    assert isinstance(again[0], Began) and again[0].making != first[0].making  # type: ignore[union-attr]
    assert again[1:] == [Scalars(1, {"loss": 2.0})] and not follower.over


def test_a_position_of_another_making_does_not_count(step: GrowingStep) -> None:
    step.begin().log(1, loss=1.0)
    events = Follower(step.folder, FollowPosition("of another", {METRICS: (9, 1)})).poll()
    assert updates(events) == [1]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"making": "a", "told": {"metrics.jsonl": 3}}', "null"])
def test_a_damaged_position_is_the_beginning(text: str) -> None:
    assert FollowPosition.from_json(text) == FollowPosition()


def test_a_process_that_was_killed_is_seen_and_one_that_lives_is_not_taken_for_dead(step: GrowingStep) -> None:
    step.begin().log(1, loss=1.0)
    follower = Follower(step.folder)
    assert not any(isinstance(event, Failed) for event in follower.poll())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    record = replace(step.attempt, process=gone.pid)
    (step.partial / step_attempt.NAME).write_text(json.dumps(record.__dict__))
    assert follower.poll() == [Failed(f"process {gone.pid} ended without a word: it was killed")]
    assert follower.over and follower.poll() == []
    elsewhere = replace(record, host="another-machine")
    (step.partial / step_attempt.NAME).write_text(json.dumps(elsewhere.__dict__))
    assert not any(isinstance(event, Failed) for event in Follower(step.folder).poll())


def test_a_step_that_fails_says_why_and_goes_on_when_it_is_resumed(step: GrowingStep) -> None:
    workspace, follower = step.begin(), Follower(step.folder)
    with pytest.raises(ZeroDivisionError), step_attempt.noting_failure(step.partial):
        workspace.log(1, loss=1.0)
        raise ZeroDivisionError("a bug\nin two lines")
    assert follower.poll()[1:] == [Scalars(1, {"loss": 1.0}), Failed("a bug")]
    step.begin().log(2, loss=1.0)
    events = follower.poll()
    assert isinstance(events[0], Began) and events[0].attempts == 2
    assert updates(events) == [2] and not follower.over


def test_lines_that_are_none_are_passed_over(step: GrowingStep) -> None:
    workspace = step.begin()
    (workspace.output / METRICS).write_bytes(
        b'{"step": 1, "loss": 1}\nnot json\n[2]\n{"step": "3"}\n{"step": true}\n{"loss": 4}\n\xff\xfe\n'
        b'{"step": 2, "loss": "text", "good": true, "right": 1}\n'
    )
    events = Follower(step.folder).poll()
    assert events[1:] == [Scalars(1, {"loss": 1.0}), Scalars(2, {"right": 1.0})]


def test_hostile_text_in_rollouts_stays_one_line(step: GrowingStep) -> None:
    hostile = 'a\u2028b\x0b\x1c\x85\r\n{"step": 99}\ud800'
    workspace = step.begin()
    workspace.show_rollouts(1, [{"sample": hostile}])
    assert rows(Follower(step.folder).poll()) == [(1, hostile)]
    step.begin().show_rollouts(2, [{"sample": 1}])
    assert rows(Follower(step.folder).poll()) == [(1, hostile), (2, 1)]
    assert (step.partial / "output" / ROLLOUTS).read_bytes().count(b"\n") == 2


def test_an_evaluation_gives_tables(step: GrowingStep) -> None:
    output = step.begin().output
    score = {"model": "a", "task": "t", "mode": "greedy", "score": 0.5, "interval": [0.4, 0.6], "questions": 30}
    (output / "results.json").write_text(json.dumps({"scores": [score], "comparisons": []}))
    answers = [{"model": "a", "task": "t", "mode": "greedy", "question": str(n), "completion": "4"} for n in range(30)]
    parquet.write_table(pa.Table.from_pylist(answers), output / "questions.parquet")
    step.commit(Kind.RESULTS)
    tables = [event for event in Follower(step.folder).poll() if isinstance(event, Table)]
    assert [table.name for table in tables] == ["scores", "answers"]
    del score["interval"]
    assert tables[0].rows == [{**score, "low": 0.4, "high": 0.6}]
    assert [row["question"] for row in tables[1].rows] == [str(number) for number in range(20)]


@pytest.mark.parametrize("name", ["results.json", "questions.parquet"])
def test_damaged_results_are_not_the_followers_business(step: GrowingStep, name: str) -> None:
    (step.begin().output / name).write_bytes(b"\x00{")
    step.commit(Kind.RESULTS)
    assert isinstance(Follower(step.folder).poll()[-1], Finished)


def test_a_damaged_manifest_is_a_failure(step: GrowingStep) -> None:
    step.begin()
    step.commit()
    (step.folder / "manifest.json").write_text("{}")
    (failed,) = Follower(step.folder).poll()
    assert isinstance(failed, Failed) and "manifest.json" in failed.reason


def test_following_needs_no_torch() -> None:
    code = "import sys, bactrian.report.track.follow; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == 0
