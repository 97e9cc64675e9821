"""A quality classifier in fastText's manner: hashed word n-grams and logistic regression [Joulin et al. 2017].

DCLM and Dolma choose web pages by such a classifier, trained to tell good texts from any [Li et al. 2024]. It has one
weight a hashed n-gram, so it costs about as much as reading the text.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError
from bactrian.store.extras import lacks

SETTINGS, WEIGHTS = "classifier.json", "weights.npy"
BINS = 10


@dataclass(frozen=True)
class HashedNgrams:
    """How texts become features: numbers of words of an n-gram up to `words`, 2^`bits` places that they hash to."""

    words: int = 2
    bits: int = 18

    def of(self, texts: Sequence[str]) -> Any:
        """[len(texts), 2^bits] sparse matrix; each row has length 1.

        Raises:
            BactrianError: if scikit-learn is not installed.
        """
        try:
            from sklearn.feature_extraction.text import HashingVectorizer
        except ImportError:
            raise lacks("the classifier", "data") from None
        hashing = HashingVectorizer(
            ngram_range=(1, self.words), n_features=2**self.bits, token_pattern=r"\S+", dtype=np.float32
        )
        return hashing.transform(texts)


@dataclass(frozen=True)
class HashedClassifier:
    """weights [2^bits] float32, and the bias."""

    features: HashedNgrams
    weights: NDArray[np.float32]
    bias: float

    @classmethod
    def fit(cls, features: HashedNgrams, texts: Any, labels: NDArray[np.int64], strength: float) -> Self:
        """Logistic regression with an L2 penalty; both kinds weigh the same, however many texts each has.

        texts: as `features.of` gives them. labels [N]: 1 for the wanted kind, 0 for the other. strength: inverse of the
        penalty.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
        model.fit(texts, labels)
        return cls(features, model.coef_[0].astype(np.float32), float(model.intercept_[0]))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """[len(texts)] that each is of the wanted kind."""
        return self.of_features(self.features.of(texts))

    def of_features(self, texts: Any) -> NDArray[np.float64]:
        """The same, of texts as `features.of` gives them."""
        found: NDArray[np.float64] = 1 / (1 + np.exp(-(texts @ self.weights).astype(np.float64) - self.bias))
        return found

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        np.save(folder / WEIGHTS, self.weights)
        (folder / SETTINGS).write_text(json.dumps({"features": asdict(self.features), "bias": self.bias}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The classifier of a folder.

        Raises:
            BactrianError: if it holds none.
        """
        try:
            said = json.loads((folder / SETTINGS).read_text())
            weights = np.load(folder / WEIGHTS, allow_pickle=False)
            found = cls(HashedNgrams(**said["features"]), weights, float(said["bias"]))
        except FileNotFoundError:
            raise BactrianError(
                f"{folder}: found no {SETTINGS}, expected a classifier that stage quality made"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BactrianError(f"{folder}: its classifier cannot be read: {error!r:.200}") from None
        if weights.shape != (2**found.features.bits,):
            raise BactrianError(
                f"{folder}/{WEIGHTS}: found the shape {weights.shape}, expected 2^{found.features.bits}"
            )
        return found


def held_out_scores(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy at ½, area under the ROC curve, Brier score, expected calibration error in ten bins of equal width, and
    the bins: what the classifier said on average, how many were right, how many there are."""
    from sklearn.metrics import roc_auc_score

    which = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    bins: list[dict[str, float]] = []
    for number in range(BINS):
        inside = which == number
        if inside.any():
            said, true = float(probabilities[inside].mean()), float(labels[inside].mean())
            bins.append({"said": said, "true": true, "texts": int(inside.sum())})
    gaps = sum(abs(each["said"] - each["true"]) * each["texts"] for each in bins)
    return {
        "accuracy": float(((probabilities >= 0.5) == labels).mean()),
        "auc": float(roc_auc_score(labels, probabilities)),
        "brier": float(((probabilities - labels) ** 2).mean()),
        "calibration_error": gaps / len(labels),
        "bins": bins,
    }
