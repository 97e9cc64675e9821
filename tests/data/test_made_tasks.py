"""Programs and constraints made by rules: what is asked, what is tested and what is right agree."""

import ast
import json
import re
from typing import get_args

import pytest

from bactrian.data.io.problem_rows import split_of
from bactrian.data.synth.instructed import APART, CONSTRAINTS, constraints
from bactrian.data.synth.programs import KINDS, programs
from bactrian.errors import BactrianError
from bactrian.stages.data.problem_sources import ConstraintKind, FunctionKind
from bactrian.verify import verify

PROGRAMS = list(programs(3, 150))
PROMPTS = list(constraints(3, 300))


def program_of(row: dict[str, str]) -> str:
    return row["solution"].removeprefix("```python\n").removesuffix("\n```")


def passes(row: dict[str, str]) -> bool:
    names: dict[str, object] = {}
    exec(program_of(row), names)  # noqa: S102  our own text
    tests = json.loads(row["ground_truth"])["tests"]
    return all(eval(test.removeprefix("assert "), names) is True for test in tests)  # noqa: S307  likewise


def test_solutions_pass_the_tests_which_were_made_apart_from_them() -> None:
    assert not [row["solution"] for row in PROGRAMS if not passes(row)]


def test_the_stage_offers_every_kind() -> None:
    assert get_args(FunctionKind) == tuple(KINDS) and get_args(ConstraintKind) == tuple(CONSTRAINTS)


def test_no_constant_passes_and_one_test_is_shown() -> None:
    for row in PROGRAMS:
        tests = json.loads(row["ground_truth"])["tests"]
        results = {test.rpartition(" == ")[2] for test in tests}
        assert len(tests) == 5 and len(results) > 1
        question = row["messages"][0]["content"]
        assert tests[0].removeprefix("assert ") in question and split_of(question) == "train"
        name = ast.parse(program_of(row)).body[0].name  # type: ignore[attr-defined]
        assert f"`{name}(" in question and all(test.startswith(f"assert {name}(") for test in tests)


def test_the_sandbox_agrees() -> None:
    """One of each kind: the solution is right, the function that gives back its first argument is not."""
    kept = {re.sub(r"\d|\"\w\"|\w+\(", "", row["solution"].split("return")[1]): row for row in PROGRAMS}
    for row in list(kept.values())[:4]:
        assert verify("code", row["solution"], row["ground_truth"]).outcome == "right"
        lazy = re.sub(r"return .*", "return None", row["solution"])
        assert verify("code", lazy, row["ground_truth"]).outcome == "wrong"


def test_programs_settings() -> None:
    for row in programs(1, 40, kinds=["lists"], tests=3, verifier="code_rate", split="unseen"):
        assert "(xs)" in row["messages"][0]["content"] and row["dataset"] == "code_rate"
        assert len(json.loads(row["ground_truth"])["tests"]) == 3
    for bad in ({"kinds": ["poems"]}, {"kinds": []}, {"tests": 1}):
        with pytest.raises(BactrianError, match="programs"):
            list(programs(0, 1, **bad))  # type: ignore[arg-type]
    with pytest.raises(BactrianError, match="ask for fewer"):  # no endless stream of examples of the same function
        list(programs(0, 5000, kinds=["lists"]))
    assert sum(map(len, KINDS.values())) == 20


KEEPS = {
    "validate_lowercase": "all is small",
    "validate_uppercase": "ALL IS LARGE",
    "validate_no_commas": "one and two",
    "validate_quotation": '"So it is."',
    "validate_title": "<<A day>> It rained.",
}
BREAKS = {
    "validate_lowercase": "Not all",
    "validate_uppercase": "NOT all",
    "validate_no_commas": "one, two",
    "validate_quotation": "So it is.",
    "validate_title": "A day. It rained.",
    "validate_end": "It ends otherwise",
    "verify_keywords": "nothing of it",
    "validate_word_constraint": "word " * 21,
}


def kept(asked: dict[str, object]) -> str:
    """A text that keeps to one constraint."""
    if asked["func_name"] == "validate_end":
        return f"So. {asked['end_phrase']}"
    if asked["func_name"] == "verify_keywords":
        return f"Here it is: {asked['keyword_list'][0]}."  # type: ignore[index]
    if asked["func_name"] == "validate_word_constraint":
        return " ".join(["word"] * asked["N"])  # type: ignore[operator]
    return KEEPS[str(asked["func_name"])]


def test_each_constraint_is_asked_in_words_and_can_be_kept_and_broken() -> None:
    seen = set()
    for row in PROMPTS:
        question = row["messages"][0]["content"]
        for asked in json.loads(row["ground_truth"]):
            told = [
                str(value[0] if isinstance(value, list) else value)
                for key, value in asked.items()
                if key != "func_name"
            ]
            assert all(each in question for each in told)
            seen.add(asked["func_name"])
            truth = json.dumps(asked)
            assert verify("instructions", kept(asked), truth).outcome == "right"
            assert verify("instructions", BREAKS[asked["func_name"]], truth).outcome == "wrong"
    assert len(seen) == len(CONSTRAINTS)


def test_constraints_go_together() -> None:
    """None of the pairs that no text can keep to is asked for, and as many as are possible can be."""
    names = {
        "lowercase": "lower case only",
        "uppercase": "capital letters only",
        "ending": "End your answer",
        "quotation": "quotation marks",
    }
    for row in constraints(2, 200, per_prompt=(2, 4)):
        question = row["messages"][0]["content"]
        assert not any(names[one] in question and names[other] in question for one, other in APART)
        assert 2 <= len(json.loads(row["ground_truth"])) <= 4
    one_each = constraints(2, 30, kinds=["lowercase", "uppercase", "ending"], per_prompt=(1, 1))
    assert {len(json.loads(row["ground_truth"])) for row in one_each} == {1}


def test_constraints_settings() -> None:
    for bad in (
        {"kinds": ["rhyme"]},
        {"kinds": []},
        {"kinds": ["lowercase", "ending"], "per_prompt": (1, 2)},
        {"per_prompt": (2, 1)},
    ):
        with pytest.raises(BactrianError, match="constraints"):
            list(constraints(0, 1, **bad))  # type: ignore[arg-type]
