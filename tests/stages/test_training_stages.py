"""The whole chain on a tiny model, end to end; and killed with SIGKILL at many moments, bit-identical all the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.draws import drawn_seed

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
name: tiny
seed: 5
hardware: {dtype: DTYPE, threads: 1, device: cpu}
steps:
  base:
    stage: pretrain
    data: texts.jsonl
    vocabulary: problems.jsonl
    hidden_size: 32
    layers: 2
    heads: 2
    intermediate_size: 48
    context: 64
    epochs: 5
    batch_size: 24
    memory: {micro_tokens: 600}
    learning_rate: 0.02
    checkpoints: {checkpoint_seconds: 0}
  sft:
    stage: sft
    model: base
    data: problems.jsonl
    epochs: 6
    batch_size: 9
    memory: {micro_tokens: 100}
    learning_rate: 0.01
    checkpoints: {checkpoint_seconds: 0}
  pairs: {stage: prefer, prompts: problems.jsonl, pool: [sft, base], samples: 4, max_new_tokens: 8, rows_at_once: 16}
  dpo:
    stage: dpo
    model: sft
    data: pairs
    epochs: 3
    batch_size: 4
    memory: {micro_tokens: 200}
    learning_rate: 1.0e-3
    checkpoints: {checkpoint_seconds: 0}
  rlvr:
    stage: rlvr
    model: dpo
    data: problems.jsonl
    steps: 8
    problems_per_step: 4
    samples: 4
    update: {updates_per_step: 2}
    kl: 0.05
    max_new_tokens: 8
    memory: {micro_tokens: 200}
    learning_rate: 1.0e-3
    checkpoints: {checkpoint_seconds: 0}
  scores:
    stage: evaluate
    models: {base: base, sft: sft, dpo: dpo, rlvr: rlvr}
    data: unseen.jsonl
    train: [problems.jsonl]
    samples: 2
    k: [2]
    max_new_tokens: 8
"""
TRAINED = ("base", "sft", "dpo", "rlvr")
STEPS = ("base", "sft", "pairs", "dpo", "rlvr", "scores")


def write_inputs(folder: Path, dtype: str) -> None:
    """Texts and problems whose answer is 1 or 2 at random: what a tiny model learns is to guess, so groups differ."""
    draw = random.Random(0)
    animals = ("cat", "camel", "dog", "owl")

    def problem(i: int) -> dict[str, Any]:
        question = f"the {draw.choice(animals)} {i // 10} {i % 10} says ?"
        answer = draw.choice("12")
        return {
            "id": f"p{i}",
            "messages": [{"role": "system", "content": "one or 2"}, {"role": "user", "content": question}],
            "ground_truth": answer,
            "solution": f"Answer: {answer}",
            "dataset": "gsm8k",
            "source": "test",
            "license": "CC0-1.0",
        }

    texts = [
        {"id": f"t{i}", "text": f"the {draw.choice(animals)} says Answer: {draw.choice('12')} "} for i in range(90)
    ]
    for row in texts:
        row["text"] += " ".join(draw.choice(animals) for _ in range(draw.randint(0, 30)))
        row |= {"source": "test", "license": "CC0-1.0"}
    rows = [problem(i) for i in range(60)]
    for name, some in (("texts", texts), ("problems", rows[:40]), ("unseen", rows[40:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "tiny.yaml").write_text(RECIPE.replace("DTYPE", dtype))


class Zygote:
    """Runs command lines in forks of one process that has imported everything (see zygote.py)."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.dtype, self.folder, self.log = dtype, folder, folder / "log.txt"
        environment = {
            **os.environ,
            "BACTRIAN_NO_REEXEC": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": str(ROOT),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )

    def start(self, *arguments: str) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.log.write_text("")
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def run(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        self.start(*arguments)
        status = self.end()
        assert status == 0, self.log.read_text()
        return self.log.read_text()

    def alive(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False


@pytest.fixture(scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.heavy)])
def bench(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Zygote]:
    """The inputs, and a store `whole` in which the recipe ran undisturbed."""
    folder = tmp_path_factory.mktemp("chain")
    write_inputs(folder, request.param)
    zygote = Zygote(folder, request.param)
    zygote.run("run", "tiny.yaml", "--store", "whole")
    yield zygote
    assert zygote.process.stdin is not None
    zygote.process.stdin.close()
    zygote.process.wait(30)


def records(folder: Path, store: str) -> dict[str, dict[str, Any]]:
    """The manifest of each step of the run."""
    steps = json.loads((folder / store / "tiny" / "run.json").read_text())["steps"]
    return {step["name"]: json.loads((folder / store / step["path"] / "manifest.json").read_text()) for step in steps}


def path_of(folder: Path, store: str, step: str) -> Path:
    steps = json.loads((folder / store / "tiny" / "run.json").read_text())["steps"]
    return folder / store / {each["name"]: str(each["path"]) for each in steps}[step]


def metrics(folder: Path, store: str, step: str) -> list[dict[str, float]]:
    lines = (path_of(folder, store, step) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "tokens_per_second"} for line in lines]


def test_every_stage_makes_what_it_should(bench: Zygote) -> None:
    from bactrian.data.io.files import read_rows
    from bactrian.model.language_model import LanguageModel

    manifests = records(bench.folder, "whole")
    assert tuple(manifests) == STEPS
    for name in TRAINED:
        folder = path_of(bench.folder, "whole", name)
        assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "metrics.jsonl"} <= {
            p.name for p in folder.iterdir()
        }
        assert (
            LanguageModel.load(folder).parameters
            == LanguageModel.load(path_of(bench.folder, "whole", "base")).parameters
        )
        assert manifests[name]["metrics"]["updates"] == len(metrics(bench.folder, "whole", name)) >= 7
        assert [licence["licence"] for licence in manifests[name]["licences"]] == ["CC0-1.0"]
    for name, fall in (("base", 2.0), ("sft", 0.3), ("dpo", 0.0)):
        losses = [line["loss"] for line in metrics(bench.folder, "whole", name)]
        assert losses[-1] < losses[0] - fall
    pairs = read_rows(path_of(bench.folder, "whole", "pairs"), "pair")
    assert len(pairs) >= 8 and {p["chosen_model"] for p in pairs} <= {"sft", "base"}
    assert all(p["chosen_score"] > p["rejected_score"] for p in pairs)
    learnt = metrics(bench.folder, "whole", "rlvr")
    assert len(learnt) == 16 and any(line["grad_norm"] > 0 for line in learnt)
    assert max(line["logprob_gap_max"] for line in learnt) <= (1e-5 if bench.dtype == "float32" else 0.5)
    results = json.loads((path_of(bench.folder, "whole", "scores") / "results.json").read_text())
    assert results["models"] == list(TRAINED)
    assert {score["mode"] for score in results["scores"]} >= {"greedy"} and len(results["scores"]) == 8


def test_a_second_run_makes_nothing(bench: Zygote) -> None:
    assert "nothing to make, 6 of 6 steps exist" in bench.run("run", "tiny.yaml", "--store", "whole")


def test_the_reference_s_log_probs_are_kept(bench: Zygote) -> None:
    said = bench.run(
        "run", "tiny.yaml", "--store", "whole", "--only", "dpo", "--set", "dpo.epochs=1", "--set", "name=b"
    )
    assert "reference log-probs" not in said
    said = bench.run("run", "tiny.yaml", "--store", "fresh", "--only", "base")
    assert "base: making" in said


def kill_when(bench: Zygote, pid: int, partial: Path, moment: float) -> bool:
    """Kill the process once the step has logged `moment` lines, or, if that is below 1, that many seconds in."""
    began: float | None = None
    while bench.alive(pid):
        if moment >= 1:
            log = partial / "output" / "metrics.jsonl"
            if log.exists() and log.read_bytes().count(b"\n") >= moment:
                break
        elif partial.exists():
            began = began or time.monotonic()
            if time.monotonic() - began >= moment:
                break
        time.sleep(0.002)
    else:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def killed_and_run_again(bench: Zygote, store: str, kills: int, seed: int) -> tuple[int, int]:
    """Make each step with so many kills before it may finish.

    Returns:
        How many hit, and how many runs went on from a checkpoint.
    """
    draw = random.Random(seed)
    manifests = records(bench.folder, "whole")
    hits = resumed = 0
    for step in STEPS:
        manifest = manifests[step]
        partial = bench.folder / store / "artifacts" / f"{manifest['stage']}-{manifest['key'][:16]}.partial"
        for kill in range(kills):
            lines = len(metrics(bench.folder, "whole", step)) if step in TRAINED else 0
            late = draw.uniform(0, min(0.99, manifest["seconds"]))
            moment = draw.randint(3, lines - 1) if lines and kill % 2 == 0 else late
            pid = bench.start("run", "tiny.yaml", "--store", store, "--only", step)
            hits += kill_when(bench, pid, partial, moment)
            assert bench.end() in (0, -signal.SIGKILL), bench.log.read_text()
            resumed += "resuming after step" in bench.log.read_text()
        said = bench.run("run", "tiny.yaml", "--store", store, "--only", step)
        resumed += "resuming after step" in said
    return hits, resumed


def check_the_same(bench: Zygote, store: str) -> None:
    bench.run("run", "tiny.yaml", "--store", store)
    whole, cut = records(bench.folder, "whole"), records(bench.folder, store)
    for step in STEPS:
        assert cut[step]["content_hash"] == whole[step]["content_hash"], step
        if step in TRAINED:
            assert cut[step]["files"]["model.safetensors"] == whole[step]["files"]["model.safetensors"]
            assert metrics(bench.folder, store, step) == metrics(bench.folder, "whole", step)
            assert cut[step]["metrics"] == whole[step]["metrics"]
    assert not list((bench.folder / store / "artifacts").glob("*.partial"))
    assert "nothing to make, 6 of 6 steps exist" in bench.run("run", "tiny.yaml", "--store", store)


def test_killed_in_each_stage_it_ends_as_if_undisturbed(bench: Zygote) -> None:
    hits, resumed = killed_and_run_again(bench, "cut", 2, drawn_seed())
    assert hits >= 3 and resumed >= 1  # not vacuous; how many depends on the machine
    check_the_same(bench, "cut")
    assert any(manifest["attempts"] > 1 for manifest in records(bench.folder, "cut").values())


@pytest.mark.heavy
@pytest.mark.parametrize("kills", [4, 8])
def test_killed_many_times_at_random_moments(bench: Zygote, kills: int) -> None:
    hits, resumed = killed_and_run_again(bench, f"cut-{kills}", kills, drawn_seed())
    assert hits >= 3 and resumed >= 1
    check_the_same(bench, f"cut-{kills}")


@pytest.mark.parametrize("kills", [2, pytest.param(7, marks=pytest.mark.heavy)])
def test_the_real_command_killed_at_random_moments(bench: Zygote, kills: int) -> None:
    """Without the zygote: `bactrian run`, imports and all, killed so many times at most, then left alone.

    Where it is killed twice the first three steps are there already: all of them would not be reached.
    """
    draw = random.Random(drawn_seed())
    for step in STEPS[:3] if kills == 2 else ():
        made = path_of(bench.folder, "whole", step)
        shutil.copytree(made, bench.folder / f"real-{kills}" / "artifacts" / made.name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bactrian", "run", "tiny.yaml", "--store", f"real-{kills}"]
    for kill in range(kills + 1):
        process = subprocess.Popen(command, cwd=bench.folder, env=environment, stderr=subprocess.DEVNULL)
        try:
            status = process.wait(draw.uniform(4, 20) if kill < kills else 600)
            assert status == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    check_the_same(bench, f"real-{kills}")
