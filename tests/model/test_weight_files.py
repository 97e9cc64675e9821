"""Weights in files: their dtype, rounding, and what rounding takes, kept to the bit."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bactrian.errors import BactrianError
from bactrian.model import weight_files

FINITE = st.integers(0, 2**32 - 1).map(lambda bits: struct.unpack("<f", struct.pack("<I", bits))[0])
NUMBERS = FINITE.filter(lambda x: abs(x) < 3e38)  # a NaN is not below


@given(st.lists(NUMBERS, min_size=1, max_size=50))
def test_residue_gives_every_bit_back(numbers: list[float]) -> None:
    exact = torch.tensor(numbers, dtype=torch.float32)
    kept = weight_files.rounded("w", exact, "bfloat16")
    back = weight_files.whole("w", kept.float(), weight_files.residue(exact, kept))
    assert torch.equal(back.view(torch.int32), exact.view(torch.int32))


@given(st.lists(NUMBERS, min_size=1, max_size=50))
def test_rounding_takes_one_of_the_two_neighbours_and_leaves_what_bfloat16_can_say(numbers: list[float]) -> None:
    exact = torch.tensor(numbers, dtype=torch.float32)
    kept = weight_files.rounded("w", exact, "bfloat16")
    down = (exact.view(torch.int32) >> 16).to(torch.int16)
    step = kept.view(torch.int16) - down
    assert bool(((step == 0) | (step == 1)).all())
    assert torch.equal(weight_files.rounded("w", kept.float(), "bfloat16"), kept)
    assert torch.equal(weight_files.rounded("w", exact, "bfloat16"), kept)  # the same each time


def test_what_is_no_number_stays_none_and_the_infinite_infinite() -> None:
    exact = torch.tensor([torch.nan, torch.inf, -torch.inf, 3.4e38, 0.0, -0.0])
    kept = weight_files.rounded("w", exact, "bfloat16").float()
    assert torch.equal(kept.isnan(), exact.isnan()) and torch.equal(kept[1:3], exact[1:3])
    assert torch.equal(kept[4:], exact[4:])


def test_a_change_too_small_for_bfloat16_is_kept_on_average(tmp_path: Path) -> None:
    start = torch.randn(300, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_file({"w": start}, tmp_path / "model.safetensors")
    change = start.float() * 5e-4  # an eighth of the step between two numbers, or less
    assert torch.equal((start.float() + change).bfloat16(), start)  # to the nearest, nothing is left
    kept = weight_files.rounded("w", start.float() + change, "bfloat16").float() - start.float()
    assert float((kept * start.sign()).sum() / change.abs().sum()) == pytest.approx(1, abs=0.1)
    gone = weight_files.lost_in_rounding({"w": start.float() + change}, tmp_path, "bfloat16")
    assert gone is not None and abs(gone) < 0.05
    assert weight_files.lost_in_rounding({"w": start.float() + change}, tmp_path, "float32") == pytest.approx(
        0, abs=1e-6
    )
    assert weight_files.lost_in_rounding({"w": start.float()}, tmp_path, "bfloat16") is None


def test_residue_of_float16_is_the_difference() -> None:
    exact = torch.randn(1000, generator=torch.Generator().manual_seed(0)) / 50
    kept = exact.half()
    assert torch.equal(weight_files.whole("w", kept.float(), weight_files.residue(exact, kept)), exact)


def test_residue_of_other_weights_is_refused(tmp_path: Path) -> None:
    weight_files.write_residue(tmp_path, {"weight": torch.full((3, 2), 0.1)}, "bfloat16")
    with pytest.raises(BactrianError, match="weight is no weight of the model beside it"):
        weight_files.add_residue(torch.nn.Linear(3, 2, bias=False), tmp_path)
    weight_files.add_residue(layer := torch.nn.Linear(2, 3, bias=False), tmp_path)
    assert layer.weight.dtype is torch.float32


def test_the_dtype_is_that_of_most_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(9, dtype=torch.bfloat16), "b": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert weight_files.stored_dtype(tmp_path) == "bfloat16"
    save_file({"a": torch.zeros(9, dtype=torch.int8)}, tmp_path / "model.safetensors")
    assert weight_files.stored_dtype(tmp_path) == "bfloat16"  # not what anything is trained in


def test_conversion_keeps_files_and_index_and_whole_numbers(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir(), target.mkdir()
    parts = {"x.safetensors": {"a": torch.randn(3, 2)}, "y.safetensors": {"b": torch.arange(4), "c": torch.ones(2)}}
    for file, tensors in parts.items():
        save_file(tensors, source / file)
    index = {"metadata": {"total_size": 0}, "weight_map": {n: file for file, ts in parts.items() for n in ts}}
    (source / weight_files.INDEX).write_text(json.dumps(index))
    weight_files.convert(source, target, "bfloat16")
    found = {file: load_file(target / file) for file in parts}
    assert torch.equal(found["x.safetensors"]["a"], weight_files.rounded("a", parts["x.safetensors"]["a"], "bfloat16"))
    assert torch.equal(found["y.safetensors"]["b"], torch.arange(4))
    assert json.loads((target / weight_files.INDEX).read_text())["metadata"]["total_size"] == 12 + 32 + 4


def test_a_weight_beyond_float16_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([7e4])}, tmp_path / "model.safetensors")
    with pytest.raises(BactrianError, match="a: found a weight of 70000, too large for float16"):
        weight_files.convert(tmp_path, tmp_path, "float16")


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 64, struct.pack("<Q", 5) + b"{nope"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BactrianError, match=r"model\.safetensors: no safetensors can be read"):
        weight_files.stored_dtype(tmp_path)
