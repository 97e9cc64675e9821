"""A recipe run by several processes: one writes, all train, the models are one process's, and none outlives another."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.stages.test_training_stages import RECIPE, write_inputs
from tests.train.bench import distance
from tests.train.gang import ended, environment, free_port, slurm_environment

pytestmark = pytest.mark.slow
BASE = RECIPE.partition("  sft:")[0].replace("DTYPE, ", "float32, weights: sharded, ")
"""One step of 19 updates, each in a checkpoint."""
WHOLE = (
    BASE
    + """\
  sft:
    stage: sft
    model: base
    data: problems.jsonl
    batch_size: 9
    memory: {micro_tokens: 100}
    checkpoints: {keep_every: 2}
  lora:
    stage: sft
    model: sft
    data: problems.jsonl
    batch_size: 9
    adapter: {rank: 4}
    learning_rate: 0.01
  dpo:
    stage: dpo
    model: sft
    data: pairs.jsonl
    batch_size: 5
    adapter: {rank: 4}
    memory: {micro_tokens: 100}
    learning_rate: 0.01
  rlvr:
    stage: rlvr
    model: sft
    data: problems.jsonl
    kl: 0.05
    steps: 2
    problems_per_step: 4
    samples: 4
    max_new_tokens: 8
    learning_rate: 1.0e-3
    watch: {held_out: unseen.jsonl}
"""
)
TRAINED = ("base", "sft", "lora", "dpo", "rlvr")


def run(rank: int, said: Path, recipe: str, store: str, disaster: str = "") -> int:
    """`bactrian run` in this process, as one of several where the environment says so; its status."""
    from bactrian.cli import main as cli
    from bactrian.train import loop

    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    if disaster:
        apply, made = loop._apply, [0]

        def cut(*given: Any) -> Any:
            made[0] += 1
            if made[0] == 9 and rank == (0 if disaster.startswith("leader") else 1):
                if disaster.endswith("raises"):
                    raise ValueError("a cosmic ray")
                os.kill(os.getpid(), signal.SIGTERM if disaster == "stopped" else signal.SIGKILL)
            return apply(*given)

        loop._apply = cut
    try:
        return cli.invoke(["run", recipe, "--store", store])
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint")
    write_inputs(folder, "float32")
    problems = [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair(row)) + "\n" for row in problems[:13]))
    (folder / "base.yaml").write_text(BASE)
    (folder / "whole.yaml").write_text(WHOLE)
    return folder


def pair(row: dict[str, Any]) -> dict[str, Any]:
    """A problem with its right answer and the wrong one."""
    sides = {"chosen": row["ground_truth"], "rejected": "21"[int(row["ground_truth"]) - 1]}
    said = {side: [{"role": "assistant", "content": f"Answer: {answer}"}] for side, answer in sides.items()}
    return {"id": row["id"], "prompt": row["messages"], "source": "test", "license": "CC0-1.0", **said}


def ran(place: Path, size: int, recipe: str, store: str, disaster: str = "") -> tuple[list[int], list[str]]:
    """Statuses, and what each process said."""
    said = [place / f"{store}-{rank}.txt" for rank in range(size)]
    port = free_port()
    start = slurm_environment if disaster else environment
    given = [(start(rank, size, port), (rank, said[rank], recipe, store, disaster)) for rank in range(size)]
    statuses = ended(run, given, place)
    return statuses, [file.read_text() for file in said]


def words(said: str) -> list[str]:
    """Without the bars of libraries, which the command line turns off before they are loaded."""
    return [
        line for line in said.replace("\r", "\n").splitlines() if line and "it/s]" not in line and "?it" not in line
    ]


def artifact(place: Path, store: str, step: str) -> Path:
    return (place / store / "tiny" / step).resolve()


def test_two_processes_make_what_one_makes_and_one_of_them_writes(place: Path) -> None:
    (status,), _ = ran(place, 1, "whole.yaml", "alone")
    assert status == 0
    statuses, said = ran(place, 2, "whole.yaml", "two")
    assert statuses == [0, 0], said
    assert "sft: done" in said[0] and words(said[1]) == []
    for step in TRAINED:
        mine, theirs = (artifact(place, store, step) for store in ("alone", "two"))
        assert sorted(f.name for f in mine.iterdir()) == sorted(f.name for f in theirs.iterdir())
        weights = [load_file(folder / "model.safetensors") for folder in (mine, theirs)]
        if step != "rlvr":  # what it samples may turn on the last bit
            assert distance(weights[0], weights[1]) <= 1e-3, step
        lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (mine, theirs)]
        assert len(lines[0]) == len(lines[1])
        first = [json.loads(each[0]) for each in lines]
        assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-3, abs=1e-6)
    assert not list((place / "two" / "artifacts").glob("*.partial"))


@pytest.mark.parametrize(
    ("disaster", "lost", "named"),
    [
        ("killed", 1, "ended without a word: it was killed"),
        ("raises", 1, "failed: ValueError: a cosmic ray"),
        ("leader killed", 0, "ended without a word: it was killed"),
    ],
)
def test_one_that_is_lost_ends_the_other_which_names_it_and_a_second_run_goes_on(
    place: Path, disaster: str, lost: int, named: str
) -> None:
    store = disaster.replace(" ", "-")
    statuses, said = ran(place, 2, "base.yaml", store, disaster)
    assert statuses[1 - lost] == 2 and statuses[lost] == (1 if disaster == "raises" else -signal.SIGKILL)
    last = said[1 - lost].splitlines()[-1]
    assert last.startswith(f"error: process {lost} (") and last.endswith(named)
    again, said = ran(place, 2, "base.yaml", store)
    assert again == [0, 0] and "resuming after step 8 of" in said[0]


def test_a_signal_to_one_stops_all_after_the_same_step(place: Path) -> None:
    statuses, said = ran(place, 2, "base.yaml", "stopped", "stopped")
    assert statuses == [143, 143]
    assert "stopped after step 9 of" in said[0].splitlines()[-1] and words(said[1]) == []
    again, said = ran(place, 2, "base.yaml", "stopped")
    assert again == [0, 0] and "resuming after step 9 of" in said[0]
