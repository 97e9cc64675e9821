"""langdetect's guess of a language: the same result for the same seed, with no work done twice.

langdetect 1.0.9 takes a text apart character by character and moves 55 probabilities one by one. Here the n-grams of a
word are found once, whatever texts it is in; the probabilities are an array; and texts of the same n-grams (a reading
without its asterisks, say) are one. Which n-grams are drawn, and every product and sum, are langdetect's.
"""

import random
import re
from functools import cache, lru_cache
from typing import Any

import numpy as np
from langdetect import detector_factory
from langdetect.detector import Detector
from langdetect.utils.ngram import NGram

SEED = 0
EVERY = 5
SPACES = re.compile(" +")


@cache
def shared() -> Any:
    """A detector with the profiles of all languages (about a second to load), for its settings and its n-grams."""
    detector_factory.init_factory()
    return Detector(detector_factory._factory)


def guess(text: str) -> str | None:
    """The ISO 639-1 code that langdetect, seeded with SEED, gives a text; None where it finds nothing to go by."""
    grams = tuple(grams_of(cleaned(text)))
    return guess_from(grams) if grams else None


def cleaned(text: str) -> str:
    """What langdetect looks at: no addresses, one space for several, no Latin letters in a text of other ones."""
    detector = shared()
    text = NGram.normalize_vi(detector.MAIL_RE.sub(" ", detector.URL_RE.sub(" ", text)))
    detector.text = SPACES.sub(" ", text[: detector.max_text_length])
    if not detector.text.isascii():  # where all is ASCII this changes nothing
        detector.cleaning_text()
    return str(detector.text)


class Normal(dict[int, str]):
    """For str.translate: langdetect's form of each character, asked once."""

    def __missing__(self, code: int) -> str:
        self[code] = NGram.normalize(chr(code))
        return self[code]


NORMAL = Normal()


def grams_of(text: str) -> list[str]:
    """The known n-grams of a text in order. A space resets langdetect's buffer, so they are those of its words."""
    *words, last = text.translate(NORMAL).split(" ")
    return [gram for word in words if word for gram in grams_of_word(word + " ")] + list(grams_of_word(last))


@lru_cache(maxsize=1 << 16)
def grams_of_word(word: str) -> tuple[str, ...]:
    detector = shared()
    detector.text = word
    return tuple(detector._extract_ngrams())


@cache
def likelihoods(gram: str) -> Any:
    """P(gram | language) of each language, float64 [languages]."""
    return np.array(shared().word_lang_prob_map[gram])


@lru_cache(maxsize=4096)
def guess_from(grams: tuple[str, ...]) -> str:
    """Mean of several runs of Bayes' rule over n-grams drawn with replacement, each until one language is sure."""
    detector = shared()
    draw = random.Random(SEED)
    places = {gram: place for place, gram in enumerate(dict.fromkeys(grams))}
    table = np.array([likelihoods(gram) for gram in places])
    drawn_from = [places[gram] for gram in grams]
    total = np.zeros(len(detector.langlist))
    for _ in range(detector.n_trial):
        total += one_run(table, drawn_from, detector, draw) / detector.n_trial
    ranked = detector._sort_probability(total.tolist())
    return str(ranked[0].lang if ranked else detector.UNKNOWN_LANG)


def one_run(table: Any, drawn_from: list[int], detector: Any, draw: random.Random) -> Any:
    """One run's probabilities [languages], normalised after the first draw and then after every fifth.

    `table`: likelihoods [distinct n-grams, languages]; `drawn_from`: the text's n-grams as rows of it.
    """
    belief = np.array(detector._init_probability())
    weight = (detector.alpha + draw.gauss(0.0, 1.0) * detector.ALPHA_WIDTH) / detector.BASE_FREQ
    for drawn in range(0, detector.ITERATION_LIMIT + 1, EVERY):
        rows = table[[draw.choice(drawn_from) for _ in range(EVERY if drawn else 1)]]
        rows += weight
        for row in rows:
            belief *= row
        belief /= sum(belief.tolist())
        if belief.max() > detector.CONV_THRESHOLD:
            break
    return belief
