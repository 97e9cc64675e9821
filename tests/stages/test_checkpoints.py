"""Checkpoints that training leaves in its artifact, and the stage that takes one out."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import write_rows
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.stages.tune.checkpoint import Checkpoint
from bactrian.stages.tune.sft import SFT
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from bactrian.train import loop
from bactrian.train.options import AdapterSettings
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {"model": "start", "data": "rows", "batch_size": 4, "epochs": 3, "learning_rate": 1e-3}


def workspace(folder: Path, out: str) -> Workspace:
    if not (folder / "start").exists():
        write_tiny(folder / "start")
        asked = [{"role": "user", "content": "the cat is"}]
        answers = [[{"role": "assistant", "content": text}] for text in ("yes one", "no two three", "12 + 34 = 46")]
        rows = [
            {"id": f"c{i}", "messages": asked + answers[i % 3], "source": "test", "license": "CC0-1.0"}
            for i in range(8)
        ]
        write_rows(rows, folder / "rows")
    inputs = {
        "start": Input("start", folder / "start", Kind.MODEL, "hash of start"),
        "rows": Input("rows", folder / "rows", Kind.DATA, "hash of rows"),
    }
    return Workspace.temporary(folder / out, inputs, 1, Hardware(dtype="bfloat16"))


def files(folder: Path) -> dict[str, bytes]:
    """All but the times."""
    every = (path for path in folder.rglob("*") if path.is_file() and path.name != "metrics.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in every}


def test_checkpoints_do_not_disturb_and_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, whole, cut = (workspace(tmp_path, name) for name in ("plain", "whole", "cut"))
    SFT(**NEEDED).run(plain)
    stage = SFT(**NEEDED, checkpoints={"keep_every": 2, "checkpoint_seconds": 0})
    stage.run(whole)
    assert sorted(path.name for path in (whole.output / "checkpoints").iterdir()) == ["2", "4"]  # of 6 steps
    alone = {name: data for name, data in files(whole.output).items() if not name.startswith("checkpoints")}
    assert alone == files(plain.output)

    class Killed(Exception):
        pass

    apply, calls = loop._apply, iter(range(100))

    def dies(*given: Any) -> dict[str, float]:
        if next(calls) == 4:
            raise Killed
        return apply(*given)

    monkeypatch.setattr(loop, "_apply", dies)
    with pytest.raises(Killed):
        stage.run(cut)
    (cut.output / "checkpoints" / "6.partial").mkdir()  # half a model, and one later than where training goes on
    (cut.output / "checkpoints" / "5").mkdir()
    stage.run(cut)
    assert files(cut.output) == files(whole.output)

    trained = Input("sft", whole.output, Kind.MODEL, "hash of sft", key="key of sft")
    for step in (2, 4):
        taken = Workspace.temporary(tmp_path / f"at{step}", {"sft": trained})
        Checkpoint(model="sft", step=step).run(taken)
        assert files(taken.output) == files(whole.output / "checkpoints" / str(step))
        assert files(taken.output).keys() == files(plain.output).keys()
        assert files(taken.output)["model.safetensors"] != files(plain.output)["model.safetensors"]
    with pytest.raises(BactrianError, match="found 3, expected one that sft has left: 2, 4"):
        Checkpoint(model="sft", step=3).run(Workspace.temporary(tmp_path / "at3", {"sft": trained}))


def test_refused_beside_an_adapter() -> None:
    with pytest.raises(ValidationError, match="keep_every: expected none beside adapter"):
        SFT(**NEEDED, checkpoints={"keep_every": 2}, adapter=AdapterSettings(rank=2))


@pytest.mark.parametrize(
    ("training", "step", "said"),
    [
        ("", 40, 'field "model": found "rl", a step without keep_every, expected one that trains with it'),
        (
            ", checkpoints: {keep_every: 40}",
            50,
            "found 50, expected a multiple of 40, the keep_every of rl, below 80",
        ),
        (
            ", checkpoints: {keep_every: 40}",
            80,
            "found 80, expected a multiple of 40, the keep_every of rl, below 80",
        ),
        (", checkpoints: {keep_every: 40}, watch: {keep: best, held_out: p, look_every: 40}", 120, "below 81"),
        (", checkpoints: {keep_every: 40}", 40, None),
        (", checkpoints: {keep_every: 40}, watch: {keep: best, held_out: p, look_every: 40}", 80, None),
    ],
)
def test_a_checkpoint_that_will_not_be_there(training: str, step: int, said: str | None, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "steps:\n  p: {stage: problems, tasks: [{source: word_problems, count: 9}]}\n"
        f"  rl: {{stage: rlvr, model: embedded:smollm2-135m, data: p, steps: 80{training}}}\n"
        f"  at: {{stage: checkpoint, model: rl, step: {step}}}\n"
    )
    if said is None:
        assert load(tmp_path / "r.yaml").step("at")
    else:
        with pytest.raises(BactrianError, match=re.escape(said)):
            load(tmp_path / "r.yaml")
