"""Loading and saving: what is refused, and that a saved model is the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.chat import prompt_ids
from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from tests.model.test_packing import plain_logprobs, random_tokens
from tests.model.tiny import ARCHITECTURES, TEXT, write_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m")


@pytest.fixture
def no_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(torch, "load", refuse)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer.json", r"no tokenizer: expected tokenizer\.json.*found .*config\.json"),
        ("config.json", r"no config\.json: expected a model in the Hugging Face layout"),
        ("model.safetensors", r"no weights: expected \*\.safetensors"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BactrianError, match=message) as caught:
        LanguageModel.load(folder)
    assert str(folder) in str(caught.value)


def test_no_folder_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="not a model folder"):
        LanguageModel.load(tmp_path / "nothing")


@pytest.mark.usefixtures("no_unpickling")
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt"])
def test_weights_only_as_a_pickle_are_refused_unread(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(BactrianError, match=rf"weights only as {name}: a pickle can run any code"):
        LanguageModel.load(folder)


@pytest.mark.usefixtures("no_unpickling")
def test_a_pickle_beside_safetensors_is_not_read(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    assert LanguageModel.load(folder).parameters > 0


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\nclass EvilConfig: pass\n")
    code = {"AutoConfig": "modeling_evil.EvilConfig", "AutoModelForCausalLM": "modeling_evil.Evil"}
    edit_config(folder, auto_map=code, model_type="evil")
    with pytest.raises(BactrianError, match="cannot be loaded"):
        LanguageModel.load(folder)
    assert not ran.exists()


@pytest.mark.parametrize("damage", ["cut", "noise", "config", "tokenizer"])
def test_damaged_files_are_named_and_not_a_traceback(folder: Path, damage: str) -> None:
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "noise":
        weights.write_bytes(b"\xff" * 1000)
    elif damage == "config":
        (folder / "config.json").write_text("{")
    else:
        (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BactrianError, match="cannot be loaded"):
        LanguageModel.load(folder)


def test_weights_that_are_missing_or_of_another_shape_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if n.endswith("layers.1.mlp.up_proj.weight"))
    save_file({n: w for n, w in weights.items() if n != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BactrianError, match=r"1 weights are missing: .*layers\.1\.mlp\.up_proj"):
        LanguageModel.load(folder)
    save_file({**weights, name: weights[name][:-1].contiguous()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BactrianError, match=r"up_proj|cannot be loaded"):
        LanguageModel.load(folder)


def some_logprobs(model: LanguageModel) -> torch.Tensor:
    ids = random_tokens(model.head.shape[0], 40, 7)
    with torch.no_grad():
        return model.logprobs(Forest.of([Segment(ids)]), torch.arange(1, 40))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_it_is_the_same_model(tmp_path: Path, architecture: str, dtype: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = LanguageModel.load(write_tiny(tmp_path / "m", architecture), dtype)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(1.0625)
    model.save(tmp_path / "saved")
    again = LanguageModel.load(tmp_path / "saved", dtype)
    assert torch.equal(some_logprobs(model), some_logprobs(again))
    assert again.template.digest == model.template.digest
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=dtype, attn_implementation="eager")
    ids = random_tokens(model.head.shape[0], 40, 7)
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
    plain = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
    bound = 1e-5 if dtype == "float32" else 0.2
    torch.testing.assert_close(some_logprobs(again), plain, atol=bound, rtol=bound)
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")(TEXT).input_ids == model.tokenizer(TEXT).input_ids
    assert {p.suffix for p in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_a_model_is_saved_with_the_template_that_it_was_trained_with(folder: Path, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "the cat"}]
    model = LanguageModel.load(folder, template="raw")
    assert prompt_ids(messages, model.template) != prompt_ids(messages, LanguageModel.load(folder).template)
    model.save(tmp_path / "saved")
    again = LanguageModel.load(tmp_path / "saved")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == model.template.text
    assert prompt_ids(messages, again.template) == prompt_ids(messages, model.template)
    assert again.template.digest == model.template.digest


def strange(name: str) -> Any:
    """Small models of architectures that are not claimed; random weights large enough that differences show."""
    import transformers as hf

    made: dict[str, Any] = {
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=230)
        ),
        "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=230)),
        "mpt": lambda: hf.MptForCausalLM(
            hf.MptConfig(d_model=32, n_layers=2, n_heads=4, max_seq_len=64, vocab_size=230)
        ),
        "bert": lambda: hf.BertLMHeadModel(
            hf.BertConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=230
            )
        ),
        "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=230)),
        "cohere": lambda: hf.CohereForCausalLM(
            hf.CohereConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                vocab_size=230,
                logit_scale=0.5,
            )
        ),
    }
    torch.manual_seed(0)
    model = made[name]()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.15)
    return model


@pytest.mark.parametrize("name", ["bloom", "mpt", "bert", "mamba", "cohere"])
def test_an_architecture_that_cannot_be_packed_is_refused_by_name(folder: Path, tmp_path: Path, name: str) -> None:
    model = strange(name)
    shutil.copytree(folder, tmp_path / "other")
    for file in ("model.safetensors", "config.json"):
        (tmp_path / "other" / file).unlink()
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(BactrianError, match=type(model).__name__):
        LanguageModel.load(tmp_path / "other")


def test_learned_positions_serve_or_are_refused_but_are_never_wrong(folder: Path, tmp_path: Path) -> None:
    model = strange("gpt2")
    shutil.copytree(folder, tmp_path / "other")
    model.save_pretrained(tmp_path / "other")
    try:
        loaded = LanguageModel.load(tmp_path / "other")
    except BactrianError as error:
        assert "GPT2LMHeadModel" in str(error)
        return
    ids = random_tokens(230, 40, 7)
    with torch.no_grad():
        torch.testing.assert_close(some_logprobs(loaded), plain_logprobs(loaded, ids), atol=1e-5, rtol=1e-5)


def test_weights_lie_in_memory_as_torch_lays_them(tmp_path: Path) -> None:
    network = LanguageModel.load(write_tiny(tmp_path, "llama-tied")).network
    assert {weight.data_ptr() % 64 for weight in network.parameters()} == {0}
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_forward_in_which_answers_see_each_other_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    honest = LanguageModel.forward

    def leaky(self: LanguageModel, forest: Forest, *rest: Any) -> torch.Tensor:
        if len(forest.segments) == 3:  # the probe's second answer continues its first
            forest = Forest.of([*forest.segments[:2], Segment(forest.segments[2].ids, 1)])
        return honest(self, forest, *rest)

    LanguageModel.load(folder, dtype)
    monkeypatch.setattr(LanguageModel, "forward", leaky)
    with pytest.raises(BactrianError, match="cannot be packed"):
        LanguageModel.load(folder, dtype)


def test_a_very_sure_model_is_not_refused_for_bfloat16_s_rounding(folder: Path) -> None:
    model = LanguageModel.load(folder)
    with torch.no_grad():
        model.network.base_model.norm.weight.mul_(60)
    model.save(folder)
    sure = LanguageModel.load(folder, "bfloat16")
    assert sure._logprob_gap() > 0.5 and sure._state_gap() < 0.1
