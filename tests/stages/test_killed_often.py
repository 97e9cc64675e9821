"""Stages that are killed seconds after they begin, long before the two minutes that checkpoints may be apart."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stages.test_training_stages import Zygote, write_inputs

KILLS = 3
"""Each as soon as its process has kept something, which is seconds after its start and not two minutes."""
PATIENCE = 120.0
RECIPE = """\
name: often
seed: 5
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  base: {stage: pretrain, data: texts.jsonl, vocabulary: problems.jsonl, hidden_size: 32, layers: 2, heads: 2,
         intermediate_size: 48, context: 64, epochs: 1, batch_size: 24}
  sft: {stage: sft, model: base, data: problems.jsonl, epochs: 150, batch_size: 4, memory: {micro_tokens: 60}}
  rlvr: {stage: rlvr, model: base, data: problems.jsonl, steps: 50, problems_per_step: 8, samples: 8,
         max_new_tokens: 24, memory: {micro_tokens: 400}}
  answers: {stage: respond, prompts: problems.jsonl, pool: [base], per_prompt: 1, samples: 80, max_new_tokens: 32}
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


def saved(folder: Path, store: str, stage: str) -> set[tuple[str, int, int]]:
    """What a cut step keeps for the next process: names, sizes and times of its files."""
    found = set()
    for path in (folder / store / "artifacts").glob(f"{stage}-*.partial/scratch/**/*"):
        with suppress(OSError):  # removed a moment ago
            found.add((str(path), path.stat().st_size, path.stat().st_mtime_ns))
    return found


def wait_until(bench: Zygote, pid: int, holds: Callable[[], bool]) -> None:
    """Until something holds or the process has ended; a slow machine has its time."""
    until = time.monotonic() + PATIENCE
    while bench.alive(pid) and not holds():
        assert time.monotonic() < until, bench.log.read_text()
        time.sleep(0.05)


@pytest.mark.heavy
@pytest.mark.parametrize(("step", "stage"), [("sft", "sft"), ("rlvr", "rlvr"), ("answers", "respond")])
def test_killed_again_and_again_each_process_gets_further_and_it_ends_as_if_undisturbed(
    bench: Zygote, step: str, stage: str
) -> None:
    bench.run("run", "often.yaml", "--store", "whole", "--only", step)
    whole = manifest(bench.folder, "whole", step)
    for _ in range(KILLS):
        before = saved(bench.folder, "cut", stage)
        pid = bench.start("run", "often.yaml", "--store", "cut", "--only", step)
        wait_until(bench, pid, lambda before=before: bool(saved(bench.folder, "cut", stage) - before))  # type: ignore[misc]
        time.sleep(0.3)
        if bench.alive(pid):
            os.kill(pid, signal.SIGKILL)
        if bench.end() == 0:
            break
    bench.run("run", "often.yaml", "--store", "cut", "--only", step)
    cut = manifest(bench.folder, "cut", step)
    assert cut["content_hash"] == whole["content_hash"]
    assert cut["attempts"] <= KILLS + 1 and (cut["attempts"] > 1 or whole["seconds"] < 15)


@pytest.mark.heavy
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
    assert f"sft: stopped after step {step} of 1500, which is in a checkpoint; the same command resumes there" in said
    assert "SIGTERM: finishing a step of sft" in said and "Traceback" not in said
    pid = bench.start("run", "often.yaml", "--store", "gentle", "--only", "sft")
    resumed = f"sft: resuming after step {step} of 1500"
    wait_until(bench, pid, lambda: resumed in bench.log.read_text())
    os.kill(pid, signal.SIGINT)
    bench.end()
    assert resumed in bench.log.read_text()
