"""IFEval: does a text keep to the instructions that can be checked, strictly or with the published leniency."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bactrian.verify.instructions.constraints import CONSTRAINTS, Constraint
from bactrian.verify.registry import register, truth
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

TEXT_LIMIT = 100_000
CREDITS = ("partial", "all")
Instruction = tuple[str, Mapping[str, Any]]


def instructions(problem: Problem) -> list[Instruction]:
    """The (id, arguments) of a ground truth as in IFEval's file: {"instruction_id_list": […],
    "kwargs": [{…}, …]}.

    Arguments that are null are left out.

    Raises:
        ValueError: for another layout.
    """
    asked = truth(problem)
    try:
        ids, given = asked["instruction_id_list"], asked["kwargs"]
    except (TypeError, KeyError):
        raise ValueError('expected an object with "instruction_id_list" and "kwargs"') from None
    if not ids or not isinstance(ids, list) or not isinstance(given, list) or len(ids) != len(given):
        raise ValueError('expected "instruction_id_list" and "kwargs" to be lists of the same length, not empty')
    return [(str(name), drop_nulls(arguments)) for name, arguments in zip(ids, given, strict=True)]


def drop_nulls(arguments: Any) -> dict[str, Any]:
    if not isinstance(arguments, Mapping):
        raise ValueError(f"found the arguments {arguments!r:.60}, expected an object")
    return {str(name): value for name, value in arguments.items() if value is not None}


def check_instructions(asked: Sequence[Instruction], known: Mapping[str, Constraint]) -> None:
    """
    Raises:
        ValueError: for an unknown instruction, or arguments that it does not have or misses.
    """
    for name, arguments in asked:
        if name not in known:
            raise ValueError(f"no instruction is called {name!r}; expected one of {', '.join(known)}")
        try:
            inspect.signature(known[name]).bind("", **arguments)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from None


def check_credit(problem: Problem) -> None:
    """
    Raises:
        ValueError: for a setting `credit` that is not one of CREDITS.
    """
    credit = problem.settings["credit"]
    if credit not in CREDITS:
        raise ValueError(f"setting 'credit': found {credit!r}, expected one of {', '.join(CREDITS)}")


def variants(text: str) -> Iterator[str]:
    """The eight readings of a text that the loose verdict allows, each once, blank ones left out.

    As it is, without its first line, without its last, without both; each also without asterisks.
    """
    lines = text.split("\n")
    cut = ("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))
    for reading in dict.fromkeys(form for each in (text, *cut) for form in (each, each.replace("*", ""))):
        if reading.strip():
            yield reading


def followed(text: str, asked: Sequence[Instruction], known: Mapping[str, Constraint], loose: bool) -> tuple[bool, ...]:
    """Of each instruction, whether the text keeps to it. `loose`: whether one of its variants does."""
    readings = list(variants(text)) if loose else [text] if text.strip() else []
    return tuple(any(known[name](reading, **arguments) for reading in readings) for name, arguments in asked)


def judge(kept: Sequence[bool], names: Sequence[str], credit: str) -> Verdict:
    """The verdict on a text that keeps to `kept` of its instructions: right if all; a part mark if `credit` allows."""
    extracted = json.dumps(list(kept))
    if all(kept):
        return Verdict(1.0, "right", extracted, f"keeps to all {len(kept)}")
    missed = ", ".join(name for name, good in zip(names, kept, strict=True) if not good)
    score = sum(kept) / len(kept) if credit == "partial" else 0.0
    return Verdict(score, "wrong", extracted, f"does not keep to {missed}")


def verdict(
    problem: Problem, completion: str, known: Mapping[str, Constraint], asked: Sequence[Instruction], loose: bool
) -> Verdict:
    if not completion.strip():
        return unparsable("an empty text")
    if len(completion) > TEXT_LIMIT:
        return Verdict(0.0, "wrong", None, f"a text of more than {TEXT_LIMIT:,} characters")
    names = [name for name, _ in asked]
    return judge(followed(completion, asked, known, loose), names, problem.settings["credit"])


def check_truth(problem: Problem) -> None:
    check_credit(problem)
    check_instructions(instructions(problem), CONSTRAINTS)


def one(name: str, **arguments: Any) -> str:
    return many((name, arguments))


def many(*asked: Instruction) -> str:
    return json.dumps({"instruction_id_list": [n for n, _ in asked], "kwargs": [dict(given) for _, given in asked]})


NO_COMMA = one("punctuation:no_comma")
TWO = many(("punctuation:no_comma", {}), ("startend:end_checker", {"end_phrase": "The end."}))
BOTH_EXAMPLES = (
    Example("No comma here.", NO_COMMA, "right"),
    Example("Here, one.", NO_COMMA, "wrong"),
    Example("  \n", NO_COMMA, "unparsable"),
    Example("<think>well, let me see</think>No comma.", NO_COMMA, "right"),
    Example("It is so. The end.", TWO, "right"),
    Example("It is, so. The end.", TWO, "wrong"),
    Example("<<A title>>\ntext", one("detectable_format:title"), "right"),
    Example("<< >>", one("detectable_format:title"), "wrong"),
    Example("* a\n* b\n- c", one("detectable_format:number_bullet_lists", num_bullets=3), "right"),
    Example("one two three", one("length_constraints:number_words", num_words=3, relation="at least"), "right"),
    Example("one two three", one("length_constraints:number_words", num_words=3, relation="less than"), "wrong"),
    Example(
        "It is so. Is it? It is.",
        one("length_constraints:number_sentences", num_sentences=3, relation="at least"),
        "right",
    ),
    Example(
        "Mr. Smith came at 5 p.m. on Monday.",
        one("length_constraints:number_sentences", num_sentences=2, relation="less than"),
        "right",
    ),
    Example('```json\n{"a": 1}\n```', one("detectable_format:json_format"), "right"),
    Example("{'a': 1}", one("detectable_format:json_format"), "wrong"),
    Example("das ist ein deutscher Satz", one("change_case:english_lowercase"), "wrong"),
    Example("THIS IS ALL WRITTEN IN CAPITAL LETTERS", one("change_case:english_capital"), "right"),
    Example("a ****** b", one("combination:two_responses"), "right"),
    Example("a ****** a", one("combination:two_responses"), "wrong"),
)
STRICT_EXAMPLES = (*BOTH_EXAMPLES, Example("Sure, here it is:\nNo comma here.", NO_COMMA, "wrong"))
LOOSE_EXAMPLES = (*BOTH_EXAMPLES, Example("Sure, here it is:\nNo comma here.", NO_COMMA, "right"))


def ifeval(loose: bool) -> Callable[[Problem, str], Verdict]:
    def check(problem: Problem, completion: str) -> Verdict:
        return verdict(problem, completion, CONSTRAINTS, instructions(problem), loose)

    return check


for _name, _loose, _examples in (("ifeval", True, LOOSE_EXAMPLES), ("ifeval_strict", False, STRICT_EXAMPLES)):
    register(
        _name,
        examples=_examples,
        place="worker",
        settings={"credit": "partial"},
        check_truth=check_truth,
        of_form=True,
    )(ifeval(_loose))
