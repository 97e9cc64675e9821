"""Taggers: equal to plain definitions of what they count, and what a user's own may say."""

import re
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.corpus.periods import periodic_runs
from bactrian.data.corpus.sieves import CorpusDocument, SpanSieve
from bactrian.data.corpus.tagging import BUILT_IN, find_tagger, flaw_of, tag_rows, tagger
from bactrian.data.corpus.text_batch import BatchWords, repeated_grams
from bactrian.data.curate.quality import REPEATED, REPEATED_ALL, STOP_WORDS, c4_flaw, c4_lines, gopher_flaw
from bactrian.errors import BactrianError

Row = dict[str, Any]
WORDS = ("the", "The,", "of", "cat", "sat", "…", "#", "x1", "12", "-", "• dot", "and", "mat.", "mat", "ö", "that")
TEXTS = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from((" ", "  ", "\n", "\n\n", " \t"))), max_size=60).map(
        lambda pairs: "".join(word + space for word, space in pairs)
    ),
    max_size=5,
)
PROSE = " ".join(f"word{i} the {i}drow and" for i in range(100, 140))
"""Passes: no two words come together twice."""


def rows_of(texts: list[str]) -> list[Row]:
    return [{"id": str(i), "text": text, "source": "s", "license": "MIT"} for i, text in enumerate(texts)]


def tags(texts: list[str], *names: str) -> list[dict[str, Any]]:
    return tag_rows(rows_of(texts), names)


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


@settings(max_examples=40)
@given(TEXTS)
def test_repeated_grams_are_those_that_counting_finds(texts: list[str]) -> None:
    words = BatchWords(texts)
    for found in repeated_grams(words, 6):
        for i, text in enumerate(texts):
            split = text.split()
            mine = found.places[words.texts_of(found.places) == i] - words.starts[i]
            counted = Counter(grams(split, found.n))
            assert sorted(mine.tolist()) == [at for at, gram in enumerate(grams(split, found.n)) if counted[gram] > 1]
        assert found.counts.sum() == len(found.places) and (found.counts > 1).all()


def passes(said: dict[str, Any]) -> bool:
    """Gopher's bounds on what the taggers `gopher` and `repetition` say."""
    get = {name.partition("__")[2]: value for name, value in said.items()}
    return (
        50 <= get["words"] <= 100_000
        and 3 <= get["mean_word_length"] <= 10
        and get["symbols_a_word"] <= 0.1
        and get["bulleted_lines"] <= 0.9
        and get["ellipsis_lines"] <= 0.3
        and get["alphabetic_words"] >= 0.8
        and get["stop_words"] >= 2
        and all(get[f"duplicate_{name}"] <= 0.3 for name in ("lines", "paragraphs"))
        and all(get[f"duplicate_{name}_characters"] <= 0.2 for name in ("line", "paragraph"))
        and all(get[f"top_{n}gram"] <= most for n, most in REPEATED)
        and all(get[f"repeated_{n}grams"] <= most for n, most in REPEATED_ALL)
    )


@settings(max_examples=40)
@given(TEXTS, st.integers(0, 6), st.integers(0, 300))
def test_with_the_papers_bounds_they_judge_as_the_rule_gopher(texts: list[str], start: int, cut: int) -> None:
    texts = [*texts, PROSE, PROSE[:cut] + "\n".join(texts), PROSE + PROSE[cut:], f"{PROSE}\n\n{PROSE[start:]}"]
    for text, said in zip(texts, tags(texts, "gopher", "repetition"), strict=True):
        assert passes(said) == (gopher_flaw(text) is None), text


def test_a_page_that_passes_and_pages_that_do_not() -> None:
    again = PROSE[:60] + " It is said that there are seven of them in the house. " * 9
    verdicts = [passes(said) for said in tags([PROSE, again, "", "#" * 500], "gopher", "repetition")]
    assert verdicts == [True, False, False, False]


def plain_gopher_v1(text: str) -> dict[str, float]:
    """What the Dolma toolkit's documentation and code say that `gopher_v1` counts, counted plainly."""
    words, lines = text.split(), text.split("\n")
    characters, count = max(1, sum(map(len, words))), max(1, len(words))
    said: dict[str, float] = {
        "character_count": len(text),
        "word_count": len(words),
        "median_word_length": median(map(len, words)) if words else 0,
        "symbol_to_word_ratio": sum("#" in word or "…" in word for word in words) / count,
        "fraction_of_words_with_alpha_character": sum(any(map(str.isalpha, word)) for word in words) / count,
        "required_word_count": sum(word in STOP_WORDS for word in words),
    }
    for n in range(2, 11):
        if not (counted := Counter(grams(words, n))):
            continue
        size = {gram: times * sum(map(len, gram)) for gram, times in counted.items()}
        if n < 5:
            said[f"fraction_of_characters_in_most_common_{n}grams"] = size[counted.most_common(1)[0][0]] / characters
        else:
            several = sum(each for gram, each in size.items() if counted[gram] > 1)
            said[f"fraction_of_characters_in_duplicate_{n}grams"] = several / sum(size.values())
    if text:
        repeated = [line for line in lines if lines.count(line) > 1]
        said |= {
            "fraction_of_lines_starting_with_bullet_point": sum(line[:1] in ("*", "-") and line != "" for line in lines)
            / len(lines),
            "fraction_of_lines_ending_with_ellipsis": sum(line[-1:] == "…" for line in lines) / len(lines),
            "fraction_of_duplicate_lines": len(repeated) / len(lines),
            "fraction_of_characters_in_duplicate_lines": sum(map(len, repeated)) / characters,
        }
    return said


@settings(max_examples=40)
@given(TEXTS)
def test_gopher_v1_is_what_the_dolma_toolkit_counts(texts: list[str]) -> None:
    for text, said in zip(texts, tags(texts, "gopher_v1"), strict=True):
        plain = plain_gopher_v1(text)
        assert {name.removeprefix("gopher_v1__") for name in said} == set(plain)
        for name, value in plain.items():
            [[start, end, score]] = said[f"gopher_v1__{name}"]
            assert (start, end) == (0, len(text)) and score == pytest.approx(value, abs=1e-5), name


LINES = st.lists(
    st.sampled_from(
        ("A line of five whole words.", "Too short.", "no end here at all now", "Use JavaScript to see this.", "", " ")
    )
).map("\n".join)


@given(LINES)
def test_cutting_the_spans_of_c4_leaves_the_lines_that_c4_leaves(text: str) -> None:
    [said] = tags([text], "c4")
    candidate = CorpusDocument(rows_of([text])[0], said, "here")
    for name in ("open_lines", "short_lines", "javascript_lines"):
        SpanSieve(f"c4__{name}", "", None, None, None)([candidate])
    left = [line for line in candidate.edited().splitlines() if line.strip()]
    assert left == c4_lines(text).splitlines()
    flawless = said["c4__sentences"] >= 3 and not said["c4__curly_brackets"] and not said["c4__lorem_ipsum"]
    assert flawless == (c4_flaw(text) is None)


@given(LINES)
def test_c4_v1_marks_lines_where_they_are(text: str) -> None:
    [said] = tags([text], "c4_v1")
    parts = [text[start:end] for start, end, _ in said.get("c4_v1__lines_with_too_few_words", [])]
    assert [part.rstrip("\n") for part in parts] == [line for line in text.split("\n") if len(line.split()) < 3]
    assert said["c4_v1__line_count"] == [[0, len(text), text.count("\n") + 1]]


def test_length_language_personal_and_licence() -> None:
    text = "Ask ann@example.org, or call 555-123-4567, what the weather in the mountains will be like tomorrow. é"
    [said] = tag_rows(
        [{**rows_of([text])[0], "license": "CC-BY-NC-SA-4.0"}], ["length", "language", "personal", "licence"]
    )
    assert said["length__characters"] == len(text) and said["length__bytes"] == len(text) + 1
    assert said["language__en"] > 0.5 > said["language__other"]
    [[start, end, _]] = said["personal__email"]
    assert text[start:end] == "ann@example.org" and len(said["personal__phone"]) == 1 and said["personal__ssn"] == []
    assert (said["licence__nc"], said["licence__sa"], said["licence__unclear"]) == (1, 1, 0)


def test_a_repeated_span_of_tokens_is_found_at_its_shortest_period() -> None:
    ids = np.array([1, 2, 3, *[5, 6] * 32, 7, *[9] * 31, 8, *list(range(20, 33)) * 33])
    runs = periodic_runs(ids)
    assert [(run.start, run.period, run.times) for run in runs] == [(3, 2, 32), (100, 13, 33)]
    assert periodic_runs(ids, least_times=31)[1] == (68, 99, 1, 31)
    assert periodic_runs(np.array([], dtype=np.int64)) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 4), st.integers(2, 4))
def test_runs_are_all_that_repeat(ids: list[int], longest: int, times: int) -> None:
    runs = periodic_runs(np.array(ids, dtype=np.int64), longest, times)
    for run in runs:
        assert all(ids[i] == ids[i + run.period] for i in range(run.start, run.end - run.period))
    for period in range(1, longest + 1):
        for start in range(len(ids) - period * times + 1):
            part = ids[start : start + period * times]
            if part == part[:period] * times:
                assert any(run.start <= start and start + len(part) <= run.end for run in runs)


# names and users' own


def test_all_names_lead_to_a_tagger_and_a_slip_is_helped() -> None:
    assert all(find_tagger(name).name == name for name in BUILT_IN)
    with pytest.raises(BactrianError, match=r"no tagger is called 'gofer'.*gopher"):
        find_tagger("gofer")
    with pytest.raises(BactrianError, match="two taggers are called 'c4'"):
        tagger("c4")(lambda text: 1.0)


OWN = """\
from bactrian.data.corpus.tagging import tagger

def shouting(text):
    return sum(c.isupper() for c in text) / max(1, len(text))

@tagger("digits")
def numbers(text):
    return {"spans": [[i, i + 1, 1.0] for i, c in enumerate(text) if c.isdigit()], "count": 2}

def wrong(text):
    return {"one": [[0, len(text) + 1, 1.0]]}

def fails(text):
    return text.nothing
"""


def test_a_tagger_of_a_users_own_file(tmp_path: Path) -> None:
    (path := tmp_path / "mine.py").write_text(OWN)
    said = tag_rows(rows_of(["AB1", "x"]), [f"{path}:shouting", f"{path}:numbers"])
    assert said[0] == {"shouting": 2 / 3, "numbers__spans": [[2, 3, 1.0]], "numbers__count": 2}
    assert said[1] == {"shouting": 0.0, "numbers__spans": [], "numbers__count": 2}
    with pytest.raises(BactrianError, match=r"wrong on document 0, attribute 'one': found the span .* 3 characters"):
        tag_rows(rows_of(["AB1"]), [f"{path}:wrong"])
    with pytest.raises(BactrianError, match=r"fails raised AttributeError"):
        tag_rows(rows_of(["AB1"]), [f"{path}:fails"])


@pytest.mark.parametrize(
    "value", [float("nan"), "1", None, True, [1], [[0, 1]], [[1, 0, 1.0]], [[0.5, 1, 1.0]], [[0, 9, 1]]]
)
def test_what_no_attribute_may_be(value: Any) -> None:
    assert flaw_of(value, 5) is not None and flaw_of([[0, 5, 2.0]], 5) is None and flaw_of(3, 5) is None
    assert re.match("found ", str(flaw_of(value, 5)))
