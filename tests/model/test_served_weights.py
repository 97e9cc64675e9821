"""What is sent to another engine is what the model's own files would hold."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bactrian.errors import BactrianError
from bactrian.generate.weight_transfer import WeightSender, digest
from bactrian.model.adapters import add_adapters, merge_adapters
from bactrian.model.language_model import LanguageModel
from bactrian.model.served_weights import fingerprint, served_weights
from tests.model.tiny import write_tiny


@pytest.mark.parametrize("architecture", ["llama", "llama-tied", "gemma3", "olmoe"])
def test_names_and_numbers_are_those_of_the_files(tmp_path: Path, architecture: str) -> None:
    write_tiny(tmp_path, architecture)
    found, written = served_weights(LanguageModel.load(tmp_path)), load_file(tmp_path / "model.safetensors")
    assert sorted(found) == sorted(written)
    assert all(torch.equal(found[name], weight) for name, weight in written.items())


def test_adapters_are_merged_and_stay_where_they_are(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    write_tiny(tmp_path / "base")
    model = LanguageModel.load(tmp_path / "base")
    names = set(served_weights(model))
    add_adapters(model.network, "base", rank=2, alpha=4.0)
    before = fingerprint(model)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    assert fingerprint(model) != before
    sent = served_weights(model)
    assert set(sent) == names and any("lora" in name for name, _ in model.network.named_parameters())
    merge_adapters(model.network, tmp_path / "adapters")
    for name, weight in model.network.state_dict().items():
        if name in sent:
            torch.testing.assert_close(sent[name], weight, atol=1e-6, rtol=1e-5)


def test_a_fingerprint_is_another_after_the_smallest_change(tmp_path: Path) -> None:
    model = LanguageModel.load(write_tiny(tmp_path))
    before = fingerprint(model)
    assert fingerprint(model) == before
    with torch.no_grad():
        weight = next(iter(model.network.parameters())).reshape(-1)
        weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    assert fingerprint(model) != before


class Listening:
    """A receiver that keeps what it gets, or all but one piece."""

    def __init__(self, deaf: int = -1) -> None:
        self.deaf, self.pieces, self.said = deaf, list[list[str]](), list[str]()
        self.arrived: dict[str, str] = {}

    def init_weight_transfer_engine(self, init_info: dict[str, object]) -> None:
        self.said.append("init")

    def start_weight_update(self) -> None:
        self.said.append("start")
        self.arrived = {}

    def update_weights(self, update_info: dict[str, object]) -> None:
        self.said.append("update")
        weights = load_file(str(update_info["path"]))
        if len(self.pieces) != self.deaf:
            self.arrived |= {name: digest(weight) for name, weight in weights.items()}
        self.pieces.append(list(weights))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.said.append(f"finish {weight_version}")

    def received_weights(self) -> dict[str, str]:
        return self.arrived


def test_a_transfer_is_four_phases_in_pieces_and_a_lost_piece_is_an_error(tmp_path: Path) -> None:
    weights = served_weights(LanguageModel.load(write_tiny(tmp_path, "llama-tied")))
    whole = Listening()
    sent = WeightSender(whole, check=True, piece=20_000).send(weights, 3)
    assert whole.said == ["init", "start", *["update"] * sent.pieces, "finish 3"] and sent.pieces > 2
    assert sorted(name for piece in whole.pieces for name in piece) == sorted(weights)
    with pytest.raises(BactrianError, match=rf"version 4: \d+ of {len(weights)} differ .* did not arrive"):
        WeightSender(Listening(deaf=1), check=True, piece=20_000).send(weights, 4)
