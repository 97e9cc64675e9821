"""Made once, skipped afterwards, resumed after a kill, remade when and only when something that shapes it changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import keys, prepare, runner
from bactrian.run.keys import tasks
from bactrian.run.log import StepEntry
from bactrian.run.plan import plan
from bactrian.store.artifact import Store, Workspace
from bactrian.store.manifest import Licence, Manifest

RECIPE = """\
name: small
seed: 17
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  data: {stage: letters, count: 2}
  other: {stage: letters, letter: b, licence: CC-BY-NC-4.0}
  sft: {stage: blend, data: data, steps: 2}
  dpo: {stage: blend, data: other, model: sft}
  scores: {stage: compare, models: [sft, dpo]}
"""
ALL = ["data", "other", "sft", "dpo", "scores"]


def run(*overrides: str, text: str = RECIPE, **options: str) -> dict[str, StepEntry]:
    Path("r.yaml").write_text(text)
    records = runner.run(load(Path("r.yaml"), overrides), Store(Path("runs")), **options)  # type: ignore[arg-type]
    return {record.name: record for record in records}


def made(records: dict[str, StepEntry]) -> list[str]:
    return [name for name, record in records.items() if record.status == "made"]


def folder(record: StepEntry) -> Path:
    return Path("runs") / record.path


def test_a_run_makes_everything_and_a_second_nothing(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert made(run()) == ALL
    before = Path("runs/small/run.json").read_text()
    capsys.readouterr()
    assert made(run()) == [] and len(fakes) == len(ALL)
    assert capsys.readouterr().err.splitlines()[-1] == "small: nothing to make, 5 of 5 steps exist"
    assert Path("runs/small/run.json").read_text() == before


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("data.count=3", ["data", "sft", "dpo", "scores"]),
        ("other.letter=c", ["other", "dpo", "scores"]),
        ("dpo.learning_rate=0.1", ["dpo", "scores"]),
        ("scores.models=[dpo]", ["scores"]),
        ("seed=18", ALL),
        ("dpo.seed=18", ["dpo", "scores"]),
        ("dpo.seed=17", []),
        ("hardware.dtype=bfloat16", ALL),
        ("hardware.threads=2", []),
        ("name=another", []),
        ("data.count=2", []),
    ],
)
def test_a_change_remakes_what_it_reaches_and_no_more(fakes: list[str], override: str, again: list[str]) -> None:
    run()
    assert made(run(override)) == again
    assert made(run(override)) == []
    assert made(run()) == []


def test_renaming_a_step_remakes_only_what_shows_names(fakes: list[str]) -> None:
    run()
    renamed = RECIPE.replace("sft:", "tuned:").replace("model: sft", "model: tuned").replace("[sft", "[tuned")
    assert made(run(text=renamed)) == ["scores"]


def test_changed_code_remakes(fakes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr(keys, "fingerprint_of", lambda module: "other")
    assert made(run()) == ALL


def test_a_changed_file_of_the_outside_remakes(fakes: list[str]) -> None:
    folder = Path("mine")
    folder.mkdir()
    (folder / "data.jsonl").write_text("1\n")
    text = "name: small\nsteps:\n  sft: {stage: blend, data: mine}\n"
    assert made(run(text=text)) == ["sft"]
    assert made(run(text=text)) == []
    (folder / "data.jsonl").write_text("2\n")
    assert made(run(text=text)) == ["sft"]


def test_the_manifest_says_where_it_came_from(fakes: list[str]) -> None:
    records = run()
    sft, dpo = (Manifest.read(folder(records[name])) for name in ("sft", "dpo"))
    assert (dpo.kind, dpo.stage, dpo.step, dpo.seed) == ("model", "blend", "dpo", 17)
    assert dpo.inputs["sft"].key == sft.key and dpo.inputs["sft"].content_hash == sft.content_hash
    assert dpo.settings["learning_rate"] == 0.5 and dpo.settings["model"] == "sft"
    assert dpo.hardware["dtype"] == "float32" and dpo.hardware["threads"] == 1 and dpo.hardware["cores"]
    assert {"python", "torch", "pydantic"} <= dpo.packages.keys()
    assert set(dpo.code) == {"version", "commit", "fingerprint"} and len(str(dpo.code["fingerprint"])) == 64
    assert dpo.seconds >= 0 and dpo.attempts == 1 and dpo.started.startswith("20")
    assert Manifest.read(folder(records["data"])).metrics == {"letters": 2.0}


def test_licences_and_their_marks_are_carried_up_once(fakes: list[str]) -> None:
    records = run()
    plain, nc = Licence.of("the alphabet", "CC-BY-4.0"), Licence.of("the alphabet", "CC-BY-NC-4.0")
    assert nc.marks == ("NC",)
    assert Manifest.read(folder(records["sft"])).licences == (plain,)
    assert Manifest.read(folder(records["scores"])).licences == (plain, nc)


def test_run_json_says_what_was_made_of_what(fakes: list[str]) -> None:
    run(command="bactrian run r.yaml")
    record = json.loads(Path("runs/small/run.json").read_text())
    assert record["name"] == "small" and record["recipe"] == RECIPE and record["command"] == "bactrian run r.yaml"
    dpo = record["steps"][3]
    assert dpo["name"] == "dpo" and dpo["kind"] == "model" and dpo["status"] == "made"
    assert dpo["inputs"] == {"other": "other", "sft": "sft"}
    assert (Path("runs") / dpo["path"] / "manifest.json").is_file()
    run("dpo.learning_rate=0.1")
    again = json.loads(Path("runs/small/run.json").read_text())
    assert [step["status"] for step in again["steps"]] == ["reused", "reused", "reused", "made", "made"]


def test_run_json_lists_what_an_interrupted_run_has_not_made(fakes: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        run("other.trouble=bug")
    steps = json.loads(Path("runs/small/run.json").read_text())["steps"]
    assert [step["status"] for step in steps] == ["made", *["waiting"] * 4]
    assert [step["path"] is None for step in steps] == [False, *[True] * 4]
    assert steps[3]["inputs"] == {"other": "other", "sft": "sft"} and steps[3]["kind"] == "model"
    with pytest.raises(BactrianError, match=r'run.json: step "sft" is not made yet'):
        Store(Path("runs")).locate("sft", "small")


def test_a_run_that_stops_in_its_first_step_is_on_record(fakes: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        run("data.trouble=bug")
    assert {step["status"] for step in json.loads(Path("runs/small/run.json").read_text())["steps"]} == {"waiting"}


def test_the_report_is_written_if_something_was_made(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert "report: runs/small/report.html" in capsys.readouterr().err
    run()
    assert "report" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data", "sft"])
def test_a_tampered_artifact_is_named_and_never_used(fakes: list[str], name: str) -> None:
    records = run()
    file = next(path for path in folder(records[name]).iterdir() if path.suffix in (".jsonl", ".safetensors"))
    file.write_text("tampered")
    with pytest.raises(BactrianError, match="remove that folder and run again") as caught:
        run("dpo.learning_rate=0.1")
    assert str(folder(records[name])) in str(caught.value) and file.name in str(caught.value)


def test_removing_an_artifact_remakes_it_and_nothing_else_if_it_comes_out_the_same(fakes: list[str]) -> None:
    import shutil

    shutil.rmtree(folder(run()["sft"]))
    assert made(run()) == ["sft"]


def test_an_input_that_comes_out_different_remakes_what_reads_it(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import fake_stages

    shutil.rmtree(folder(run()["data"]))

    def differently(self: object, workspace: Workspace) -> None:
        (workspace.output / "data.jsonl").write_text("different")

    monkeypatch.setattr(fake_stages.Letters, "run", differently)
    assert made(run()) == ["data", "sft", "dpo", "scores"]


def test_only_makes_one_step_from_what_exists(fakes: list[str]) -> None:
    with pytest.raises(BactrianError, match='--only dpo: it reads step "other", which is not made yet'):
        run(only="dpo")
    assert made(run(only="data")) == ["data"] and fakes == ["letters"]
    assert made(run(only="other")) == ["other"]
    assert made(run(only="sft")) == ["sft"]
    assert [record.status for record in run(only="dpo").values()] == ["reused", "reused", "reused", "made"]
    with pytest.raises(BactrianError, match=r'no step "dop".*did you mean "dpo"'):
        run(only="dop")


def test_from_makes_a_step_and_all_after_it_again(fakes: list[str]) -> None:
    before = run()
    after = run(from_step="sft")
    assert made(after) == ["sft", "dpo", "scores"]
    assert [record.key for record in after.values()] == [record.key for record in before.values()]
    assert not list(Path("runs/artifacts").glob("*.old")) and not list(Path("runs/artifacts").glob("*.partial"))
    with pytest.raises(BactrianError, match='no step "sfd"'):
        run(from_step="sfd")


def test_bad_input_names_the_step_and_stays_plain(fakes: list[str]) -> None:
    with pytest.raises(BactrianError, match=r'step "data" \(stage letters\): row 3, field messages'):
        run("data.trouble=input")


def test_a_bug_carries_a_note_with_the_step(fakes: list[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("data.trouble=bug")
    assert caught.value.__notes__ == ['while making step "data" (stage letters)']


def test_a_full_disk_is_named_and_what_was_made_stays(fakes: list[str]) -> None:
    with pytest.raises(BactrianError, match=r'step "other" .*disk is full \([\d,]+ bytes free\)'):
        run("other.trouble=full")
    assert [record.name for record in run(only="data").values() if record.status == "reused"] == ["data"]
    assert len(list(Path("runs/artifacts").glob("letters-*.partial/output/data.jsonl"))) == 1


def test_another_recipe_shares_what_is_the_same(fakes: list[str]) -> None:
    run()
    text = "name: two\nseed: 17\nhardware: {dtype: float32}\nsteps:\n  a: {stage: letters, count: 2}\n"
    assert made(run(text=text)) == []
    assert json.loads(Path("runs/two/run.json").read_text())["steps"][0]["status"] == "reused"


def test_an_embedded_model_is_an_input_with_a_licence(fakes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from bactrian.model import embedded

    model = next(iter(embedded.EMBEDDED.values()))
    monkeypatch.setitem(embedded.EMBEDDED, "tiny", model)
    Path("converted").mkdir()
    monkeypatch.setattr(embedded, "materialise", lambda name: Path("converted") if name == "tiny" else Path("no"))
    text = "name: e\nsteps:\n  d: {stage: letters}\n  m: {stage: blend, data: d, model: 'embedded:tiny'}\n"
    manifest = Manifest.read(folder(run(text=text)["m"]))
    assert manifest.inputs["embedded:tiny"].path == "converted" and manifest.inputs["embedded:tiny"].key is None
    assert model.licence in {licence.licence for licence in manifest.licences}
    assert made(run(text=text)) == []


def test_an_artifact_s_folder_is_an_input_too(fakes: list[str]) -> None:
    data = folder(run()["other"])
    text = f"name: p\nsteps:\n  m: {{stage: blend, data: {data}}}\n"
    manifest = Manifest.read(folder(run(text=text)["m"]))
    assert manifest.inputs[str(data)].key == Manifest.read(data).key
    assert manifest.licences == (Licence.of("the alphabet", "CC-BY-NC-4.0"),)
    with pytest.raises(BactrianError, match="an artifact that is data"):
        run(text=f"name: p\nsteps:\n  m: {{stage: blend, data: {data}, model: {data}}}\n")


def test_the_plan_tells_what_exists_and_what_the_rest_takes(fakes: list[str]) -> None:
    run(only="data")
    Path("r.yaml").write_text(RECIPE)
    recipe, store = load(Path("r.yaml")), Store(Path("runs"))
    sft = next(task for task in tasks(recipe, recipe.hardware.decide()) if task.step.name == "sft")
    (store.partial("blend", sft.key) / "scratch").mkdir(parents=True)
    planned = plan(recipe, store)
    assert [step.state for step in planned.steps] == ["exists", "make", "resume", "make", "make"]
    assert planned.steps[2].flops == 2e9 and planned.speed > 0
    assert planned.seconds == pytest.approx(sum(step.seconds for step in planned.steps)) and planned.seconds > 0
    assert planned.short_of_memory == []


def test_the_plan_knows_time_limits(fakes: list[str]) -> None:
    Path("r.yaml").write_text(RECIPE)
    recipe = load(Path("r.yaml"), ["sft.seconds=1e-6", "dpo.seconds=1e6"])
    steps = {step.name: step for step in plan(recipe, Store(Path("runs"))).steps}
    assert steps["sft"].seconds == pytest.approx(1e-6) and steps["sft"].flops < 2e9 and steps["sft"].tokens < 1e3
    assert steps["dpo"].seconds < 1e6 and steps["dpo"].flops == 2e9


def test_a_step_too_big_for_the_machine_is_warned_of(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "device_memory", lambda device: 2**29)
    run()
    assert "sft: warning: may need 0.9 GiB of memory, and this machine has 0.5 GiB" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_named(fakes: list[str]) -> None:
    Path("runs").write_text("a file where a folder should be")
    with pytest.raises(BactrianError, match=r"runs/small: cannot be written to"):
        run()


def test_a_damaged_run_json_is_written_anew(fakes: list[str]) -> None:
    run()
    Path("runs/small/run.json").write_text("{")
    assert made(run()) == [] and len(json.loads(Path("runs/small/run.json").read_text())["steps"]) == 5


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import fake_stages; fake_stages.main()", *arguments]


def environment() -> dict[str, str]:
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "BACTRIAN_NO_REEXEC": "1"}


SLOW = "name: slow\nseed: 1\nsteps:\n  d: {stage: letters}\n  m: {stage: blend, data: d, steps: 60}\n"


def weights(store: str) -> bytes:
    return next(Path(store).glob("artifacts/blend-*/model.safetensors")).read_bytes()


@pytest.mark.parametrize("kill_after", [1, 30, 55])
def test_kill_9_leaves_a_partial_and_the_next_run_finishes(
    fakes: list[str], kill_after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("r.yaml").write_text(SLOW)
    process = subprocess.Popen(command("run", "r.yaml"), env=environment(), stderr=subprocess.DEVNULL)
    while not _reached("runs", kill_after):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.suffix for path in Path("runs/artifacts").glob("blend-*")] == [".partial"]
    assert cli.invoke(["run", "r.yaml"]) == 0
    said = capsys.readouterr().err
    assert "m: resuming (stage blend)" in said and "d: exists" in said
    assert cli.invoke(["run", "r.yaml", "--store", "whole"]) == 0
    assert weights("runs") == weights("whole")
    log = next(Path("runs").glob("artifacts/blend-*/metrics.jsonl"))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 61))
    manifest = Manifest.read(log.parent)
    assert manifest.attempts == 2 and manifest.seconds > 60 * 0.02  # both processes' time


def _reached(store: str, step: int) -> bool:
    done = list(Path(store).glob("artifacts/blend-*.partial/scratch/done"))
    return bool(done) and int(done[0].read_text() or 0) >= step


def test_two_processes_never_make_the_same_artifact(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(SLOW)
    first = subprocess.Popen(command("run", "r.yaml"), env=environment(), stderr=subprocess.DEVNULL)
    while not _reached("runs", 1):
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second has started
    second, said = cli.invoke(["run", "r.yaml"]), capsys.readouterr().err
    first.send_signal(signal.SIGCONT)
    assert second == 2 and f"is being made by process {first.pid}" in said
    assert 'step "m"' in said and first.wait() == 0


def test_ctrl_c_says_that_the_run_can_be_resumed(fakes: list[str]) -> None:
    Path("r.yaml").write_text(SLOW.replace("steps: 60", "steps: 3000"))  # a minute: it must not end before the signal
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # who starts tests in the background has it ignored, for good
    try:
        process = subprocess.Popen(command("run", "r.yaml"), env=environment(), stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    while not _reached("runs", 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and "the same command resumes" in err and "Traceback" not in err


def test_preparation_sets_threads_determinism_and_seeds() -> None:
    import torch

    from bactrian.store.hardware import Hardware

    before = torch.get_num_threads()
    try:
        prepare.prepare(Hardware(threads=1), 5)
        first = torch.rand(1).item()
        prepare.prepare(Hardware(threads=1), 5)
        assert torch.rand(1).item() == first and torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")
        torch.set_num_threads(before)


def test_a_manifest_changed_and_sealed_again_is_found_by_what_was_made_from_it(
    fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    records = run()
    other = folder(records["other"])
    Manifest.read(other).model_copy(update={"licences": (Licence.of("the alphabet", "MIT"),)}).write(other)
    with pytest.raises(BactrianError, match=r"dpo: other: its manifest.json says other things than when .*blend-"):
        run()
    store = ["--store", "runs", "--run", "small"]
    assert cli.invoke(["show", "other", *store]) == 0  # nothing is wrong with it by itself
    assert cli.invoke(["show", "dpo", *store]) == 2
    assert "was changed and sealed again" in capsys.readouterr().err
    Manifest.read(other).model_copy(update={"making": "another"}).write(other)  # as if it had been made again
    assert made(run()) == ["dpo", "scores"]
    assert "other was made again and its manifest says other things" in capsys.readouterr().err


def test_a_flipped_bit_in_a_manifest_is_refused_by_every_command(
    fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    records = run()
    path = folder(records["sft"]) / "manifest.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"seed": 17', b'"seed": 16'))
    for command in (
        ["run", "r.yaml"],
        ["run", "r.yaml", "--only", "dpo"],
        ["show", "sft", "--run", "small"],
        ["show", "sft", "--run", "small", "--json"],
        ["show", "scores", "--run", "small"],
    ):
        capsys.readouterr()
        assert cli.invoke(command) == 2, command
        assert f"error: {path}: field seed: changed since it was sealed" in capsys.readouterr().err
    path.write_bytes(whole)
    assert cli.invoke(["run", "r.yaml"]) == 0


def test_what_is_removed_and_made_again_says_the_same(fakes: list[str]) -> None:
    import shutil

    shutil.rmtree(folder(run()["sft"]))
    assert made(run()) == ["sft"] and made(run()) == []
    shutil.rmtree(folder(run()["sft"]))
    renamed = RECIPE.replace("sft:", "tuned:").replace("model: sft", "model: tuned").replace("[sft", "[tuned")
    assert made(run(text=renamed)) == ["tuned", "scores"]
