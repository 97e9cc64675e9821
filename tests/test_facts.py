"""Sizes of models and data from the headers of their files."""

import gzip
import json
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.facts import facts_of
from bactrian.stages.stage import Facts, rows_sampled
from bactrian.stages.tune.kto import KTO
from bactrian.stages.tune.midtrain import Midtrain
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.stages.tune.reward import Reward
from bactrian.stages.tune.sft import SFT
from bactrian.stages.tune.training import TrainingStage
from bactrian.store.manifest import Kind


def safetensors(path: Path, **shapes: list[int]) -> None:
    tensors = {name: {"shape": shape} for name, shape in shapes.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())


def test_a_model_s_parameters_are_counted_over_all_files(tmp_path: Path) -> None:
    safetensors(tmp_path / "model-1.safetensors", a=[2, 3], b=[4])
    safetensors(tmp_path / "model-2.safetensors", scalar=[])
    assert facts_of(tmp_path, Kind.MODEL) == Facts(parameters=11)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\x00" * 7 + b"[]", b"\x04" + b"\x00" * 7 + b"null"])
def test_weights_that_are_none_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BactrianError, match=r"model\.safetensors: found no safetensors header"):
        facts_of(tmp_path, Kind.MODEL)


def test_rows_are_counted_in_every_format(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    lines = b'{"text": "12345678"}\n' * 10
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    (tmp_path / "README.md").write_text("a card")
    assert facts_of(tmp_path / "a.jsonl", Kind.DATA) == Facts(rows=10, tokens_per_row=len(lines) / 40)
    assert facts_of(tmp_path / "b.jsonl.gz", Kind.DATA) == Facts(rows=10, tokens_per_row=len(lines) / 40)
    assert facts_of(tmp_path, Kind.DATA).rows == 20
    parquet.write_table(pyarrow.table({"text": ["12345678"] * 10}), tmp_path / "c.parquet")
    assert facts_of(tmp_path / "c.parquet", Kind.DATA).rows == 10


def test_of_results_nothing_is_known(tmp_path: Path) -> None:
    assert facts_of(tmp_path, Kind.RESULTS) == Facts()


def test_of_a_mixture_every_stage_counts_what_a_token_is_multiplied_by(tmp_path: Path) -> None:
    from bactrian.model.blank import new_model, word_tokenizer
    from bactrian.stages.tune.decoder_size import decoder_size
    from bactrian.train.base_options import ShapeSettings

    words = word_tokenizer(["some words and some more"], 16)
    shape = ShapeSettings(experts=8, active=2)
    new_model(
        words,
        architecture="olmoe",
        hidden_size=32,
        layers=2,
        heads=4,
        intermediate_size=48,
        context=16,
        folder=tmp_path,
        **shape.model_dump(),
    )
    size = decoder_size("olmoe", 32, 2, 4, 48, 16, len(words), shape)
    model, data = facts_of(tmp_path, Kind.MODEL), Facts(rows=100, tokens_per_row=10.0)
    assert (model.parameters, model.active) == (size.parameters, size.active)
    about: dict[str, object] = {"model": "m", "data": "d"}
    trained: list[TrainingStage] = [stage.model_validate(about) for stage in (SFT, Reward, KTO)]
    trained.append(Midtrain.model_validate(about | {"learning_rate": 1e-4}))
    for stage in trained:
        found = stage.forecast({"m": model, "d": data})
        assert found.passes[0].products == 6 * size.active and found.makes.active == size.active
        whole = stage.forecast({"m": Facts(parameters=model.parameters), "d": data})
        assert found.flops < 0.6 * whole.flops and found.peak_memory == whole.peak_memory, stage.name
    first = Pretrain(data="d", architecture="olmoe", hidden_size=32, layers=2, heads=4, intermediate_size=48)
    made = first.forecast({"d": data})
    assert made.makes.active and made.passes[0].products == 6 * made.makes.active
    answers = rows_sampled(model, 10, 5, 8)
    assert answers.flops == 2 * size.active * answers.all_tokens
