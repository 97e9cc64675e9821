"""Stages that are killed every few seconds, long before the two minutes that checkpoints may be apart: they end."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stages.test_training_stages import Zygote, write_inputs

SECONDS = 10.0
"""Of each process; more than it takes to start, load a tiny model and train for `pace.SOON` seconds."""
RECIPE = """\
name: often
seed: 5
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  base: {stage: pretrain, data: texts.jsonl, vocabulary: problems.jsonl, hidden_size: 32, layers: 2, heads: 2,
         intermediate_size: 48, context: 64, epochs: 1, batch_size: 24}
  sft: {stage: sft, model: base, data: problems.jsonl, epochs: 400, batch_size: 4, micro_tokens: 60}
  rlvr: {stage: rlvr, model: base, data: problems.jsonl, steps: 150, problems_per_step: 8, samples: 8,
         max_new_tokens: 24, micro_tokens: 400}
  answers: {stage: respond, prompts: problems.jsonl, pool: [base], per_prompt: 1, samples: 150, max_new_tokens: 32}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("often")
    write_inputs(folder, "float32")
    (folder / "often.yaml").write_text(RECIPE)
    zygote = Zygote(folder, "float32")
    zygote.run("run", "often.yaml", "--store", "whole", "--only", "base")
    zygote.run("run", "often.yaml", "--store", "cut", "--only", "base")
    yield zygote
    assert zygote.process.stdin is not None
    zygote.process.stdin.close()
    zygote.process.wait(30)


def manifest(folder: Path, store: str, step: str) -> dict[str, Any]:
    steps = json.loads((folder / store / "often" / "run.json").read_text())["steps"]
    (path,) = (each["path"] for each in steps if each["name"] == step)
    found: dict[str, Any] = json.loads((folder / store / path / "manifest.json").read_text())
    return found


def stop_after(bench: Zygote, pid: int, seconds: float, number: int) -> int:
    """The exit status of a process that gets a signal after so many seconds, unless it has ended."""
    until = time.monotonic() + seconds
    while bench.alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    if bench.alive(pid):
        os.kill(pid, number)
    return bench.end()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["sft", "rlvr", "answers"])
def test_killed_every_few_seconds_it_ends_as_if_undisturbed(bench: Zygote, step: str) -> None:
    bench.run("run", "often.yaml", "--store", "whole", "--only", step)
    whole = manifest(bench.folder, "whole", step)
    attempt, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL and attempt < 60:
        pid = bench.start("run", "often.yaml", "--store", "cut", "--only", step)
        status, attempt = stop_after(bench, pid, SECONDS, signal.SIGKILL), attempt + 1
    assert status == 0, bench.log.read_text()
    cut = manifest(bench.folder, "cut", step)
    assert cut["content_hash"] == whole["content_hash"] and cut["attempts"] == attempt
    assert attempt > 1 or whole["seconds"] < SECONDS


@pytest.mark.slow
def test_a_term_signal_leaves_a_checkpoint_of_the_very_step(bench: Zygote) -> None:
    folder = bench.folder / "gentle" / "artifacts"
    bench.run("run", "often.yaml", "--store", "gentle", "--only", "base")
    pid = bench.start("run", "often.yaml", "--store", "gentle", "--only", "sft")
    while not list(folder.glob("sft-*.partial/output/metrics.jsonl")):
        time.sleep(0.01)
        assert bench.alive(pid), bench.log.read_text()
    os.kill(pid, signal.SIGTERM)
    assert bench.end() == 143
    said = bench.log.read_text()
    (made,) = folder.glob("sft-*.partial/scratch/checkpoints/step-*")
    step = int(made.name.removeprefix("step-"))
    assert f"sft: stopped after step {step} of 4000, which is in a checkpoint; the same command resumes there" in said
    assert "SIGTERM: finishing a step of sft" in said and "Traceback" not in said
    pid = bench.start("run", "often.yaml", "--store", "gentle", "--only", "sft")
    stop_after(bench, pid, 4, signal.SIGINT)
    assert f"sft: resuming after step {step} of 4000" in bench.log.read_text()
