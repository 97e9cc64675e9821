"""Stage `synthesise` killed with SIGKILL fifty times at random moments: no row twice, none lost, none half-written."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from bactrian.data.io.files import read_rows
from bactrian.stages.synth.synthesise import Synthesise
from tests.generate.chat_server import Handler, completion, serving
from tests.synth.mock import personas, workspace
from tests.synth.test_synthesise import problem

KILLS, PEOPLE, IN_FLIGHT = 50, 400, 4


def slow(handler: Handler, content: str, nth: int) -> None:
    time.sleep(0.01)
    handler.give(200, completion(problem(handler.body["seed"])))


@pytest.mark.slow
def test_fifty_kills_leave_what_an_undisturbed_run_leaves(tmp_path: Path) -> None:
    draw, fork, rows = random.Random(8), multiprocessing.get_context("fork"), personas(PEOPLE)
    with serving(slow) as (url, handler):
        server = {"url": url, "model": "m", "licence": "MIT", "concurrency": IN_FLIGHT}
        stage = Synthesise(
            seeds="seeds.jsonl",
            prompt="For: {{ persona }}",
            generators=[{"server": server}],
            gates={"decontaminate": False},
        )
        stage.run(whole := workspace(tmp_path / "whole", rows))  # and all is imported before the first fork
        handler.seen.clear()
        cut = workspace(tmp_path / "cut", rows)
        for _ in range(KILLS):
            before = sum(handler.seen.values())
            process = fork.Process(target=stage.run, args=(cut,))
            process.start()
            while process.is_alive() and sum(handler.seen.values()) < before + IN_FLIGHT + 1:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.02))
            assert process.is_alive(), "there was something to be killed"
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        left = PEOPLE - len(keys(tmp_path / "cut"))
        assert 0 < left < PEOPLE - KILLS
        before = sum(handler.seen.values())
        stage.run(cut)
    asked = sum(handler.seen.values())
    assert asked - before == left, "the last run asks for what is missing and nothing else"
    assert asked <= PEOPLE + KILLS * IN_FLIGHT, "a kill loses at most the answers in flight"
    assert read_rows(cut.output) == read_rows(whole.output)
    assert len(keys(tmp_path / "cut")) == len(set(keys(tmp_path / "cut"))) == PEOPLE


def keys(folder: Path) -> list[str]:
    """Of the answers in the store; a line that a kill cut is none yet."""
    [kept] = (folder / "w" / "memo" / "synthesis").glob("*.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    return [json.loads(line)["key"] for line in lines if line.endswith("\n")]
