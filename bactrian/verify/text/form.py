"""Verifiers of form: R1's thinking format, alone or as a gate before another verifier; length."""

import re

from bactrian.verify.registry import register, verifier, verify
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

LENGTH_WORDS = re.compile(r"\S+")
FORMAT_EXAMPLES = (
    Example("<think>2 + 2</think>\n4", "", "right"),
    Example("<think>2 + 2</think>", "", "wrong"),
    Example("4", "", "wrong"),
    Example("<think>a</think><think>b</think>4", "", "wrong"),
    Example("Well, <think>a</think>4", "", "wrong"),
    Example("</think><think>4", "", "wrong"),
    Example("", "", "unparsable"),
)


def well_formed(text: str, opening: str, closing: str, opened: bool) -> str | None:
    """What is wrong with a text that should be one thinking section and then an answer; None if nothing is."""
    text = text.strip()
    text = text if not opened or text.startswith(opening) else opening + text
    if text.count(opening) != 1 or text.count(closing) != 1:
        return f"expected one {opening} and one {closing}, found {text.count(opening)} and {text.count(closing)}"
    if not text.startswith(opening):
        return f"does not begin with {opening}"
    thinking, answer = text.removeprefix(opening).split(closing)
    if not thinking.strip():
        return "the thinking section is empty"
    return None if answer.strip() else "no answer after the thinking section"


def check_tags(problem: Problem) -> None:
    if problem.settings["thinking"] is None:
        raise ValueError("setting 'thinking' is null: there is no thinking section to check")


@register(
    "format",
    examples=FORMAT_EXAMPLES,
    sees_thinking=True,
    settings={"opened": False},
    check_truth=check_tags,
    of_form=True,
)
def thinking_format(problem: Problem, completion: str) -> Verdict:
    """Exactly one thinking section, at the start, not empty, and an answer after it.

    `opened`: the chat template has written the opening tag already.
    """
    if not completion.strip():
        return unparsable("an empty text")
    opening, closing = problem.settings["thinking"]
    fault = well_formed(completion, opening, closing, problem.settings["opened"])
    return Verdict(float(fault is None), "wrong" if fault else "right", None, fault or "well formed")


def check_gate(problem: Problem) -> None:
    check_tags(problem)
    if problem.settings["then"] == "gated":
        raise ValueError("setting 'then': expected another verifier than 'gated'")
    if verifier(problem.settings["then"]).place == "thread":
        raise ValueError(f"setting 'then': {problem.settings['then']} runs in a sandbox of its own and cannot be gated")


@register(
    "gated",
    examples=(
        Example("<think>2 + 2</think>\n#### 4", "4", "right", {"then": "gsm8k"}),
        Example("#### 4", "4", "wrong", {"then": "gsm8k"}),
        Example("<think>2 + 2</think>\n#### 5", "4", "wrong", {"then": "gsm8k"}),
        Example("<think>2 + 2</think>\n\\boxed{4}", "4", "right", {"then": "gsm8k", "boxed": True}),
        Example("<think>2 + 2</think>\n4", "4", "wrong", {"then": "gsm8k", "boxed": True}),
        Example(" ", "4", "unparsable"),
    ),
    sees_thinking=True,
    place="worker",
    settings={"then": "gsm8k", "opened": False, "boxed": False},
    check_truth=check_gate,
)
def gated(problem: Problem, completion: str) -> Verdict:
    """Another verifier's verdict where the form is right, else 0: form alone earns nothing.

    `then` names the verifier; `boxed`: the answer must hold a \\boxed{…} too.
    """
    if not completion.strip():
        return unparsable("an empty text")
    opening, closing = problem.settings["thinking"]
    fault = well_formed(completion, opening, closing, problem.settings["opened"])
    if not fault and problem.settings["boxed"] and "\\boxed{" not in completion.rpartition(closing)[2]:
        fault = "no \\boxed{…} after the thinking section"
    if fault:
        return Verdict(0.0, "wrong", None, f"form: {fault}")
    settings = {"thinking": problem.settings["thinking"]}
    return verify(problem.settings["then"], completion, problem.ground_truth, settings, problem.prompt, problem.earlier)


def check_length(problem: Problem) -> None:
    if not re.fullmatch(r"\s*\d{1,6}\s*", problem.ground_truth):
        raise ValueError(f"found {problem.ground_truth[:40]!r}, expected a number of words")
    if problem.settings["cap"] <= 0:
        raise ValueError(f"setting 'cap': found {problem.settings['cap']}, expected more than 0")


@register(
    "length",
    examples=(
        Example("one two three", "3", "right"),
        Example("one two", "3", "wrong"),
        Example("", "3", "unparsable"),
        Example("<think>one</think>two", "1", "right"),
    ),
    settings={"cap": 100.0, "tolerance": 0.0},
    check_truth=check_length,
    of_form=True,
)
def length(problem: Problem, completion: str) -> Verdict:
    """Score max(0, 1 − |words − target| / cap); right within `tolerance` (a share of the target) of it."""
    words, target = len(LENGTH_WORDS.findall(completion)), int(problem.ground_truth)
    if not words:
        return unparsable("an empty text")
    away = abs(words - target)
    score = max(0.0, 1.0 - away / problem.settings["cap"])
    right = away <= problem.settings["tolerance"] * target
    return Verdict(1.0 if right else score, "right" if right else "wrong", str(words), f"{words} words of {target}")
