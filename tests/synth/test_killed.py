"""Stages that ask generators, killed with SIGKILL at random moments: no row twice, none lost, none half-written.

Three kills each among the fast tests, at moments that differ from run to run (the seed is printed); fifty, heavy.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import read_rows
from bactrian.stages.judge.respond import Respond
from bactrian.stages.stage import Stage
from bactrian.stages.synth.bootstrap import SelfInstruct
from bactrian.stages.synth.magpie import Magpie
from bactrian.stages.synth.synthesise import Synthesise
from bactrian.store.artifact import Workspace
from tests.generate.chat_server import Handler, completion, continuation, serving
from tests.synth.mock import personas, workspace
from tests.synth.test_self_instruct import SEEDS, model
from tests.synth.test_synthesise import problem

FEW, MANY, IN_FLIGHT = 3, 50, 4
CLOSED = {"decontaminate": False}


@dataclass(frozen=True)
class Victim:
    """A stage that is killed: for so much work and this server; its rows; what the server says; files that differ."""

    stage: Callable[[int, dict[str, Any]], Stage]
    rows: Callable[[int], list[dict[str, Any]]]
    said: Callable[[dict[str, Any]], str]


def _asked(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"q{n}", "messages": [{"role": "user", "content": f"Question {n}?"}], "license": "MIT"}
        for n in range(count)
    ]


def _problem(body: dict[str, Any]) -> str:
    return problem(body["seed"])


VICTIMS = {
    "synthesise": Victim(
        lambda size, server: Synthesise(
            seeds="seeds.jsonl", prompt="For: {{ persona }}", generators=[{"server": server}], gates=CLOSED
        ),
        personas,
        _problem,
    ),
    "self_instruct": Victim(
        lambda size, server: SelfInstruct(
            seeds="seeds.jsonl", generators=[{"server": server}], count=size // 2, prompts_per_round=4, gates=CLOSED
        ),
        lambda size: SEEDS,
        model,
    ),
    "magpie": Victim(
        lambda size, server: Magpie(
            generators=[{"server": server, "opening": "<user>", "end": "</user>"}], count=size // 2, gates=CLOSED
        ),
        lambda size: [],
        _problem,
    ),
    "respond": Victim(
        lambda size, server: Respond(prompts="seeds.jsonl", servers=[server], samples=2),
        lambda size: _asked(size // 2),
        _problem,
    ),
}


@pytest.mark.parametrize("name", sorted(VICTIMS))
def test_a_few_kills_leave_what_an_undisturbed_run_leaves(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments of the kills: seed {seed}")
    check_kills(VICTIMS[name], FEW, 48, seed, tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(VICTIMS))
def test_fifty_kills_leave_what_an_undisturbed_run_leaves(name: str, tmp_path: Path) -> None:
    check_kills(VICTIMS[name], MANY, 480, 8, tmp_path)


def check_kills(victim: Victim, kills: int, size: int, seed: int, folder: Path) -> None:
    """Run it whole; then again, killed so many times and then left alone: nothing is lost, and nothing is twice."""
    draw, fork = random.Random(seed), multiprocessing.get_context("fork")

    def slow(handler: Handler, content: str, nth: int) -> None:
        time.sleep(0.01)
        said = victim.said(handler.body)
        handler.give(200, continuation(said) if "prompt" in handler.body else completion(said))

    with serving(slow) as (url, handler):
        server = {"url": url, "model": "m", "licence": "MIT", "concurrency": IN_FLIGHT}
        stage = victim.stage(size, server)
        stage.run(whole := workspace(folder / "whole", victim.rows(size)))  # and all is imported before the first fork
        total = len(kept(whole))
        assert sum(handler.seen.values()) == total == len(set(kept(whole)))
        handler.seen.clear()
        cut = workspace(folder / "cut", victim.rows(size))
        for _ in range(kills):
            before = sum(handler.seen.values())
            process = fork.Process(target=stage.run, args=(cut,))
            process.start()
            while process.is_alive() and sum(handler.seen.values()) < before + IN_FLIGHT + 1:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.02))
            assert process.is_alive(), "there was something to be killed"
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        left = total - len(kept(cut))
        assert 0 < left < total
        before = sum(handler.seen.values())
        stage.run(cut)
    asked = sum(handler.seen.values())
    assert asked - before == left, "the last run asks for what is missing and nothing else"
    assert asked <= total + kills * IN_FLIGHT, "a kill loses at most the answers in flight"
    assert read_rows(cut.output) == read_rows(whole.output)
    for name in ("rows.json", "dropped.jsonl", "instructions.jsonl"):
        files = [each.output / name for each in (cut, whole)]
        assert [file.exists() for file in files] in ([True, True], [False, False])
        assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()
    assert sorted(kept(cut)) == sorted(kept(whole)), "none lost, none twice"


def kept(work: Workspace) -> list[str]:
    """The keys of the answers on the disk, in the store or the step's own journal; a line that a kill cut is none."""
    files = [*(work.memos / "synthesis").glob("*.jsonl"), *work.scratch.glob("answers.jsonl")]
    lines = [line for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [found["key"] if isinstance(found := json.loads(line), dict) else found[0] for line in lines]
