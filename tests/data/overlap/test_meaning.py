"""Embedding mode: a tiny encoder of random weights tells the same words from others; the packaged one, paraphrases."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bactrian.data.overlap import meaning
from bactrian.data.overlap.index import IndexedItem
from bactrian.data.overlap.match import Texts
from bactrian.data.overlap.meaning import MeaningMatcher, SentenceEncoder, default_folder
from bactrian.errors import BactrianError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), **shape)).save_pretrained(folder)
    return SentenceEncoder(folder)


def test_same_words_match_and_others_do_not(encoder: SentenceEncoder) -> None:
    items = [IndexedItem("b", "0", ("red cat runs",)), IndexedItem("b", "1", ("blue bird", "sleeps"))]
    texts = Texts(["green dog", "Red CAT runs", "blue bird sleeps", "red cat runs"], np.array([0, 1, 1, 2]))
    found = MeaningMatcher(items, encoder, 0.999).matches(texts)
    assert list(zip(found.rows.tolist(), found.items.tolist(), strict=True)) == [(1, 0), (1, 1), (2, 0)]
    assert found.scores == pytest.approx(1.0, abs=1e-5)


def test_batches_and_padding_do_not_matter(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["red", "green cat runs red red", "dog", "blue bird sleeps dog cat"]
    together = encoder.encode(texts)
    monkeypatch.setattr(meaning, "AT_ONCE", 1)
    assert np.abs(encoder.encode(texts) - together).max() < 1e-5
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BactrianError, match="not an encoder"):
        SentenceEncoder(tmp_path)
    monkeypatch.setattr(meaning, "PACKAGE", "no_such_package")
    with pytest.raises(BactrianError, match=r"bactrian\[embedding\]"):
        default_folder()


@pytest.mark.slow
@pytest.mark.skipif(find_spec(meaning.PACKAGE) is None, reason="needs bactrian[embedding], 83 MB")
def test_the_packaged_encoder_finds_a_paraphrase() -> None:
    item = IndexedItem("b", "0", ("How many apples does Ann have left after she ate three of her ten apples?",))
    near = "Ann had ten apples and ate three of them. How many apples does she have left?"
    far = "What is the capital of the country in which the river Danube begins?"
    found = MeaningMatcher([item], SentenceEncoder(default_folder()), 0.8).matches(Texts([near, far], np.array([0, 1])))
    assert found.rows.tolist() == [0]
