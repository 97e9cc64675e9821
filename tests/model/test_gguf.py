"""GGUF files, read back by transformers: the same logits, the same tokens. What llama.cpp has no word for is refused.

llama.cpp itself was held against transformers by hand (docs/export.md).
"""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bactrian.errors import BactrianError
from bactrian.model.gguf_writer import TYPES, write_gguf
from tests.model.gguf_models import SIX_LAYERS, write_model
from tests.model.tiny import write_tiny

TEXT = "the cat sat on 12345 mats , don't ask 1999 !\n\n  no é ü"
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "smollm", {}),
    "llama, tied": ("llama-tied", "gpt-2", {"hidden_size": 256, "head_dim": 64}),
    "qwen2": ("qwen2", "qwen2", {}),
    "qwen3": ("qwen3", "qwen2", {"head_dim": 128}),  # transformers' reader knows no other size
    "gemma3": ("gemma3", "sentencepiece", {**SIX_LAYERS, "head_dim": 256}),  # nor here
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 256}
    return write_model(tmp_path_factory.mktemp("model"), "llama", "smollm", **sizes)


def logits(folder: Path, ids: list[int], **options: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


@pytest.mark.parametrize("case", CASES)
def test_read_back_it_is_the_model_to_the_bit(tmp_path: Path, case: str) -> None:
    architecture, cut, sizes = CASES[case]
    folder = write_model(tmp_path / "model", architecture, cut, **sizes)
    write_gguf(folder, tmp_path / "it.gguf", "f32")
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tmp_path, gguf_file="it.gguf")
    ids = ours(TEXT).input_ids
    if cut != "smollm":  # which transformers' reader does not know
        assert theirs(TEXT).input_ids == ids and len({*ids}) > 10
    assert theirs.chat_template == ours.chat_template
    assert torch.equal(logits(tmp_path, ids, gguf_file="it.gguf"), logits(folder, ids))


ERRORS = {
    "f32": 0.0,
    "f16": 5e-4,
    "bf16": 4e-3,
    "q8_0": 0.008,
    "q6_k": 0.025,
    "q5_0": 0.06,
    "q4_0": 0.12,
    "q4_k_m": 0.09,
}


@pytest.mark.parametrize("kind", TYPES)
def test_weights_are_as_near_as_their_type_allows(llama: Path, tmp_path: Path, kind: str) -> None:
    write_gguf(llama, tmp_path / "it.gguf", kind)
    options = {"gguf_file": "it.gguf", "dtype": torch.float32}
    read, plain = AutoModelForCausalLM.from_pretrained(tmp_path, **options), AutoModelForCausalLM.from_pretrained(llama)
    there = dict(read.named_parameters())
    for name, weight in plain.named_parameters():
        error = float((there[name] - weight).norm() / weight.norm())
        assert error <= (ERRORS[kind] if weight.ndim > 1 else 0), name
    sizes = {each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "it.gguf").tensors if len(each.shape) > 1}
    assert sizes == ({"Q4_K", "Q6_K"} if kind == "q4_k_m" else {kind.upper()})


def test_rows_that_no_block_divides_take_a_wider_type(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "llama", hidden_size=40, head_dim=8, intermediate_size=96)
    write_gguf(folder, tmp_path / "it.gguf", "q4_k_m")
    found = {each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "it.gguf").tensors}
    assert found["blk.0.attn_q.weight"] == "F16" and found["blk.0.attn_norm.weight"] == "F32"  # 40
    assert found["blk.0.ffn_down.weight"] in ("Q5_0", "Q8_0")  # 96


def test_rotation_as_in_llama_3_is_a_tensor_of_its_own(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 32}
    folder = write_model(tmp_path / "model", "llama", "dbrx", rope_parameters=rope)
    write_gguf(folder, tmp_path / "it.gguf", "f16")
    tensors = {each.name: each for each in gguf.GGUFReader(tmp_path / "it.gguf").tensors}
    factors = torch.tensor(tensors["rope_freqs.weight"].data)
    network = AutoModelForCausalLM.from_pretrained(folder)
    plain = 5e5 ** (-torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(plain / factors, network.model.rotary_emb.inv_freq)
    assert float(factors[-1]) == pytest.approx(8.0) and float(factors[0]) == 1.0


def test_tokens_and_their_kinds(llama: Path, tmp_path: Path) -> None:
    (llama / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 1]}))
    write_gguf(llama, tmp_path / "it.gguf", "q8_0", name="it", licence="apache-2.0")
    fields = gguf.GGUFReader(tmp_path / "it.gguf").fields
    said = {name: fields[name].contents() for name in fields}
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert tokens[:4] == ["<s>", "</s>", "<|im_start|>", "<|im_end|>"] and kinds[:4] == [3] * 4
    assert set(kinds[4:-8]) == {1} and kinds[-8:] == [5] * 8 and tokens[-1].startswith("[PAD")
    assert (said["tokenizer.ggml.eos_token_id"], said["tokenizer.ggml.eot_token_id"]) == (1, 3)
    assert said["tokenizer.ggml.pre"] == "smollm" and said["general.license"] == "apache-2.0"
    assert not list(tmp_path.glob("*.partial"))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"model_type": "mamba"}, "found the architecture 'mamba', expected one of llama, qwen2"),
    "rope": (
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        "rope_type: found 'yarn', expected default",
    ),
    "window": ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window, which llama.cpp leaves out"),
    "gemma": (
        {"model_type": "gemma3_text", "layer_types": ["full_attention"] * 3},
        "Gemma 3's layer_types: found",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_llama_cpp_would_leave_out_is_refused(llama: Path, tmp_path: Path, case: str) -> None:
    changes, said = REFUSED[case]
    for file in llama.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BactrianError, match=said):
        write_gguf(tmp_path, tmp_path / "it.gguf", "f16")
    assert not list(tmp_path.glob("*it.gguf*"))


def test_a_tokenizer_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="found a WordLevel tokenizer, expected byte-pair encoding"):
        write_gguf(write_tiny(tmp_path / "words"), tmp_path / "it.gguf", "f16")
    folder = write_model(tmp_path / "model")
    state = json.loads((folder / "tokenizer.json").read_text())
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, state["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(BactrianError, match=r"text is cut by Whitespace \+ ByteLevel, for which no name"):
        write_gguf(folder, tmp_path / "it.gguf", "f16")
    with pytest.raises(BactrianError, match="found the type 'q3_k', expected one of f32"):
        write_gguf(folder, tmp_path / "it.gguf", "q3_k")
