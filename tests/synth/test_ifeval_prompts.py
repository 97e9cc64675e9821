"""Constraints that stand in one prompt can be kept by one text, for every pair of types that the table allows."""

import json
from collections.abc import Iterator
from itertools import combinations, takewhile
from random import Random

import pytest

from bactrian.data.synth.ifeval_prompts import (
    APART,
    NAMES,
    ONLY_WITH,
    WRITERS,
    allowed_pairs,
    constrained_prompt,
    constraints_truth,
    draw_constraints,
    draw_types,
    together,
)
from bactrian.errors import BactrianError
from bactrian.evaluate.gold_instructions import answer_to
from bactrian.verify import verify
from bactrian.verify.instructions.constraints import CONSTRAINTS

TASK = "Tell me about the old bridge of our town so that I can put it on a sign."


FOREIGN = {
    "de": "die alte Brücke unserer Stadt steht seit vielen Jahren über dem Fluss und alle Leute gehen gern darüber",
    "fr": "le vieux pont de notre ville traverse la rivière depuis longtemps et tous les habitants aiment y passer",
    "es": "el viejo puente de nuestra ciudad cruza el río desde hace muchos años y a toda la gente le gusta pasar",
    "it": "il vecchio ponte della nostra città attraversa il fiume da molti anni e tutti gli abitanti lo amano molto",
    "pt": "a velha ponte da nossa cidade atravessa o rio há muitos anos e todas as pessoas gostam de passar por ela",
}


def texts(truth: str) -> Iterator[str]:
    """Texts that may keep to a truth: that of the gold check, and others where it only writes numbers."""
    text = answer_to(truth)
    yield text
    yield text.replace("*12*", "12 *12*", 1)  # a highlight that begins a line is a bullet too
    code = next((given["language"] for given in json.loads(truth)["kwargs"] if "language" in given), None)
    if code:
        for place in range(len(text) - 7):
            if text[place : place + 8] == "12 34 56":
                yield f"{text[:place]}{FOREIGN[code]} {text[place:]}"


def kept(names: tuple[str, ...], seed: int) -> str:
    """ "" where a text can be made that the verifier says keeps to constraints of these types, else what it said."""
    drawn = draw_constraints(Random(f"{names}/{seed}"), len(names), TASK, names)
    assert {each.name for each in drawn} == set(names)
    truth = constraints_truth(drawn)
    verdicts = (verify("ifeval_strict", text, truth) for text in texts(truth))
    said = [verdict.reason for verdict in takewhile(lambda each: each.outcome != "right", verdicts)]
    return "" if len(said) < len(list(texts(truth))) else f"{names} {truth}: {said}"


def test_there_are_words_for_every_constraint() -> None:
    assert set(WRITERS) == set(CONSTRAINTS) and len(NAMES) == 25
    assert {name for pair in APART for name in pair} | set(ONLY_WITH) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_alone_can_be_kept(name: str) -> None:
    assert not [said for seed in range(4) if (said := kept((name,), seed))]


def test_every_pair_that_the_table_allows_can_be_kept() -> None:
    pairs = allowed_pairs()
    assert not [said for pair in pairs for seed in range(2) if (said := kept(pair, seed))]
    assert len(pairs) > 120, "the table is no excuse"


def test_three_that_go_together_by_pairs_go_together() -> None:
    draw = Random(4)
    triples = {tuple(sorted(draw_types(draw, 3))) for _ in range(100)}
    assert not [said for triple in sorted(triples) if (said := kept(triple, 0))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("change_case:english_capital", "change_case:english_lowercase"),
        ("language:response_language", "change_case:english_capital"),
        ("detectable_format:json_format", "detectable_format:number_bullet_lists"),
        ("combination:two_responses", "length_constraints:number_paragraphs"),
        ("combination:repeat_prompt", "startend:quotation"),
        ("punctuation:no_comma", "combination:repeat_prompt"),
        ("change_case:english_lowercase", "change_case:capital_word_frequency"),
    ],
)
def test_what_contradicts_itself_is_never_drawn(one: str, other: str) -> None:
    assert not together(one, other) and not together(other, one)
    with pytest.raises(BactrianError, match="no 2 of"):
        draw_types(Random(0), 2, (one, other))


def test_draws_go_together_and_reach_every_type() -> None:
    draw, seen = Random(2), set()
    for _ in range(300):
        chosen = draw_types(draw, draw.randint(1, 3))
        seen |= set(chosen)
        assert all(together(a, b) for a, b in combinations(chosen, 2))
    assert seen == set(NAMES)
    with pytest.raises(BactrianError, match="expected some of"):
        draw_types(draw, 1, ("no:such",))


def test_a_relaxed_prompt_lacks_one_constraint_and_the_truth_has_all() -> None:
    drawn = draw_constraints(Random(3), 3, TASK)
    whole, relaxed = constrained_prompt(TASK, drawn), constrained_prompt(TASK, drawn, [drawn[1].name])
    assert whole.startswith(f"{TASK}\n\n") and all(each.words in whole for each in drawn)
    assert drawn[1].words not in relaxed and drawn[0].words in relaxed and drawn[2].words in relaxed
    assert json.loads(constraints_truth(drawn))["instruction_id_list"] == [each.name for each in drawn]
