"""Stage `quality`: a classifier that tells good texts from others, for the tagger `classifier`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

HELD_OUT = "held_out.json"


class Quality(Stage):
    """A classifier of texts in fastText's manner: hashed word n-grams and logistic regression [Joulin et al. 2017].

    `good` texts, such as encyclopaedic or educational ones, against `other` ones, such as any web pages [DCLM, Li et
    al. 2024]. A share of each, chosen by the texts themselves so that copies stay together, is held out:
    held_out.json and the metrics say how accurate, how well ranked and how well calibrated the classifier is on it.
    The texts that it learns from are held in memory, as counts.
    """

    name: ClassVar[str] = "quality"
    makes: ClassVar[Kind] = Kind.DATA

    good: list[DataRef] = Field(min_length=1, description="texts of the wanted kind")
    other: list[DataRef] = Field(min_length=1, description="texts of any kind")
    texts: int = Field(200_000, ge=1, description="texts that are read of each side, at most, from the first")
    ngram: int = Field(2, ge=1, le=5, description="words of an n-gram, at most")
    bits: int = Field(18, ge=8, le=26, description="n-grams are hashed to 2^bits places")
    strength: float = Field(10.0, gt=0, description="inverse of the L2 penalty")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the texts that is held out")

    least: int = Field(10, ge=1, description="texts of each side that must be there to learn from, and held out")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := set(self.good) & set(self.other):
            raise ValueError(f"found {min(both)!r} in good and in other, expected it in one of them")
        return self

    def needs(self) -> Iterable[Need]:
        """Scikit-learn."""
        return [Need("quality", "data")]

    def run(self, workspace: "Workspace") -> None:
        import numpy as np

        from bactrian.data.corpus.hashed_classifier import HashedClassifier, HashedNgrams, held_out_scores
        from bactrian.progress import say

        good, other = (self._texts(workspace, refs) for refs in (self.good, self.other))
        texts, labels = [*good, *other], np.array([1] * len(good) + [0] * len(other))
        out = np.array([is_held_out(text, self.held_out) for text in texts])
        for side, label in (("good", 1), ("other", 0)):
            counts = [int(((labels == label) & part).sum()) for part in (~out, out)]
            if min(counts) < self.least:
                raise BactrianError(
                    f"quality, field {side!r}: found {counts[0]:,} texts to learn from and {counts[1]:,} held out, "
                    f"expected at least {self.least} of both"
                )
        features = HashedNgrams(self.ngram, self.bits)
        matrix = features.of(texts)
        model = HashedClassifier.fit(features, matrix[~out], labels[~out], self.strength)
        scores = held_out_scores(model.of_features(matrix[out]), labels[out])
        model.save(workspace.output)
        told = scores | {"good": int(labels[out].sum()), "other": int((1 - labels[out]).sum())}
        (workspace.output / HELD_OUT).write_text(json.dumps(told, indent=1) + "\n")
        names = ("accuracy", "auc", "brier", "calibration_error")
        workspace.metrics |= {name: float(scores[name]) for name in names} | {"texts": float(len(texts))}
        said = ", ".join(f"{name.replace('_', ' ')} {scores[name]:.3f}" for name in names)
        say(f"quality: {len(texts):,} texts, {int(out.sum()):,} held out: {said}")

    def _texts(self, workspace: "Workspace", refs: Sequence[str]) -> list[str]:
        """The first texts of the documents, and their licences noted."""
        from bactrian.data.corpus.attribute_files import document_of
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.rows import licence_of

        found: list[str] = []
        for ref in refs:
            path = workspace.input(ref).path
            for row, where in islice(stream_rows(path), self.texts - len(found)):
                document = document_of(row, where, path.name)
                if isinstance(document, Fault):
                    raise document
                workspace.add_licence(licence_of(document))
                found.append(document["text"])
        return found

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        tokens = sum(
            min(facts.rows, self.texts) * facts.tokens_per_row
            for ref in (*self.good, *self.other)
            if (facts := inputs.get(ref)) is not None
        )
        return Forecast(peak_memory=1e9 + 12 * self.ngram * tokens)


def is_held_out(text: str, share: float) -> bool:
    """Whether a text belongs to the share that is held out; texts that are equal but for white space go together."""
    from bactrian.data.curate.duplicates import text_key

    return int.from_bytes(text_key(text)[:8], "little") < share * 2**64
