"""A stand-in for HumanEval+: hundreds of inputs a task, made from HumanEval's own, in both of its published layouts."""

import ast
import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from bactrian.sandbox import Isolation, Limits, run_program
from bactrian.sandbox.limits import MIB

Row = dict[str, Any]
ORIGINAL = """\
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        np.testing.assert_allclose(out, exp, atol=atol)
    else:
        assert exact_match

"""
"""What the published tests begin with; two tasks compare with `ref_func` instead of `results`."""
WITH_REFERENCE = ("tri", "string_sequence")
UNWRITTEN = {
    "find_zero": [[[1, 2]], [[-6, 11, -6, 1]], [[2, -3, 0, 1]]],
    "decode_cyclic": [["bcaefdgh"]],
    "decode_shift": [["fghb"]],
}
"""Inputs of tasks whose own tests draw theirs at random."""
ALPHABET = "abcdeXYZ019 ,.()"


def base_inputs(row: Row) -> list[list[Any]]:
    """The arguments of each call of `candidate` that a test writes out."""
    found = list(UNWRITTEN.get(row["entry_point"], []))
    for node in ast.walk(ast.parse(row["test"])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "candidate":
            try:
                found.append(listed([ast.literal_eval(each) for each in node.args]))
            except ValueError:
                continue
    return found


def listed(value: Any) -> Any:
    """As it is in a file of JSON: tuples are lists."""
    return [listed(each) for each in value] if isinstance(value, list | tuple) else value


def mutated(value: Any, random: Random) -> Any:
    """Another value of the same type, a step away."""
    if isinstance(value, bool):
        return random.random() < 0.5
    if isinstance(value, int):
        return value + random.choice((-3, -2, -1, 1, 2, 3, value // 2))
    if isinstance(value, float):
        return random.choice((value + random.uniform(-2, 2), value * random.uniform(0.2, 2), float(round(value))))
    if isinstance(value, str):
        return mutated_text(value, random)
    if isinstance(value, list | tuple):
        return type(value)(mutated_items(list(value), random))
    if isinstance(value, dict):
        return {key: mutated(each, random) for key, each in value.items()}
    return value


def mutated_text(text: str, random: Random) -> str:
    place = random.randrange(len(text) + 1)
    letter = random.choice(text + ALPHABET)
    changed = (text[:place] + letter + text[place:], text[:place] + text[place + 1 :], text + text[:place], text[::-1])
    return random.choice(changed)[:100]


def mutated_items(items: list[Any], random: Random) -> list[Any]:
    place = random.randrange(len(items) + 1)
    if items and random.random() < 0.3:
        return items[:place] + items[place + 1 :]
    more = [mutated(random.choice(items), random)] if items else []
    return (items[:place] + more + items[place:])[:40]


def candidates(row: Row, count: int) -> Iterator[list[Any]]:
    """Inputs, each one to four steps from one of the task's own."""
    random, own = Random(row["task_id"]), base_inputs(row)
    for _ in range(count if own else 0):
        arguments = copy.deepcopy(random.choice(own))
        for _ in range(random.randint(1, 4)):
            arguments = [mutated(each, random) for each in arguments]
        yield arguments


FITS = """
import copy, json, signal, sys
class Late(Exception): pass
def late(*_): raise Late
signal.signal(signal.SIGPROF, late)
for arguments in json.loads(sys.stdin.read()):
    written = None
    try:
        signal.setitimer(signal.ITIMER_PROF, {seconds})
        value = {name}(*copy.deepcopy(arguments))
        signal.setitimer(signal.ITIMER_PROF, 0)
        if {name!r} != "find_zero" or abs(poly(*arguments, value)) <= 0.0001:
            written = repr(value)
    except Exception: pass
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps(written))
"""
"""Follows the reference: what it gives for each input, as Python writes it; null where it fails or takes too long."""


def accepted(row: Row, count: int, isolation: Isolation) -> tuple[list[Any], list[Any], list[Any]]:
    """(the task's own inputs, up to `count` more, what the reference gives for all): those on which it succeeds."""
    tried = {json.dumps(each): each for each in (*base_inputs(row), *candidates(row, 2 * count))}
    tried = {text: each for text, each in tried.items() if json.loads(text) == each}
    program = row["prompt"] + row["canonical_solution"] + FITS.format(name=row["entry_point"], seconds=0.05)
    limits = Limits(cpu=120, output=64 * MIB)
    run = run_program(program, isolation, json.dumps(list(tried.values())), limits)
    assert run.ended == "finished", (row["task_id"], run.ended, run.error[-300:])
    written = [json.loads(line) for line in run.output.splitlines()]
    fits = [(each, value(text)) for each, text in zip(tried.values(), written, strict=True) if plain(text)]
    own = base_inputs(row)
    fits = [pair for pair in fits if pair[0] in own] + [pair for pair in fits if pair[0] not in own][:count]
    inputs, results = [each for each, _ in fits], [result for _, result in fits]
    return [each for each in inputs if each in own], [each for each in inputs if each not in own], results


def value(text: str) -> Any:
    return ast.literal_eval(text)


def plain(text: str | None) -> bool:
    """Whether it is written as a literal, as infinities and objects are not."""
    try:
        return text is not None and len(text) < 100_000 and value(text) is not NotImplemented
    except (ValueError, SyntaxError):
        return False


def original(row: Row, inputs: list[Any], results: list[Any], atol: float) -> Row:
    """The layout with a text `test` that imports NumPy. `results` are what the reference gives."""
    name, lines = row["entry_point"], f"    inputs = {inputs!r}\n"
    loop = "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
    if name in WITH_REFERENCE:
        body = row["prompt"] + row["canonical_solution"]
        helper = body.replace(f"def {name}(", "def ref_func(").replace(f"{name}(", "ref_func(")
        loop = "    for i, inp in enumerate(inputs):\n"
        test = (
            f"{helper}\ndef check(candidate):\n{lines}{loop}"
            f"        assertion(candidate(*inp), ref_func(*inp), {atol})\n"
        )
    elif name == "find_zero":
        poly = "def _poly(xs: list, x: float):\n    return sum(coeff * x ** i for i, coeff in enumerate(xs))\n\n"
        test = (
            f"{poly}def check(candidate):\n{lines}    for i, inp in enumerate(inputs):\n"
            f"        assert abs(_poly(*inp, candidate(*inp))) <= 0.0001\n"
        )
    else:
        test = (
            f"def check(candidate):\n{lines}    results = {results!r}\n{loop}"
            f"        assertion(candidate(*inp), exp, {atol})\n"
        )
    fields = ("task_id", "prompt", "canonical_solution", "entry_point")
    return {**{field: row[field] for field in fields}, "test": ORIGINAL + test}


def plus(row: Row, own: list[Any], more: list[Any], atol: float) -> Row:
    """The layout with inputs alone."""
    fields = ("task_id", "prompt", "canonical_solution", "entry_point")
    return {**{field: row[field] for field in fields}, "base_input": own, "plus_input": more, "atol": atol}


def both(row: Row, count: int, isolation: Isolation) -> tuple[Row, Row]:
    """A row of HumanEval in the two layouts, with up to `count` inputs more."""
    own, more, results = accepted(row, count, isolation)
    return original(row, [*own, *more], results, 0), plus(row, own, more, 0)
