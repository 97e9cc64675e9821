"""Files for SLURM and SkyPilot: run by stand-ins of their commands, which record what they are asked."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bactrian.errors import BactrianError
from bactrian.recipe import references
from bactrian.recipe.recipe import load
from bactrian.run.launch.job import Job, Wishes, job
from bactrian.run.launch.skypilot import task
from bactrian.run.launch.slurm import batch_script
from bactrian.run.plan import plan
from bactrian.store.artifact import Store
from bactrian.store.hardware import PRESETS, HardwareSettings

RECIPES = Path(__file__).parents[1] / "recipes"
RECORDER = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("STATUS", 0)) if sys.argv[0].endswith("srun") else 0)
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(repository: str, *rest: object) -> str:
        raise references.Unreachable(repository)

    monkeypatch.setattr(references, "_hub_commit", no_network)
    monkeypatch.setattr("bactrian.run.plan.measure_speed", lambda hardware: 1e12)


def job_of(path: Path, folder: Path, *overrides: str, wishes: Wishes | None = None) -> Job:
    recipe = load(path, overrides)
    return job(recipe, plan(recipe, Store(folder / "store")), wishes or Wishes(overrides=overrides))


def asked(script: str, folder: Path, interpreter: str = "bash", **environment: str) -> tuple[int, list[list[str]]]:
    """The status of a script, and what it asked of srun, scontrol and torchrun."""
    commands, record = folder / "bin", folder / "record"
    commands.mkdir(exist_ok=True)
    record.write_text("")
    for name in ("srun", "scontrol", "torchrun"):
        (commands / name).write_text(RECORDER)
        (commands / name).chmod(0o755)
    path = f"{commands}:{os.environ['PATH']}"
    done = subprocess.run([interpreter, "-c", script], env={"PATH": path, "RECORD": str(record), **environment})
    return done.returncode, [json.loads(line) for line in record.read_text().splitlines()]


def words_of(call: list[str]) -> list[str]:
    return call[call.index("-m") :]


@pytest.fixture
def odd_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose path a careless shell would run, and whose data lie elsewhere."""
    folder = tmp_path / "it's $(touch broken) here"
    folder.mkdir()
    data = tmp_path / "elsewhere" / "talks.jsonl"
    data.parent.mkdir()
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you"}]
    data.write_text(json.dumps({"messages": turns, "license": "MIT"}) + "\n")
    path = folder / "recipe.yaml"
    text = f"hardware: 8xh100\nsteps:\n  sft: {{stage: sft, model: Qwen/Qwen3-0.6B, data: '{data}'}}\n"
    path.write_text("name: odd\n" + text)
    monkeypatch.chdir(folder)
    return path


@pytest.mark.parametrize(
    ("status", "restarts", "again"), [("0", "0", False), ("143", "0", True), ("143", "200", False), ("2", "0", False)]
)
def test_a_job_that_was_told_to_stop_goes_on_and_no_other(
    odd_recipe: Path, tmp_path: Path, status: str, restarts: str, again: bool
) -> None:
    script = batch_script(job_of(odd_recipe, tmp_path))
    found, calls = asked(script, tmp_path, STATUS=status, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=restarts)
    assert found == int(status)
    assert words_of(calls[0]) == ["-m", "bactrian", "run", str(odd_recipe), "--store", "runs"]
    assert calls[1:] == ([["scontrol", "requeue", "7"]] if again else [])
    assert not list(tmp_path.rglob("broken"))


def test_what_is_asked_of_slurm_is_the_recipe_s_hardware(odd_recipe: Path, tmp_path: Path) -> None:
    wishes = Wishes(hours=36.5, partition="gpu,long", account="lab", overrides=("hardware.nodes=4",))
    script = batch_script(job_of(odd_recipe, tmp_path, *wishes.overrides, wishes=wishes))
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    options = dict(line.split("=", 1) for line in lines if "=" in line)
    assert options["nodes"] == "4" and options["ntasks-per-node"] == options["gpus-per-node"] == "8"
    assert options["time"] == "1-12:30:00" and options["partition"] == "gpu,long" and options["account"] == "lab"
    assert "requeue" in lines and options["signal"] == "TERM@300"
    _, calls = asked(script, tmp_path)
    assert words_of(calls[0])[4:6] == ["--set", "hardware.nodes=4"]


def test_skypilot_gets_one_torchrun_for_each_machine_and_the_files_outside(odd_recipe: Path, tmp_path: Path) -> None:
    made = YAML(typ="safe").load(task(job_of(odd_recipe, tmp_path)))
    assert made["resources"] == {"accelerators": "H100:8"} and made["num_nodes"] == 1
    data = str(tmp_path / "elsewhere" / "talks.jsonl")
    assert made["file_mounts"] == {data: data}
    machine = {"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "8", "SKYPILOT_NODE_RANK": "0"}
    status, [call] = asked(made["run"], tmp_path, SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2", **machine)
    assert status == 0 and "--master-addr=10.0.0.1" in call and "--nproc-per-node=8" in call
    assert words_of(call) == ["-m", "bactrian", "run", str(odd_recipe), "--store", "runs"]
    assert not list(tmp_path.rglob("broken"))


def test_a_large_recipe_says_what_it_takes_and_where_it_does_not_fit(tmp_path: Path) -> None:
    recipe = RECIPES / "tulu3-70b.yaml"
    small = job_of(recipe, tmp_path, "hardware.preset=one-gpu", wishes=Wishes(price=2.0))
    assert {cost.name for cost in small.short} >= {"sft", "dpo", "rlvr"}
    said = small.summary()
    assert sum(line.startswith("warning: ") for line in said) == len(small.short)
    assert f"{2 * small.gpu_hours:,.2f} of money at 2.00 a GPU-hour" in "\n".join(said)
    assert not job_of(recipe, tmp_path, "hardware.preset=16-nodes").short
    assert small.gpu_hours == pytest.approx(sum(cost.gpu_hours for cost in small.costs)) and small.gpu_hours > 1000


def test_names_that_would_break_out_of_a_comment_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a\nrm -rf .yaml"
    path.write_text("name: a\nsteps: {sums: {stage: problems, tasks: [{source: sums, count: 5}]}}\n")
    with pytest.raises(BactrianError, match="control character"):
        job_of(path, tmp_path)
    with pytest.raises(BactrianError, match="partition or account 'a\\\\nb'"):
        job_of(RECIPES / "nano.yaml", tmp_path, wishes=Wishes(partition="a\nb"))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings_and_what_is_written_beside_it_wins(name: str) -> None:
    plain, more = HardwareSettings.model_validate(name), HardwareSettings.model_validate({"preset": name, "threads": 3})
    assert plain.model_dump(exclude_unset=True) == {"preset": name, **dict(PRESETS)[name]}  # type: ignore[index]
    assert more == plain.model_copy(update={"threads": 3})
    assert HardwareSettings.model_validate({"preset": name, "device": "cpu"}).device == "cpu"


def test_a_preset_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("hardware: 9xh100\nsteps: {sums: {stage: problems, tasks: [{source: sums, count: 5}]}}\n")
    with pytest.raises(BactrianError, match="found \"9xh100\", expected 'laptop', 'one-gpu', '8xh100' or '16-nodes'"):
        load(path)
