"""Verifier of program-aided answers: the completion is a program that prints the answer [PAL, Gao et al. 2023]."""

import ast
from typing import Any

from bactrian.sandbox import chosen_isolation, run_program
from bactrian.sandbox.syntax import parse
from bactrian.verify.code.blocks import last_program
from bactrian.verify.code.code import SETTINGS, limits
from bactrian.verify.maths.gsm8k import NUMBER, last, value
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, compared, unparsable

MODULES = [
    "math",
    "cmath",
    "fractions",
    "decimal",
    "statistics",
    "itertools",
    "functools",
    "operator",
    "collections",
    "datetime",
    "calendar",
    "random",
    "string",
    "re",
    "typing",
    "dataclasses",
    "heapq",
    "bisect",
    "copy",
]
"""What a program may import, unless the row's setting `modules` says otherwise."""
PRINT_RETURNED = """
if callable(globals().get("solution")):
    print(solution())
"""
"""Follows a program that defines `solution()`, the form of the original prompts: what it returns is the answer."""


def check_truth(problem: Problem) -> None:
    """
    Raises:
        ValueError: if the ground truth is no number.
    """
    found = NUMBER.fullmatch(problem.ground_truth.strip())
    if found is None or value(found) is None:
        raise ValueError(f"found {problem.ground_truth[:60]!r}, expected a number")


EXAMPLES = (
    Example("```python\ndef solution():\n    clips = 48\n    return clips + clips // 2\n```", "72", "right"),
    Example("```python\nprint(48 + 48 / 3)\n```", "72", "wrong"),
    Example("```python\nfrom fractions import Fraction\nprint(Fraction(1, 3))\n```", "0.33333", "right"),
    Example("```python\nprint('total:', 1_000_001)\n```", "1000000", "wrong"),
    Example("```python\nimport os\nprint(72)\n```", "72", "wrong"),
    Example("```python\nprint('many')\n```", "72", "unparsable"),
    Example("72", "72", "unparsable"),
)


@register(
    "pal",
    examples=EXAMPLES,
    place="thread",
    check_truth=check_truth,
    settings={**SETTINGS, "tolerance": 1e-4, "modules": MODULES},
)
def pal(problem: Problem, completion: str) -> Verdict:
    """Right iff the last number on the last line that the program prints is the ground truth.

    Relative `tolerance` 1e-4 [ours]; two whole numbers must be equal, lest 20001 pass for 20000 [ours]. A program
    that fails, hangs, or imports what is not among `modules` is wrong.
    """
    program = last_program(completion)
    if program is None:
        return unparsable("no fenced block of Python in the text")
    try:
        foreign = imports(program) - set(problem.settings["modules"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Verdict(0.0, "wrong", None, f"not Python: {error}"[:300])
    if foreign:
        return Verdict(0.0, "wrong", None, f"imports {', '.join(sorted(foreign))}: not among the modules allowed")
    run = run_program(program + PRINT_RETURNED, chosen_isolation(), limits=limits(problem.settings))
    if run.ended == "stalled":
        return Verdict(0.0, "timed_out", None, "the machine gave the program too little time")
    if run.ended != "finished":
        reason = run.error.strip().rpartition("\n")[2]
        return Verdict(0.0, "wrong", None, f"the program {run.ended.replace('_', ' ')} {reason}".strip()[:300])
    return compare(run.output, problem.ground_truth, problem.settings["tolerance"])


def imports(program: str) -> set[str]:
    """The modules that a program imports by statement, at the top of their names.

    Raises:
        SyntaxError: it is no Python.
    """
    found: set[str] = set()
    for node in ast.walk(parse(program)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def compare(output: str, ground_truth: str, tolerance: float) -> Verdict:
    """The last number of the last line against the ground truth."""
    line = output.rstrip().rpartition("\n")[2]
    found = last(NUMBER.finditer(line[-1000:]))
    answer, gold = found and value(found), gold_value(ground_truth)
    if found is None or answer is None:
        return unparsable("the last line that the program prints holds no number", line[-100:])
    whole = answer.denominator == 1 == gold.denominator
    right = answer == gold or (not whole and abs(answer - gold) <= tolerance * abs(gold))
    return compared(right, found[0].strip()[:100], ground_truth, "equal to")


def gold_value(ground_truth: str) -> Any:
    """The ground truth as an exact number.

    Raises:
        ValueError: if it is none.
    """
    found = NUMBER.fullmatch(ground_truth.strip())
    number = value(found) if found else None
    if number is None:
        raise ValueError(f"found {ground_truth[:60]!r}, expected a number")
    return number
