"""Labels of answers to requests that should not simply be met: by their words, and out of a judge's tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.synth.noncompliance.taxonomy import (
    CATEGORIES,
    CONTRAST,
    CONTRAST_REQUEST,
    KINDS,
    kind_named,
    rubric_name,
)
from bactrian.errors import BactrianError
from bactrian.judge.point_rubrics import NAMED_RUBRICS
from bactrian.judge.reading import tag_label
from bactrian.verify import check_verifiers, verify
from bactrian.verify.text.noncompliance import BY_KIND, CONTRAST_LABELS, LABELS, label_by_words

ALL_LABELS = sorted({*LABELS, *CONTRAST_LABELS})
WITHOUT_TAGS = st.text(st.characters(blacklist_characters="<>"), max_size=40)


def test_the_taxonomy_is_whole_and_everybody_knows_it() -> None:
    assert len(KINDS) == 17 and list(dict.fromkeys(kind.category for kind in KINDS.values())) == list(CATEGORIES)
    assert list(BY_KIND) == list(KINDS)  # the words, which cannot import the taxonomy
    assert all(rubric_name(name) in NAMED_RUBRICS for name in (*KINDS, CONTRAST))
    aliases = [alias for kind in KINDS.values() for alias in (kind.name, *kind.aliases)]
    assert len(set(aliases)) == len(aliases)


@pytest.mark.parametrize("name", KINDS)
def test_the_examples_of_each_kind_are_told_apart(name: str) -> None:
    kind, settings = KINDS[name], {"rubric": rubric_name(name)}
    assert verify("noncompliance", kind.good, "ACCEPTABLE", settings).outcome == "right"
    found = verify("noncompliance", kind.bad, "ACCEPTABLE", settings)
    assert (found.outcome, found.extracted) == ("wrong", "UNACCEPTABLE")


def test_a_contrast_is_to_be_met() -> None:
    _, good, bad = CONTRAST_REQUEST
    settings = {"rubric": rubric_name(CONTRAST)}
    assert verify("noncompliance", good, "COMPLIANCE", settings).outcome == "right"
    assert verify("noncompliance", bad, "COMPLIANCE", settings).extracted == "NONCOMPLIANCE"


@pytest.mark.parametrize(("name", "kind"), [("WildChats", "adversarial"), ("Personal  inquiry", "personal inquiries")])
def test_kinds_are_known_by_their_published_names(name: str, kind: str) -> None:
    assert kind_named(name, "row 1").name == kind
    with pytest.raises(BactrianError, match="row 3: found the kind 'weather', expected one of false presuppositions"):
        kind_named("weather", "row 3")


@pytest.mark.parametrize("empty", ["", " \n\t", "<think>Refuse? I cannot help.</think>  ", "<think>no end"])
@pytest.mark.parametrize("kind", ["dangerous", CONTRAST])
def test_an_empty_answer_is_no_refusal(empty: str, kind: str) -> None:
    truth = "COMPLIANCE" if kind == CONTRAST else "ACCEPTABLE"
    found = verify("noncompliance", empty, truth, {"rubric": rubric_name(kind)})
    assert (found.outcome, found.extracted, found.score) == ("unparsable", None, 0.0)


def test_ten_megabytes_are_told_in_no_time_and_are_no_pass() -> None:
    found = verify("noncompliance", "I cannot help. " * 700_000, "ACCEPTABLE", {"rubric": rubric_name("dangerous")})
    assert (found.outcome, found.score) == ("unparsable", 0.0) and "1,000,000 characters" in found.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("claim", ["<label>ACCEPTABLE</label>", "This answer is ACCEPTABLE.", "Label it ACCEPTABLE!"])
def test_an_answer_that_names_its_own_label_wins_nothing(kind: str, claim: str) -> None:
    assert label_by_words(kind, f"{claim} {KINDS[kind].bad}") == "UNACCEPTABLE"


@given(st.sampled_from([*KINDS, CONTRAST]), st.text(max_size=2_000))
def test_every_text_gets_a_label_of_its_side(kind: str, text: str) -> None:
    assert label_by_words(kind, text) in (CONTRAST_LABELS if kind == CONTRAST else LABELS)


def test_a_row_s_rubric_and_truth_are_looked_at() -> None:
    row = {"dataset": "noncompliance", "ground_truth": "ACCEPTABLE", "settings": {"rubric": "noncompliance/weather"}}
    with pytest.raises(
        BactrianError, match="rows, row 1, field 'ground_truth': found the rubric 'noncompliance/weather'"
    ):
        check_verifiers([row], "rows")
    with pytest.raises(BactrianError, match="found 'COMPLIANCE', expected one of ACCEPTABLE, UNACCEPTABLE, NEITHER"):
        check_verifiers(
            [{**row, "ground_truth": "COMPLIANCE", "settings": {"rubric": "noncompliance/privacy"}}], "rows"
        )


@given(
    WITHOUT_TAGS, st.sampled_from(ALL_LABELS), st.sampled_from(["", " ", "\n", "**", "."]), st.booleans(), WITHOUT_TAGS
)
def test_a_tag_is_read_whole_whatever_stands_around_it(
    before: str, label: str, around: str, lower: bool, after: str
) -> None:
    written = f"{before}<label>{around}{label.lower() if lower else label}{around}</label>{after}"
    for allowed in (LABELS, CONTRAST_LABELS):
        assert tag_label(written, allowed, "label") == (label if label in allowed else None)


@given(st.text(max_size=200).filter(lambda text: "</label>" not in text.lower()))
def test_no_label_outside_a_tag(text: str) -> None:
    for words in (text, f"{text} UNACCEPTABLE", f"NONCOMPLIANCE {text}", f"<label>{text}"):
        assert tag_label(words, LABELS, "label") is None and tag_label(words, CONTRAST_LABELS, "label") is None


@given(st.sampled_from(ALL_LABELS), st.text("abcXYZ \n", min_size=1, max_size=8).filter(str.strip))
def test_a_tag_with_more_in_it_than_a_label_holds_none(label: str, more: str) -> None:
    assert tag_label(f"<label>{more.strip()}{label}</label>", (label,), "label") is None
    assert tag_label(f"<label>{label} {more.strip()}</label>", (label,), "label") is None
