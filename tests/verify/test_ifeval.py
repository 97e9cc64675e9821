"""IFEval: the published verdicts, loose never the stricter, each constraint; the constraints for training."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.verify import check_verifiers, self_check, verify
from bactrian.verify.instructions.constraints import CONSTRAINTS
from bactrian.verify.instructions.ifeval import drop_nulls, followed, many, one, variants
from bactrian.verify.instructions.training_constraints import TRAINING, ask

pytest.importorskip("nltk")
pytest.importorskip("langdetect")

DATA = Path(__file__).parents[3] / "shared" / "data"
RANDOM_LETTERS = {1122: "#", 1129: "!"}
"""Prompts that count a sign which is no letter: the published checks then count a letter drawn at random instead."""
PUBLISHED = {
    "ifeval_gpt4_responses_verdicts.jsonl": {("strict", ()), ("loose", (1122, 1174))},
    "ifeval_verdicts_qwen2_5-1_5b.jsonl": {("strict", (1122, 1129)), ("loose", (1122, 1129))},
}
"""All prompts on which an instruction's verdict differs. 1174: one reading's sentences are counted otherwise by the
published model of Punkt than by ours."""


def rows(name: str) -> list[dict[str, object]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here (real data is not part of the repository)")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_verdicts(name: str) -> None:
    asked = {str(row["prompt"]).strip(): row for row in rows("ifeval_input_data.jsonl")}
    differ: dict[str, list[int]] = {"strict": [], "loose": []}
    same, n = {"strict": 0, "loose": 0}, 0
    for row in rows(name):
        source = asked.get(str(row["prompt"]).strip())
        if source is None:  # one prompt of the second file asks for one placeholder where the set now asks for three
            continue
        n += 1
        instructions = [
            (i, drop_nulls(k)) for i, k in zip(source["instruction_id_list"], source["kwargs"], strict=True)
        ]
        kept = {mode: followed(row["response"], instructions, CONSTRAINTS, mode == "loose") for mode in differ}
        assert all(loose or not strict for strict, loose in zip(kept["strict"], kept["loose"], strict=True))
        for mode, found in kept.items():
            same[mode] += all(found) == row[f"{mode}_all"]
            if list(found) != row[f"{mode}_list"]:
                differ[mode].append(source["key"])
    assert n == 540 and min(same.values()) >= 0.995 * n
    assert {(mode, tuple(sorted(keys))) for mode, keys in differ.items()} == PUBLISHED[name]


def test_every_prompt_of_the_set_can_be_judged() -> None:
    problems = [
        {"dataset": "ifeval", "ground_truth": json.dumps(row | {"prompt": ""})}
        for row in rows("ifeval_input_data.jsonl")
    ]
    check_verifiers(problems, "ifeval")
    used = {name for row in problems for name in json.loads(row["ground_truth"])["instruction_id_list"]}
    assert used == set(CONSTRAINTS)


@pytest.mark.parametrize("name", ["ifeval", "ifeval_strict", "instructions"])
def test_own_examples(name: str) -> None:
    self_check(name)


texts = st.text(alphabet='ab AB.,!?"*-<>[]\n1{}', max_size=60)
CHEAP = [
    one("punctuation:no_comma"),
    one("startend:quotation"),
    one("startend:end_checker", end_phrase="a."),
    one("detectable_format:title"),
    one("detectable_format:number_bullet_lists", num_bullets=1),
    one("detectable_format:number_highlighted_sections", num_highlights=1),
    one("detectable_content:number_placeholders", num_placeholders=1),
    one("length_constraints:number_words", num_words=3, relation="less than"),
    one("length_constraints:number_sentences", num_sentences=2, relation="at least"),
    one("length_constraints:number_paragraphs", num_paragraphs=2),
    one("length_constraints:nth_paragraph_first_word", num_paragraphs=1, nth_paragraph=1, first_word="a"),
    one("combination:two_responses"),
    one("keywords:letter_frequency", letter="a", let_frequency=2, let_relation="less than"),
    one("keywords:forbidden_words", forbidden_words=["a"]),
    one("keywords:existence", keywords=["ab"]),
    one("change_case:capital_word_frequency", capital_frequency=1, capital_relation="at least"),
]


@settings(max_examples=200)
@given(texts, st.lists(st.sampled_from(CHEAP), min_size=1, max_size=3))
def test_loose_is_never_stricter(text: str, asked: list[str]) -> None:
    parts = [(item["instruction_id_list"][0], item["kwargs"][0]) for item in map(json.loads, asked)]
    strict, loose = verify("ifeval_strict", text, many(*parts)), verify("ifeval", text, many(*parts))
    assert loose.score >= strict.score
    assert loose.outcome == "right" or strict.outcome != "right"


@given(texts)
def test_variants_are_parts_of_the_text(text: str) -> None:
    found = list(variants(text))
    assert len(found) <= 8 and all(form.strip() for form in found)
    assert (text in found) == bool(text.strip())


RULES = [
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a *** b", "***a***b***"], ["a", "a ****** b"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Bees"},
        ["a\n\n'bees, and", 'a\n\n"Bees" fly'],
        ["a\n\nbee", "bees\n\na", "a\n\nb\n\nbees", "a\n\n\n\nbees"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["x p. p. s it", "P.P.S. a"], ["P.S. a"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["a\nP. S. b"], ["PS: b"]),
    ("keywords:frequency", {"keyword": "bee", "frequency": 2, "relation": "at least"}, ["Bees, BEE"], ["bee"]),
    ("keywords:forbidden_words", {"forbidden_words": ["bee"]}, ["bees"], ["a Bee."]),
    ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}, ["Day 1 Day2"], ["Day 1"]),
    ("detectable_format:constrained_response", {}, ["I say: My answer is no."], ["my answer is no."]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Do it."}, ["do it. Done"], ["Well: do it."]),
    ("startend:end_checker", {"end_phrase": "Bye."}, ['So "bye."'], ["Bye. Or not"]),
    ("change_case:english_capital", {}, ["WE ALL SPEAK ENGLISH HERE"], ["We speak", "..."]),
    ("language:response_language", {"language": "de"}, ["Das ist ein ganz einfacher Satz.", "123"], ["This is it"]),
    ("detectable_format:json_format", {}, ["```JSON\n[1]```", "3"], ["[1", "```js\n1```"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* *b*", "**a** **b**"], ["* * *b*"]),
]


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), RULES, ids=lambda value: str(value)[:40])
def test_rules(name: str, arguments: dict[str, object], right: list[str], wrong: list[str]) -> None:
    for text in right:
        assert CONSTRAINTS[name](text, **arguments), text
    for text in wrong:
        assert not CONSTRAINTS[name](text, **arguments), text


TRAINING_RULES = [
    ("verify_keywords", {"keyword_list": ["bee", "ant"]}, ["Bees and ants"], ["bees"]),
    ("verify_keyword_frequency", {"word": "bee", "N": 1}, ["a Bee."], ["bees", "bee bee"]),
    ("validate_forbidden_words", {"forbidden_words": ["bee"]}, ["ants"], ["Bees"]),
    ("verify_letter_frequency", {"letter": "a", "N": 2}, ["aA a"], ["aaa", "a"]),
    ("validate_response_language", {"language": "en"}, ["This is an English sentence."], ["Das ist es nicht.", "1"]),
    ("verify_paragraph_count", {"N": 2}, ["a\n* * *\nb", "a *** b"], ["a", "a * * *", "a * * * b * * * c"]),
    ("validate_word_constraint", {"N": 2, "quantifier": "at most"}, ["a b", "a"], ["a b c"]),
    ("verify_sentence_constraint", {"N": 3, "quantifier": "around"}, ["Ants. Bees fly.", "Oh. So? No! Hi."], ["Ant."]),
    ("validate_paragraphs", {"N": 2, "first_word": "Bees", "i": 2}, ["a\n\nBees"], ["Bees\n\na", "Bees"]),
    ("verify_postscript", {"postscript_marker": "P.S."}, ["a\n\nP.S. b"], ["a\nP.S.", "P.P.S. b"]),
    ("validate_placeholders", {"N": 2}, ["[a] [b]"], ["[a]", "[] []", "[[a]"]),
    ("verify_bullet_points", {"N": 2}, ["* a\n- b"], ["* a", "**a**\n* b", "---\n* a"]),
    ("validate_title", {}, ["<<A>>"], ["<<>>", "<< >>", "<A>"]),
    ("validate_choice", {"options": ["yes", "no", "not at all"]}, ["It is no.", "not at all"], ["yes or no", "nope"]),
    ("validate_highlighted_sections", {"N": 2}, ["*a* **b**"], ["**a**", "****", "* a * b"]),
    ("validate_sections", {"N": 2, "section_splitter": "Part"}, ["Part 1 a\nPART 2 b"], ["Part 1 Part 1", "Part"]),
    ("validate_json_format", {}, ['{"a": 1}', "```json\n[1]\n```"], ["1", "{a: 1}", 'x {"a": 1}', "[" * 5000]),
    ("validate_repeat_prompt", {"original_prompt": "Do it."}, ["Do it. Done."], ["Do it.", "do it. Done."]),
    ("validate_two_responses", {}, ["a ****** b"], ["a ****** a", "a ******", "a ****** b ****** c"]),
    ("validate_uppercase", {}, ["A B1"], ["Ab", "1"]),
    ("validate_lowercase", {}, ["a b1"], ["Ab", "1"]),
    ("validate_frequency_capital_words", {"N": 2, "quantifier": "at least"}, ["USA or EU"], ["Usa EU"]),
    ("validate_end", {"end_phrase": "Bye."}, ["So bye. Bye.\n"], ["Bye. Or not"]),
    ("validate_quotation", {}, ['"a"'], ['""', '"a']),
    ("validate_no_commas", {}, ["a"], ["a, b"]),
]


def test_the_training_set_has_25_constraints_each_with_a_rule() -> None:
    assert len(TRAINING) == 25 == len(CONSTRAINTS) and {rule[0] for rule in TRAINING_RULES} == set(TRAINING)


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), TRAINING_RULES, ids=lambda value: str(value)[:40])
def test_training_rules(name: str, arguments: dict[str, object], right: list[str], wrong: list[str]) -> None:
    for text in right:
        assert verify("instructions", text, ask(name, **arguments)).score == 1.0, text
    for text in wrong:
        assert verify("instructions", text, ask(name, **arguments)).score == 0.0, text


def test_part_marks_or_all_or_nothing() -> None:
    both = json.dumps([{"func_name": "validate_no_commas"}, {"func_name": "validate_lowercase"}])
    assert verify("instructions", "No comma", both).score == 0.5
    assert verify("instructions", "No comma", both, {"credit": "all"}).score == 0.0
    assert verify("instructions", "no comma", both, {"credit": "all"}).score == 1.0
    assert verify("instructions", "Sure:\nno comma", both, {"loose": True}).score == 1.0


@pytest.mark.parametrize(
    ("truth", "given", "message"),
    [
        ("no JSON", {}, "expected JSON"),
        ("[]", {}, 'expected an object with "func_name"'),
        (ask("validate_no_comma"), {}, "no constraint is called 'validate_no_comma'"),
        (ask("validate_end"), {}, "missing a required argument: 'end_phrase'"),
        (ask("validate_no_commas"), {"credit": "some"}, "expected one of partial, all"),
    ],
)
def test_bad_rows_are_named(truth: str, given: dict[str, object], message: str) -> None:
    row = {"dataset": "instructions", "ground_truth": truth, "settings": given}
    with pytest.raises(BactrianError, match=f"rows, row 1, field 'ground_truth': .*{message}"):
        check_verifiers([row], "rows")
