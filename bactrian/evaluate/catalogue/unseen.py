"""The unseen suite [Lambert et al. 2024]: looked at with final candidates only, and every look is in the ledger."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from random import Random

from bactrian.data.io.code_tasks import block
from bactrian.evaluate.catalogue.dev import CHOOSE, LETTERS, SAMPLED, letter_of, listed
from bactrian.evaluate.task import LeftOut, Preamble, Question, Row, Task, TaskSource

UNSEEN = ("unseen",)


def mmlu_pro(row: Row) -> Sequence[Question]:
    """question, options (up to ten), answer (a letter) or answer_index, category."""
    options = row["options"]
    letter = letter_of(row.get("answer", row.get("answer_index")), len(options))
    return [Question(listed(row["question"].strip(), options), letter, group=row["category"])]


def gpqa(row: Row) -> Sequence[Question]:
    """Question, Correct Answer, Incorrect Answer 1 to 3: put in an order that the question's own text decides."""
    options = [row["Correct Answer"], *(row[f"Incorrect Answer {number}"] for number in (1, 2, 3))]
    options = [option.strip() for option in options]
    order = list(range(4))
    Random(row["Question"]).shuffle(order)
    text = listed(row["Question"].strip(), [options[number] for number in order], "({}) {}")
    return [Question(text, "ABCD"[order.index(0)], group=str(row.get("High-level domain", "")))]


def agieval(row: Row) -> Sequence[Question]:
    """passage, question, options, label (a letter) or answer; `task` where one file holds several."""
    if not row.get("options"):
        raise LeftOut("no options: MATH's questions, which are asked in the development suite")
    if str(row["label"]) not in LETTERS[: len(row["options"])]:
        raise ValueError(f"label: found {row['label']!r}, expected one of {', '.join(LETTERS[: len(row['options'])])}")
    text = "\n".join(part.strip() for part in (row.get("passage"), row["question"], *row["options"]) if part)
    return [
        Question(text, str(row["label"]), group=str(row.get("task", "")), cluster=str(row.get("passage") or "")[:200])
    ]


HINTS = {
    "comparison__closest": "Answer with the value itself, or with the letter where letters are given.",
    "numbers__is_prime": "Answer True or False.",
    "numbers__is_factor": "Answer True or False.",
    "calculus__differentiate": "Write powers as x**2 and products as 2*x.",
}
"""Per-type hints on the form of an answer; the published ones are not known here [ours]."""
HINT = "Answer with a number, an expression or a list of numbers parted by commas."


def deepmind_math(row: Row) -> Sequence[Question]:
    """question, answer, module: a number, an expression (x**2), a list, True or False, a letter."""
    module = row["module"]
    hint = HINTS.get(module, HINT)
    text = f'{row["question"].strip()}\n\n{hint} Think briefly, then end with a line "Therefore, the answer is: X".'
    return [Question(text, str(row["answer"]).strip(), group=module)]


def bigcodebench(row: Row) -> Sequence[Question]:
    """instruct_prompt, test (a unittest class TestCases), entry_point; libs, what is imported; code_prompt and
    canonical_solution."""
    libs = row.get("libs") or []
    libs = ast.literal_eval(libs) if isinstance(libs, str) else libs
    test = (
        f"{row['test']}\n\n\ndef check(candidate):\n    import unittest\n    outcome = unittest.TestResult()\n"
        f"    unittest.defaultTestLoader.loadTestsFromTestCase(TestCases).run(outcome)\n"
        f"    assert outcome.testsRun and outcome.wasSuccessful()\n"
    )
    truth = json.dumps({"check": test, "entry_point": row["entry_point"], "packages": libs})
    worked = f"{row['code_prompt']}{row['canonical_solution']}" if "canonical_solution" in row else ""
    return [Question(row["instruct_prompt"], truth, id=str(row["task_id"]), solution=worked and block(worked))]


def ifbench(row: Row) -> Sequence[Question]:
    """prompt, instruction_id_list, kwargs, as in IFEval, with other instructions."""
    truth = json.dumps({key: row[key] for key in ("instruction_id_list", "kwargs")})
    return [Question(row["prompt"], truth, id=str(row["key"]) if "key" in row else "")]


TASKS: tuple[Task, ...] = (
    Task(
        "mmlu_pro",
        UNSEEN,
        "knowledge",
        TaskSource(("mmlu_pro", "mmlu-pro"), "TIGER-Lab/MMLU-Pro"),
        mmlu_pro,
        verifier="choice",
        macro=True,
        max_new_tokens=2048,
        preamble=Preamble(CHOOSE),
        asks=("question",),
    ),
    Task(
        "gpqa",
        UNSEEN,
        "knowledge",
        TaskSource(("gpqa",), "Idavidrein/gpqa", "train", "gpqa_main"),
        gpqa,
        verifier="choice",
        max_new_tokens=2048,
        preamble=Preamble(CHOOSE),
        asks=("Question",),
    ),
    Task(
        "agieval",
        UNSEEN,
        "reasoning",
        TaskSource(("agieval",), ""),
        agieval,
        verifier="choice",
        macro=True,
        max_new_tokens=1024,
        preamble=Preamble(CHOOSE),
        note="the tasks with options",
        asks=("passage", "question"),
    ),
    Task(
        "deepmind_math",
        UNSEEN,
        "maths",
        TaskSource(("deepmind_math_test", "dm_math"), ""),
        deepmind_math,
        verifier="deepmind",
        macro=True,
        max_new_tokens=512,
        asks=("question",),
    ),
    Task(
        "bigcodebench",
        UNSEEN,
        "coding",
        TaskSource(("bigcodebench_hard", "bigcodebench"), "bigcode/bigcodebench-hard", "v0.1.4"),
        bigcodebench,
        verifier="code",
        settings={"seconds": 60.0, "test_seconds": 50.0},
        max_new_tokens=1024,
        asks=("instruct_prompt",),
        **SAMPLED,
    ),
    Task(
        "ifbench",
        UNSEEN,
        "instructions",
        TaskSource(("ifbench", "ifeval_ood"), "allenai/IFBench_test", "train"),
        ifbench,
        verifier="ifeval",
        max_new_tokens=2048,
        note="needs verifiers for the instructions that its file names",
        asks=("prompt",),
    ),
)
