"""Trackers of a run: they shape nothing, stop nothing and slow nothing, and a run that was killed goes on in theirs."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.report.track.trackers import BACKENDS
from bactrian.run import runner, tracking
from bactrian.run.keys import tasks
from bactrian.store.artifact import Store

RECIPE = """\
name: small
hardware: {dtype: float32, threads: 1, device: cpu}
TRACK
steps:
  data: {stage: letters, count: 2}
  sft: {stage: blend, data: data, steps: STEPS}
"""


def recipe(track: str = "", steps: int = 2) -> Path:
    path = Path("r.yaml")
    path.write_text(RECIPE.replace("TRACK", track).replace("STEPS", str(steps)))
    return path


def run(track: str, steps: int = 2) -> list[str]:
    records = runner.run(load(recipe(track, steps)), Store(Path("runs")))
    return [record.name for record in records if record.status == "made"]


def plant(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A package that is called wandb and behaves so."""
    package = Path("planted/wandb/__init__.py").resolve()
    package.parent.mkdir(parents=True)
    package.write_text(code)
    monkeypatch.syspath_prepend(str(package.parents[1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parents[1]), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize(
    ("text", "found"),
    [("track: wandb", ("wandb",)), ("track: [mlflow, tensorboard]", ("mlflow", "tensorboard")), ("", ())],
)
def test_one_or_several_may_be_named(fakes: list[str], text: str, found: tuple[str, ...]) -> None:
    assert load(recipe(text)).track == found


@pytest.mark.parametrize("text", ["track: wanb", "track: [wandb, 3]", "track: {wandb: true}"])
def test_no_other_may(fakes: list[str], text: str) -> None:
    with pytest.raises(BactrianError, match=r'r\.yaml, line 3, field "track.*expected.*tensorboard'):
        load(recipe(text))


def test_trackers_are_in_no_key(fakes: list[str]) -> None:
    plain, tracked = (load(recipe(text)) for text in ("", "track: wandb"))
    hardware = plain.hardware.decide()
    assert [each.key for each in tasks(plain, hardware)] == [each.key for each in tasks(tracked, hardware)]


def test_one_that_is_not_installed_is_missed_before_anything_is_made(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    expected = r'track: wandb (.|\n)*track: mlflow (.|\n)*pip install "bactrian\[mlflow,wandb\]"'
    with pytest.raises(BactrianError, match=expected):
        run("track: [wandb, mlflow]")
    assert fakes == [] and not Path("runs").exists()


def test_one_that_fails_is_named_once_and_the_run_is_made(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, "def __getattr__(name):\n    raise RuntimeError('the network is away\\x1b[31m')")
    assert run("track: wandb") == ["data", "sft"]
    said = [line for line in capfd.readouterr().err.splitlines() if "tracker" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "warning: tracker wandb failed and is told no more: RuntimeError: the network is away\\x1b"
    )
    assert "network is away" in Path("runs/.tracking/wandb.log").read_text()


def test_one_that_hangs_is_ended(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, "import os, pathlib, time\npathlib.Path('hung').write_text(str(os.getpid()))\ntime.sleep(1000)")
    monkeypatch.setattr(tracking, "FLUSH_SECONDS", 3)
    before = time.monotonic()
    assert run("track: wandb") == ["data", "sft"]
    assert time.monotonic() - before < 10
    assert "warning: tracker wandb did not send the rest in 3 s and was ended" in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("hung").read_text()), 0)


SLOW = """\
import os, pathlib, time
pathlib.Path('slow').write_text(str(os.getpid()))
class Run:
    summary = {}
    def __getattr__(self, name):
        time.sleep(0.3)
        return lambda *given, **more: None
def __getattr__(name):
    return lambda *given, **more: Run()
"""


def test_one_that_is_slow_and_then_killed_stops_nothing(
    fakes: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, SLOW)

    def kill() -> None:
        while not (path := Path("slow")).is_file() or not path.read_text():
            time.sleep(0.01)
        os.kill(int(path.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    before = time.monotonic()
    assert run("track: wandb", steps=100) == ["data", "sft"]  # two seconds of steps
    killer.join()
    assert time.monotonic() - before < tracking.FLUSH_SECONDS
    said = [line for line in capfd.readouterr().err.splitlines() if "tracker wandb" in line]
    assert len(said) == 1 and ("ended with status -9" in said[0] or "does not answer" in said[0])


def test_nothing_is_started_where_nothing_is_made(fakes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("")
    plant(monkeypatch, "raise RuntimeError")
    monkeypatch.setattr(tracking.Trackers, "_start", None)
    assert run("track: wandb") == []


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_in_its_trackers_run(fakes: list[str]) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = [sys.executable, "-c", "import fake_stages; fake_stages.main()", "run", str(recipe(steps=150))]
    command += ["--track", "tensorboard"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    first = subprocess.Popen(command, env=environment)
    done = Path("runs/artifacts")
    while not any(int(path.read_text()) > 60 for path in done.glob("blend-*.partial/scratch/done")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(command, env=environment, check=True)
    (folder,) = Path("runs/tensorboard/small").iterdir()
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [
        (number, pytest.approx(1 / number)) for number in range(1, 151)
    ]


def test_each_tracker_has_an_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert {each.extra for each in BACKENDS.values()} <= project["optional-dependencies"].keys()
