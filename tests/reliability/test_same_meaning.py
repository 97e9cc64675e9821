"""A rewrite that lost or added a number, a name or a negation, or speaks of something else, is told from a good one."""

from decimal import Decimal

import pytest

from bactrian.data.synth.same_meaning import meaning_flaw, names, numbers

KEPT = [
    ("The treaty was signed in 1998 by 23 states.", "Twenty-three states put their names to the treaty in 1998."),
    ("Sales rose to $2.5 billion, up 15 percent.", "Up 15%, sales reached 2,500,000,000 dollars."),
    ("It was the third storm within a hundred days.", "In 100 days this was storm number 3."),
    ("The harbour, says Nicolas Brandt, is closed.", "According to Mr. Brandt the harbour is shut."),
    ("She has studied the Norwegian coast.", "The coast of Norway was what she studied."),
    ("A season of the National Basketball Association ended.", "In the NBA a season came to its end."),
    ("He did not answer the letter.", "He left the letter unanswered."),
    ("The bridge is not safe and never was.", "The bridge is unsafe and has never been anything else."),
    ("Not only the mill but the barn burnt.", "The mill burnt, and the barn burnt too."),
    ("Give one reason first, and another second.", "Begin with a reason, then name another."),
    ("鉄道は1872年に開通した。", "1872年、鉄道が開かれた。"),
]
LOST = [
    ("The treaty was signed by 23 states.", "The treaty was signed by 32 states.", "a number"),
    ("She waited three hours at the gate.", "At the gate she waited for hours.", "a number is lost"),
    ("She waited hours at the gate.", "At the gate she waited for twelve hours.", "a number is new"),
    ("The firm is worth 2.5 billion.", "The firm has a worth of 2.5 million.", "a number"),
    ("鉄道は1872年に開通した。", "1873年、鉄道が開かれた。", "a number"),
    ("In May the ship reached Bergen.", "In May the vessel came to Hamburg.", "a name is lost"),
    ("In May the ship reached its port.", "In May the vessel came to Hamburg.", "a name is new"),
    ("He wrote it for the BBC and left.", "He wrote it for the radio, then went away.", "a name is lost"),
    ("The patient has no fever.", "The patient has a fever.", "a negation is lost"),
    ("The patient has a fever.", "The patient doesn't have a fever.", "a negation is new"),
    ("You shouldn’t mix these liquids.", "These liquids should be mixed.", "a negation is lost"),
    ("The old miller sold all his geese to the weaver.", "Bake large potatoes slowly, then serve them hot.", "else"),
]


@pytest.mark.parametrize(("original", "rewrite"), KEPT)
def test_what_was_kept(original: str, rewrite: str) -> None:
    assert meaning_flaw(original, rewrite) is None


@pytest.mark.parametrize(("original", "rewrite", "reason"), LOST)
def test_what_was_lost(original: str, rewrite: str, reason: str) -> None:
    flaw = meaning_flaw(original, rewrite)
    assert flaw is not None and reason in flaw.reason
    assert meaning_flaw(original, rewrite, ()) is None


def test_numbers_in_words_and_digits() -> None:
    text = "two million five hundred thousand and six, 1,024 or 30th; twenty, one or a thousand, the twenty-first, 5 7"
    assert numbers(text) == {*map(Decimal, (2_500_006, 1024, 30, 20, 1000, 21, 5, 7))}


def test_names_within_sentences() -> None:
    text = "Yesterday the Dean of Saint Mary's met I. Lund. She, too, spoke for the UN-led talks."
    assert names(text) == [["Dean"], ["Saint", "Mary"], ["UN"]]
    assert names("The Rise And Fall Of A Great House") == []
