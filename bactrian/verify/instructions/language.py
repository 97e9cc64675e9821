"""Words, sentences and the language of a text, as IFEval's checks count them."""

import re
from functools import cache, lru_cache
from typing import Any

from bactrian.store.extras import lacks

WORD = re.compile(r"\w+")
ABBREVIATIONS = (
    "a.m adj adm adv ala apr ariz ark assn aug ave b.c bldg blvd brig bros ca calif capt cf cmdr co col colo conn corp "
    "cos d.c dec del dept dr drs e.g ed eds est etc feb fig figs fla ft ga gen gov hon i.e ill inc ind jan jr jul jun "
    "kan ky la lt ltd ma maj mar mass md messrs mich minn miss mo mont mr mrs ms mt n.c n.d n.h n.j n.m n.y nev no nos "
    "nov oct okla op ore p.m pa ph.d phd pp prof pvt rep reps rev s.c s.d sen sens sep sept sgt sr st ste tenn tex u.k "
    "u.n u.s u.s.a univ v va vs vt w.va wash wis wyo"
)
"""Words before whose full stop a sentence seldom ends, without that stop: titles, months, states, Latin."""


@cache
def _splitter() -> Any:
    try:
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    except ImportError:
        raise lacks("constraints on sentences", "instructions") from None
    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS.split())
    splitter = PunktSentenceTokenizer(parameters)
    # a sentence's end is decided by the words around it, which the readings of a text (ifeval.py) share
    splitter.text_contains_sentbreak = lru_cache(maxsize=1 << 14)(splitter.text_contains_sentbreak)
    return splitter


def sentences(text: str) -> list[str]:
    """The sentences of a text, by Punkt's rules [Kiss & Strunk 2006] as nltk applies them.

    The published checks use Punkt with a model trained on English news, which is a download. Ours
    knows the abbreviations above instead and nothing about which words begin sentences:
    docs/verifiers.md has the difference.

    Raises:
        BactrianError: without nltk.
    """
    found: list[str] = _splitter().tokenize(text)
    return found


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores."""
    return WORD.findall(text)


@cache
def _word_tokenizer() -> Any:
    try:
        from nltk.tokenize.destructive import NLTKWordTokenizer
    except ImportError:
        raise lacks("constraints on words", "instructions") from None
    return NLTKWordTokenizer()


def tokens(text: str) -> list[str]:
    """Treebank tokens, sentence by sentence.

    Raises:
        BactrianError: without nltk.
    """
    return [token for sentence in sentences(text) for token in _tokens_of(sentence)]


@lru_cache(maxsize=1 << 12)
def _tokens_of(sentence: str) -> tuple[str, ...]:
    return tuple(_word_tokenizer().tokenize(sentence))


@lru_cache(maxsize=4096)
def language(text: str) -> str | None:
    """The ISO 639-1 code that langdetect gives a text, None where it finds none (no letters). Same
    text, same code.

    langdetect draws at random where it is unsure; here with a fixed seed.

    Raises:
        BactrianError: without it.
    """
    try:
        from bactrian.verify.instructions import detector
    except ImportError:
        raise lacks("constraints on the language of an answer", "instructions") from None
    return detector.guess(text)
