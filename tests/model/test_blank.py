"""New models: a tokenizer that loses nothing, and weights as they were asked for."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.model.blank import SPECIAL, new_model, spoken_text, word_tokenizer
from bactrian.model.language_model import LanguageModel

KNOWN = ["the", "cat", "Tom", "apples", "über", "naïve"]
TOKENIZER = word_tokenizer(["the cat Tom has apples.\nüber naïve: 5 + 6 = 11"], 64)


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, clean_up_tokenization_spaces=False))


words = st.sampled_from([*KNOWN, "7", "42", "1000", "+", "=", ".", "?", "####", "_", "x_y", "<s>x"])
gaps = st.sampled_from([" ", "", "\n", "  ", "\n\n", " \n ", "\t"])


def without_unknown(text: str) -> bool:
    from re import findall

    return all(word in KNOWN or len(word) == 1 for word in findall(r"[^\W\d_]+", text))


@given(st.lists(st.tuples(gaps, words), max_size=20), gaps)
def test_text_of_known_pieces_comes_back_exactly(pairs: list[tuple[str, str]], end: str) -> None:
    text = "".join(gap + word for gap, word in pairs) + end
    ids = TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=True)
    if without_unknown(text):
        assert TOKENIZER.unk_token_id not in ids
        assert decode(ids) == text
    else:  # words that ran into each other
        assert TOKENIZER.unk_token_id in ids


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n"), max_size=40))
def test_ascii_marks_and_digits_always_have_tokens(text: str) -> None:
    marks = "".join(c for c in text if not c.isalpha())
    assert decode(TOKENIZER.encode(marks, add_special_tokens=False, split_special_tokens=True)) == marks


@pytest.mark.parametrize(("text", "unknown"), [("the dog", 1), ("dog cat dogs", 2), ("the cat", 0), ("é", 1)])
def test_each_unknown_piece_is_one_unk(text: str, unknown: int) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert ids.count(TOKENIZER.unk_token_id) == unknown


def test_numbers_are_read_digit_by_digit_and_spaces_belong_to_what_follows() -> None:
    assert TOKENIZER.convert_ids_to_tokens(TOKENIZER.encode("the 123.", add_special_tokens=False)) == [
        "the",
        " 1",
        "2",
        "3",
        ".",
    ]


def test_the_same_texts_make_the_same_tokenizer_in_any_order() -> None:
    a = word_tokenizer(["one two", "three"], 64).get_vocab()
    assert a == word_tokenizer(["three", "two one"], 64).get_vocab()
    assert [a[token] for token in SPECIAL] == [0, 1, 2]
    assert sorted(a.values()) == list(range(len(a)))


def test_spoken_text_is_what_is_said_and_nothing_else() -> None:
    problem = {
        "id": "x9",
        "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "how"}],
        "solution": "so",
        "ground_truth": "5",
        "dataset": "gsm8k",
        "source": "zz",
    }
    assert spoken_text(problem).split() == ["be", "how", "so"]
    pair = {"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "b"}]}
    assert spoken_text(pair).split() == ["a", "b"]
    assert spoken_text({"id": "1", "text": "plain"}).split() == ["plain"]


SMALL = {"hidden_size": 32, "layers": 2, "heads": 4, "intermediate_size": 48, "context": 64}


@pytest.mark.parametrize("architecture", ["olmo2", "llama", "olmo3", "olmoe"])
def test_a_new_model_loads_and_starts_near_uniform(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(1)
    new_model(TOKENIZER, architecture=architecture, folder=tmp_path / "a", **SMALL)  # type: ignore[arg-type]
    torch.manual_seed(1)
    new_model(TOKENIZER, architecture=architecture, folder=tmp_path / "b", **SMALL)  # type: ignore[arg-type]
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    model = LanguageModel.load(tmp_path / "a")
    matrices = [w for w in model.network.parameters() if w.ndim >= 2]
    spread = torch.cat([w.detach().flatten() for w in matrices])
    assert float(spread.abs().max()) <= 0.06 and 0.018 < float(spread.std()) < 0.021
    assert model.template.end_ids == (TOKENIZER.eos_token_id,)
    assert model.network.config.max_position_embeddings == 64
    assert model.parameters < (40_000 if architecture != "olmoe" else 100_000)


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="hidden_size 32 is not a multiple of heads 5"):
        new_model(TOKENIZER, architecture="llama", folder=tmp_path, **{**SMALL, "heads": 5})


def test_every_fourth_layer_of_olmo3_and_the_last_see_all(tmp_path: Path) -> None:
    new_model(TOKENIZER, architecture="olmo3", folder=tmp_path, **{**SMALL, "layers": 6}, window=8)
    config = LanguageModel.load(tmp_path).network.config
    windowed = [kind == "sliding_attention" for kind in config.layer_types]
    assert windowed == [True, True, True, False, True, False] and config.sliding_window == 8


def test_a_plan_s_count_is_that_of_the_model(tmp_path: Path) -> None:
    from bactrian.stages.tune.decoder_size import decoder_size
    from bactrian.train.base_options import ShapeSettings

    vocabulary = -(-len(TOKENIZER) // 64) * 64
    for architecture in ("llama", "olmo2", "olmo3", "olmoe"):
        shape = ShapeSettings(tied=architecture == "llama", kv_heads=2, vocabulary_multiple=64, experts=5, active=2)
        new_model(TOKENIZER, architecture=architecture, folder=tmp_path / architecture, **SMALL, **shape.model_dump())  # type: ignore[arg-type]
        model = LanguageModel.load(tmp_path / architecture)
        size = decoder_size(architecture, *SMALL.values(), vocabulary - 3, shape)
        assert size.parameters == model.parameters
        per_token = sum(w.numel() for name, w in model.network.named_parameters() if "experts" not in name)
        experts = sum(w.numel() for name, w in model.network.named_parameters() if "experts" in name)
        embedding = 0 if shape.tied else vocabulary * SMALL["hidden_size"]
        assert size.active == per_token - embedding + experts * 2 / 5
