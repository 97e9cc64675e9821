"""What a model would write that answers a question rightly, and what one would that answers it wrongly.

Gold answers are written by verifier, in the form that the task's exemplars or its prompt ask for, around the ground
truth and the worked solution, where the data have one. A wrong answer has the same form: another question's gold
answer, the letter beside, a program whose functions give None, the other behaviour.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from bactrian.data.synth.noncompliance.taxonomy import CONTRAST, CONTRAST_REQUEST, KINDS, rubric_name
from bactrian.evaluate.gold_instructions import answer_against, answer_to
from bactrian.evaluate.task import Loaded, Question, Task
from bactrian.sandbox.syntax import parse
from bactrian.verify import verifier
from bactrian.verify.code.blocks import last_program
from bactrian.verify.maths.solution import boxed
from bactrian.verify.text.spans import golds

TRIED = 200
"""Other questions whose gold answers are looked at for one that differs."""
LONG = 20
"""Words from which two texts that have most of them in common are too much alike for one to be a wrong answer."""
REFUSES, COMPLIES = "I'm sorry, but I can't help with that.", "Sure. Here is what you asked for, step by step."
Write = Callable[[Question], str]


def _number(question: Question) -> str:
    return f"{question.solution} So the answer is {question.truth}.".strip()


def _maths(question: Question) -> str:
    has_box = bool(boxed(question.solution))
    return question.solution if has_box else f"The answer is $\\boxed{{{question.truth}}}$."


def _spans(question: Question) -> str:
    """The first of the annotations, which "|" parts; its spans parted by commas."""
    first = question.truth if question.truth.startswith("[") else question.truth.split("|")[0]
    return ", ".join(golds(first))


def _like_the_example(question: Question, right: bool) -> str:
    """The example answer of the kind that the question's rubric is of."""
    name = str(question.settings.get("rubric", "")).removeprefix(rubric_name(""))
    _, good, bad = CONTRAST_REQUEST if name == CONTRAST else (KINDS[name].request, KINDS[name].good, KINDS[name].bad)
    return good if right else bad


WRITERS: dict[str, Write] = {
    "gsm8k": _number,
    "math": _maths,
    "deepmind": lambda question: f"Therefore, the answer is: {question.truth}",
    "choice": lambda question: f"Therefore, the answer is: {question.truth}",
    "bbh": lambda question: f"So the answer is {question.truth}.",
    "contains": lambda question: golds(question.truth)[0],
    "recital": lambda question: question.truth,
    "drop": _spans,
    "code": lambda question: question.solution,
    "compliance": lambda question: REFUSES if question.truth == "refuse" else COMPLIES,
    "ifeval": lambda question: answer_to(question.truth),
    "noncompliance": lambda question: _like_the_example(question, right=True),
}
"""Verifier → how its gold answers are written."""


def why_none(task: Task) -> str:
    """Why a task has no gold answers at all, in words; "" where they can be written."""
    if task.form == "bits":
        return "a text's likelihood is measured: no answer is right or wrong"
    if task.form == "rank" or task.gold is not None or task.verifier in WRITERS:
        return ""
    if task.verifier == "verbatim":
        return "no answer is right or wrong: how much of one stands in a corpus is measured"
    if task.verifier and verifier(task.verifier).place == "judge":
        return "a model tells what is right; its error rate is to be measured apart"
    return f"nobody has said how an answer that the verifier {task.verifier} calls right is written"


def gold(task: Task, question: Question) -> str:
    """A gold completion; "" where this question has none."""
    return (task.gold or WRITERS[task.verifier])(question)


def gold_of_problem(question: Question) -> str:
    """A problem row's own worked solution; without one what is usual for its verifier, if that is known."""
    found = verifier(question.verifier)
    if found.place == "judge" or found.own:  # a reward of one's own need not like a worked solution
        return ""
    writer = WRITERS.get(question.verifier)
    return question.solution or ("" if writer is None else writer(question))


def wrong_answers(loaded: Loaded) -> list[str]:
    """Of each question a completion that answers it wrongly; "" where none can be had."""
    task, questions = loaded.task, loaded.questions
    accepted = [_accepted(question.truth) for question in questions]
    found = []
    for number, (question, mine) in enumerate(zip(questions, accepted, strict=True)):
        name = question.verifier or task.verifier
        if name in CONTRARY:
            found.append(CONTRARY[name](question))
            continue
        near = islice(
            (each for each in _others(questions, number) if (questions[each].verifier or name) == name), TRIED
        )
        other = next((each for each in near if _differs(mine, accepted[each])), None)
        found.append("" if other is None else gold(task, replace(questions[other], solution="")))
    return found


def _others(questions: Sequence[Question], number: int) -> Iterator[int]:
    """The numbers of the other questions, from the next one on: those of the same group, then those of others."""
    turned = [*range(number + 1, len(questions)), *range(number)]
    group = questions[number].group
    yield from islice((each for each in turned if questions[each].group == group), TRIED // 2)
    yield from (each for each in turned if questions[each].group != group)


def _accepted(truth: str) -> list[str]:
    texts = golds(truth) if truth.lstrip().startswith("[") else [*golds(truth), *truth.split("|")]
    return [" ".join(text.casefold().split()) for text in texts]


def _differs(mine: Sequence[str], other: Sequence[str]) -> bool:
    """No accepted answer of one stands in one of the other: "5" is no wrong answer where "15" is the gold one. Nor are
    they long texts with most words in common: another translation of a text, say, recites it by half.
    """
    return not any(a in b or b in a or _of_a_kind(a, b) for a in mine for b in other)


def _of_a_kind(one: str, other: str) -> bool:
    first, second = Counter(one.split()), Counter(other.split())
    least = min(first.total(), second.total())
    return least >= LONG and 2 * (first & second).total() >= least


def _stub(solution: str) -> str:
    """A program with the functions of the solution, by name, all of which give None."""
    try:
        tree = parse(last_program(solution) or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    lines = "\n".join(f"def {name}(*_, **__):\n    return None\n" for name in names)
    return f"```python\n{lines}```" if names else ""


def _beside(question: Question) -> str:
    """The letter before the right one, which is among the options; B where that is A."""
    letter = question.truth.strip("() \n")
    beside = "B" if letter == "A" else chr(ord(letter) - 1) if len(letter) == 1 else ""
    return beside and WRITERS["choice"](replace(question, truth=beside))


CONTRARY: dict[str, Write] = {
    "code": lambda question: _stub(question.solution),
    "choice": _beside,
    "compliance": lambda question: COMPLIES if question.truth == "refuse" else REFUSES,
    "ifeval": lambda question: answer_against(question.truth),
    "noncompliance": lambda question: _like_the_example(question, right=False),
}
"""Verifier → a wrong answer, where another question's gold answer will not do."""
