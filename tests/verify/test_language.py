"""Languages as langdetect gives them; sentences and tokens as nltk gives them, whatever was asked before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.verify.instructions.language import ABBREVIATIONS, language, sentences, tokens

langdetect = pytest.importorskip("langdetect")
pytest.importorskip("nltk")

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "El zorro marrón rápido salta sobre el perro perezoso.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "敏捷的棕色狐狸跳过了懒狗。",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "Cáo nâu nhanh nhẹn nhảy qua con chó lười.",
    "তাড়াতাড়ি বাদামি শিয়াল",
    "THE QUICK BROWN FOX",
    "de",
    "*bold* https://a.bc/d",
    "x@y.zz",
    "123 456",
    "ŢșțțĄ",
]
OTHERS = ["ở", "ấ", "ж", "ни", "中", "の", "カ", "가", "ب", "a\u0301"]
alphabet = st.sampled_from([*"abcdefghinorstuäöñéßxyzABCÀ ,.*\n\t", *OTHERS])
texts = st.one_of(
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map(" ".join),
    st.lists(alphabet, max_size=60).map("".join),
    st.tuples(st.lists(alphabet, max_size=20).map("".join), st.sampled_from(SENTENCES)).map("\n".join),
)


def theirs(text: str) -> str | None:
    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


@pytest.mark.parametrize("text", SENTENCES)
def test_known_sentences_are_langdetects(text: str) -> None:
    assert language(text) == theirs(text)


@settings(max_examples=60, deadline=None)
@given(texts)
def test_any_text_is_langdetects(text: str) -> None:
    assert language(text) == theirs(text)


def test_probabilities_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a text that is neither one nor the other, where a rounding would show first."""
    from bactrian.verify.instructions import detector

    seen: list[list[float]] = []
    rank = detector.Detector._sort_probability
    monkeypatch.setattr(
        detector.Detector, "_sort_probability", lambda self, found: (seen.append(list(found)), rank(self, found))[1]
    )
    mixed = "not the de la und и the que of 中"
    detector.guess_from.cache_clear()
    assert detector.guess(mixed) == theirs(mixed) and len(seen) == 2
    assert seen[0] == seen[1]


PARTS = ["Dr. No came.", "He left! Did he?", "\n", '"So."', "etc.", "e.g. this", "A.B. C"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=9))
def test_what_was_asked_before_changes_nothing(parts: list[str]) -> None:
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS.split())
    text = " ".join(parts)
    fresh = PunktSentenceTokenizer(parameters).tokenize(text)
    assert sentences(text) == fresh
    assert tokens(text) == [token for sentence in fresh for token in NLTKWordTokenizer().tokenize(sentence)]
