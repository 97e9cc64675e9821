"""Verifiers of words, letters and form: their own examples, independent computations, real data."""

import gzip
import json
import re
import string
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.verify import Item, check_verifiers, self_check, verify, verify_all
from bactrian.verify.text.spans import drop_f1, drop_pair, squad, token_f1

DATA = Path(__file__).parents[3] / "shared" / "data"
words = st.text(alphabet="ab c.,-7The", max_size=25)


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here (real data is not part of the repository)")
    raw = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    return [json.loads(line) for line in raw.decode().splitlines()]


@pytest.mark.parametrize("name", ["squad_em", "squad_f1", "drop", "flan", "bbh", "choice", "format", "gated", "length"])
def test_own_examples(name: str) -> None:
    self_check(name)


@given(words, words)
def test_f1_is_symmetric_bounded_and_1_exactly_where_the_words_are_the_same(a: str, b: str) -> None:
    assert token_f1(a, b) == token_f1(b, a)
    assert 0 <= token_f1(a, b) <= 1
    assert (token_f1(a, b) == 1) == (Counter(squad(a).split()) == Counter(squad(b).split()))


@given(words)
def test_squad_normalisation_is_the_definition(text: str) -> None:
    lowered = "".join(c for c in text.lower() if c not in string.punctuation)
    assert squad(text) == " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())
    assert squad(squad(text)) == squad(text) or "a" in text  # an article may come to be where a point has gone


@given(
    st.lists(st.sampled_from(["smith", "al jones", "7", "big al", "7 yards"]), min_size=2, max_size=4),
    st.lists(st.sampled_from(["smith", "jones", "7", "8", "al"]), min_size=2, max_size=4),
)
def test_drop_alignment_is_the_best_of_all(given_spans: list[str], gold: list[str]) -> None:
    longer, shorter = sorted((given_spans, gold), key=len, reverse=True)
    flip = longer is gold

    def pair(a: str, b: str) -> float:
        return drop_pair(b, a) if flip else drop_pair(a, b)

    ways = (sum(map(pair, chosen, shorter)) for chosen in permutations(longer, len(shorter)))
    assert drop_f1(", ".join(given_spans), gold) == pytest.approx(round(max(ways) / len(longer), 2))


def test_drop_numbers_must_be_shared() -> None:
    assert drop_pair("7 yards", "8 yards") == 0.0 and drop_pair("7.0 yards", "7 yards") == 1.0
    assert drop_pair("a field goal", "field goal") == 1.0 and drop_pair("goal", "field goal") == pytest.approx(2 / 3)
    assert verify("drop", "1,234", "1234").score == 1.0


def test_the_ladder_falls_to_guesses_and_says_so() -> None:
    sure = verify("choice", "Therefore, the answer is: B", "B")
    assert sure.reason == "the phrase asked for"
    guess = verify("choice", "It should be (B)", "B")
    assert guess.outcome == "right" and guess.reason.startswith("fallback: a letter in brackets")
    assert verify("choice", "It should be (B)", "B", {"fallbacks": False}).outcome == "unparsable"
    assert verify("choice", "The answer is a dog", "A").outcome == "unparsable"
    assert verify("choice", "Option C seems correct.", "C").outcome == "right"
    with pytest.raises(BactrianError, match="expected a letter from A to J"):
        check_verifiers([{"dataset": "choice", "ground_truth": "Paris"}], "rows")


def test_form_gates_correctness() -> None:
    told = {"then": "math", "boxed": True}
    good = "<think>half of one</think>It is \\boxed{0.5}."
    assert verify("gated", good, "\\frac12", told).score == 1.0
    for bad in ("It is \\boxed{0.5}.", "<think>a</think>It is 0.5.", good.replace("0.5", "0.6"), good + "</think>"):
        assert verify("gated", bad, "\\frac12", told).score == 0.0
    assert verify("gated", "half of one</think>\\boxed{0.5}", "\\frac12", told | {"opened": True}).score == 1.0
    for then, message in (("gated", "another verifier"), ("code", "sandbox of its own"), ("mat", "mean .math")):
        with pytest.raises(BactrianError, match=message):
            check_verifiers([{"dataset": "gated", "ground_truth": "1", "settings": {"then": then}}], "rows")


def test_length_falls_off_linearly() -> None:
    assert verify("length", "a b c d", "2", {"cap": 4.0}).score == 0.5
    assert verify("length", "a " * 50, "2", {"cap": 4}).score == 0.0
    assert verify("length", "a b c", "2", {"tolerance": 0.5}).outcome == "right"


def test_bbh_targets_are_right_after_the_phrase_and_others_are_not() -> None:
    asked = rows("bbh.dev.jsonl")
    told = [Item("bbh", f"Let's see. So the answer is {row['target']}.", row["target"]) for row in asked]
    assert Counter(v.outcome for v in verify_all(told)) == {"right": len(asked)}
    shifted = [
        Item("bbh", f"So the answer is {other['target']}.", row["target"])
        for row, other in pairwise(asked)
        if row["target"].lower() != other["target"].lower()
    ]
    assert {v.outcome for v in verify_all(shifted)} == {"wrong"}


def test_drop_completions_are_right() -> None:
    asked = rows("drop_dev.dev.jsonl.gz")[:2000]
    found = verify_all([Item("drop", row["ref_text"].split("|")[0], row["ref_text"]) for row in asked])
    assert sum(v.outcome == "right" for v in found) >= 0.995 * len(found)
