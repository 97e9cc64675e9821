"""Each tracker, offline, for real: a run is told of a step that is killed and resumed, and its own reader finds each
update once, the samples, the tables and the settings."""

import html
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from growing_step import GrowingStep

from bactrian.report.track.forward import Forwarded, Order, worth_showing
from bactrian.report.track.trackers import BACKENDS, TEXT_LIMIT, clean, flat, tabular
from bactrian.store.manifest import Kind

HOSTILE = "<script>alert(1)</script> | `x` \x1b[31m\x00 \ud800 ![i](http://x)"
CONFIG = {"settings": {"learning_rate": 1e-4, "data": "rows.jsonl", "layers": [1, 2]}, "hardware": {"cores": 2}}


def order(step: GrowingStep, **given: Any) -> Order:
    made = Order(str(step.folder), str(step.store.root), "maths", "rl", "rlvr", CONFIG | given)
    made.write()
    return made


def sampled(number: int) -> list[dict[str, Any]]:
    return [{"problem": f"p{number}", "sample": 0, "prompt": "3 + 4?", "completion": HOSTILE, "score": 1.0}]


def killed_and_resumed(step: GrowingStep, backend: str) -> None:
    """Ten updates; the process is killed after the sixth, the tracker's too, and goes on from the fourth."""
    given = order(step)
    workspace, telling = step.begin(), Forwarded(backend, given)
    for number in range(1, 7):
        workspace.log(number, loss=1 / number, tokens_per_second=100.0)
        workspace.show_rollouts(number, sampled(number))
        assert not telling.poll()
    telling.close()
    workspace = step.begin()
    workspace.rewind(4)
    telling = Forwarded(backend, given)
    for number in range(5, 11):
        workspace.log(number, loss=1 / number, tokens_per_second=200.0)
        workspace.show_rollouts(number, sampled(number))
        assert not telling.poll()
    step.commit()
    assert telling.poll()
    telling.close()


def evaluated(step: GrowingStep, backend: str) -> None:
    """An evaluation, whose only news are its tables."""
    output = step.begin().output
    score = {"model": "a", "task": "t", "mode": "greedy", "score": 0.5, "interval": [0.4, 0.6], "questions": 30}
    (output / "results.json").write_text(json.dumps({"scores": [score], "comparisons": []}))
    telling = Forwarded(backend, order(step))
    assert not telling.poll()
    step.commit(Kind.RESULTS)
    assert telling.poll()
    telling.close()


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GrowingStep:
    monkeypatch.chdir(tmp_path)  # some leave files where they are
    for name in ("WANDB_PROJECT", "WANDB_DIR", "MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return GrowingStep(tmp_path / "runs")


def alone() -> None:
    """As in a process of its own."""
    from bactrian.report.track import to_prometheus

    to_prometheus._newest.steps.clear()


def test_prometheus_reads_the_newest_from_its_address_and_from_a_file(
    step: GrowingStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra prometheus")
    from urllib.request import urlopen

    from prometheus_client.parser import text_string_to_metric_families as families

    def read(text: str) -> dict[tuple[str, ...], float]:
        """(name, what tells the sample from others) → value."""
        told = ("status", "name", "bound")
        samples = [sample for family in families(text) for sample in family.samples]
        assert all(sample.labels["recipe"] == "maths" and sample.labels["step"] == "rl" for sample in samples)
        return {(each.name, *(each.labels[k] for k in told if k in each.labels)): each.value for each in samples}

    monkeypatch.setenv("BACTRIAN_PROMETHEUS", "127.0.0.1:0")
    alone()
    workspace, telling = step.begin(), Forwarded("prometheus", order(step))
    for number in range(1, 4):
        workspace.log(number, loss=1 / number, **{"reward/kl": 0.5, "reward_kl": 0.25})
    assert not telling.poll()
    folder = step.store.root / "prometheus"
    (target,) = json.loads((folder / "maths.json").read_text())[0]["targets"]
    now = read(urlopen(f"http://{target}/metrics").read().decode())
    assert now["bactrian_metric_loss", "loss"] == pytest.approx(1 / 3) and now["bactrian_update",] == 3
    assert now["bactrian_metric_reward_kl", "reward/kl"] == 0.5
    assert now["bactrian_metric_reward_kl", "reward_kl"] == 0.25
    assert now["bactrian_step", "running"] == 1 and now["bactrian_step", "finished"] == 0
    telling.close()
    killed_and_resumed(step, "prometheus")
    later = read((folder / "maths.prom").read_text())
    assert later["bactrian_metric_loss", "loss"] == pytest.approx(0.1) and later["bactrian_update",] == 10
    assert later["bactrian_step", "finished"] == 1 and later["bactrian_final_loss", "loss"] == 0.5


def test_prometheus_has_an_evaluations_scores(step: GrowingStep, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra prometheus")
    monkeypatch.setenv("BACTRIAN_PROMETHEUS", "127.0.0.1:0")
    alone()
    evaluated(step, "prometheus")
    text = (step.store.root / "prometheus" / "maths.prom").read_text()
    (low,) = [line for line in text.splitlines() if line.startswith("bactrian_score{") and 'bound="low"' in line]
    assert low.endswith(" 0.4") and 'task="t"' in low


LOSSES = {number: pytest.approx(1 / number, rel=1e-6) for number in range(1, 11)}
SPEEDS = {number: 100.0 if number <= 6 else 200.0 for number in range(1, 11)}


def test_tensorboard_reads_back_what_it_was_told(step: GrowingStep) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_and_resumed(step, "tensorboard")
    (folder,) = (step.store.root / "tensorboard" / "maths").iterdir()
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("loss")]
    assert losses == sorted(losses) and dict(losses) == LOSSES and len(losses) == 10
    assert {event.step: event.value for event in found.Scalars("tokens_per_second")} == SPEEDS
    assert [event.value for event in found.Scalars("final/loss")] == [0.5]
    texts = {tag: found.Tensors(f"{tag}") for tag in ("rollouts", "settings")}
    assert [event.step for event in texts["rollouts"]] == [*range(1, 11)]
    shown = texts["rollouts"][0].tensor_proto.string_val[0].decode()
    assert "    <script>" in shown and "\x00" not in shown  # as code, which is shown and not rendered
    settings = html.unescape(texts["settings"][0].tensor_proto.string_val[0].decode())
    assert "| settings.learning_rate | 0.0001 |" in settings


def test_tensorboard_has_an_evaluations_tables(step: GrowingStep) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    evaluated(step, "tensorboard")
    (folder,) = (step.store.root / "tensorboard" / "maths").iterdir()
    found = EventAccumulator(str(folder))
    found.Reload()
    table = found.Tensors("scores")[0].tensor_proto.string_val[0].decode()
    assert table.splitlines()[0].startswith("| model | task | mode | score | low | high")
    assert "| a | t | greedy | 0.5 | 0.4 | 0.6 | 30 |" in table


@pytest.fixture
def mlflow_client(step: GrowingStep) -> Any:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    from mlflow import MlflowClient

    return lambda: MlflowClient(f"sqlite:///{step.store.root / 'mlflow.db'}")


def test_mlflow_reads_back_what_it_was_told(step: GrowingStep, mlflow_client: Callable[[], Any]) -> None:
    killed_and_resumed(step, "mlflow")
    client = mlflow_client()
    (run,) = client.search_runs([client.get_experiment_by_name("maths").experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss")
    assert len(history) == 10 and {each.step: each.value for each in history} == LOSSES
    speeds = {each.step: each.value for each in client.get_metric_history(run.info.run_id, "tokens_per_second")}
    assert speeds == SPEEDS
    assert run.info.status == "FINISHED" and run.info.run_name == "rl"
    assert run.data.params["settings.learning_rate"] == "0.0001" and run.data.params["settings.layers"] == "[1, 2]"
    assert run.data.tags["final.loss"] == "0.5"
    tables = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert [each["path"] for each in tables] == [f"rollouts/step-{number:06d}.json" for number in range(1, 11)]
    place = Path(client.download_artifacts(run.info.run_id, tables[0]["path"]))
    found = json.loads(place.read_text())
    assert found["columns"] == ["step", "problem", "sample", "prompt", "completion", "score"]
    assert found["data"] == [[1, "p1", 0, "3 + 4?", clean(HOSTILE), 1.0]]


def test_mlflow_has_an_evaluations_tables(step: GrowingStep, mlflow_client: Callable[[], Any]) -> None:
    evaluated(step, "mlflow")
    client = mlflow_client()
    (run,) = client.search_runs([client.get_experiment_by_name("maths").experiment_id])
    found = json.loads(Path(client.download_artifacts(run.info.run_id, "scores.json")).read_text())
    columns = ["model", "task", "mode", "score", "low", "high", "questions"]
    assert found == {"columns": columns, "data": [["a", "t", "greedy", 0.5, 0.4, 0.6, 30]]}


def logged(content: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log, the form of .wandb files: blocks of 32 KiB, each piece with sum, length and kind."""
    whole, at, block = b"", 7, 32 * 1024  # after the file's own header
    while at < len(content):
        if block - at % block < 7:  # too little for a header: padding
            at += block - at % block
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


@pytest.fixture
def wandb_records(step: GrowingStep, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")

    def read() -> list[Any]:
        from wandb.proto.wandb_internal_pb2 import Record

        paths = sorted((step.store.root / "wandb").glob("offline-run-*/*.wandb"))
        return [Record.FromString(data) for path in paths for data in logged(path.read_bytes())]

    yield read


def _history(records: list[Any]) -> list[dict[str, Any]]:
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def test_wandb_offline_files_hold_what_it_was_told(step: GrowingStep, wandb_records: Callable[[], list[Any]]) -> None:
    killed_and_resumed(step, "wandb")
    records = wandb_records()
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {f"0123456789abcdef-{step.attempt.making[:6]}"}  # the one run, continued
    assert {run.project for run in runs} == {"maths"} and {run.display_name for run in runs} == {"rl"}
    rows = _history(records)
    losses = [(row["update"], row["loss"]) for row in rows if "loss" in row]
    assert len(losses) == 10 and dict(losses) == LOSSES
    assert {row["update"]: row["tokens_per_second"] for row in rows if "loss" in row} == SPEEDS
    tables = [row for row in rows if "rollouts/nrows" in row]
    assert [row["step"] for row in tables] == [*range(1, 11)]
    files = sorted((step.store.root / "wandb").rglob("rollouts*.table.json"))
    assert files and clean(HOSTILE) in json.loads(files[0].read_text())["data"][0]


def test_wandb_has_an_evaluations_tables(step: GrowingStep, wandb_records: Callable[[], list[Any]]) -> None:
    evaluated(step, "wandb")
    (path,) = (step.store.root / "wandb").rglob("scores*.table.json")
    found = json.loads(path.read_text())
    assert found["columns"] == ["model", "task", "mode", "score", "low", "high", "questions"]
    assert found["data"] == [["a", "t", "greedy", 0.5, 0.4, 0.6, 30]]


@pytest.fixture
def trackio_storage(step: GrowingStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra trackio")
    import trackio.sqlite_storage as storage
    import trackio.utils

    for module in (storage, trackio.utils):
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    return storage.SQLiteStorage


def test_trackios_database_holds_what_it_was_told(step: GrowingStep, trackio_storage: Any) -> None:
    killed_and_resumed(step, "trackio")
    (name,) = trackio_storage.get_runs("maths")
    rows = trackio_storage.get_logs("maths", name)
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    assert len(losses) == 10 and dict(losses) == LOSSES
    assert {row["step"]: row["tokens_per_second"] for row in rows if "loss" in row} == SPEEDS
    tables = [row["rollouts"] for row in rows if "rollouts" in row]
    assert len(tables) == 10 and clean(HOSTILE) in json.dumps(tables[0], ensure_ascii=False).replace("\\\\", "\\")
    assert [row["final/loss"] for row in rows if "final/loss" in row] == [0.5]
    assert trackio_storage.get_run_config("maths", name)["settings.learning_rate"] == 1e-4


def test_trackio_has_an_evaluations_tables(step: GrowingStep, trackio_storage: Any) -> None:
    evaluated(step, "trackio")
    (name,) = trackio_storage.get_runs("maths")
    (table,) = [row["scores"] for row in trackio_storage.get_logs("maths", name) if "scores" in row]
    assert [table["_value"][0][column] for column in ("model", "score", "low", "high")] == ["a", 0.5, 0.4, 0.6]


def test_a_step_that_has_nothing_to_tell_leaves_no_run(step: GrowingStep) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    step.begin()
    telling = Forwarded("tensorboard", order(step))
    step.commit(Kind.DATA)
    assert telling.poll()
    telling.close()
    assert not (step.store.root / "tensorboard").exists()


def test_a_step_that_is_made_anew_is_another_run(step: GrowingStep) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    for _ in range(2):
        step.begin().log(1, loss=1.0)
        telling = Forwarded("tensorboard", order(step))
        step.commit()
        assert telling.poll()
        telling.close()
        step.store.set_aside(step.store.find("rlvr", "0123456789abcdef" * 4))  # type: ignore[arg-type]
    assert len(list((step.store.root / "tensorboard" / "maths").iterdir())) == 2


def test_samples_grow_sparser() -> None:
    shown = [number for number in range(1, 1200) if worth_showing(number)]
    assert shown == [*range(1, 10), *range(10, 100, 10), *range(100, 1000, 100), 1000]


def test_every_module_that_is_named_exists() -> None:
    folder = Path(__file__).parents[3] / "bactrian" / "report" / "track"
    for backend in BACKENDS.values():
        assert f"class {backend.kind}" in (folder / f"{backend.module}.py").read_text()


def test_cells_are_plain() -> None:
    columns, data = tabular([{"a": 1, "b": "x" * 5000}, {"c": [1, {"d": None}], "a": None}])
    assert columns == ["a", "b", "c"]
    assert data == [[1, "x" * TEXT_LIMIT + " …", None], [None, None, '[1, {"d": null}]']]
    assert dict(flat({"a": {"b": {"c": 1}, "e": {}}, "n": None})) == {"a.b.c": 1, "a.e": "{}", "n": "null"}


if os.environ.get("BACTRIAN_TRACKERS") == "all":  # by hand, where all four are installed: a skip is a failure

    def test_all_are_installed() -> None:
        import importlib.util

        assert [name for name, each in BACKENDS.items() if importlib.util.find_spec(each.package) is None] == []
