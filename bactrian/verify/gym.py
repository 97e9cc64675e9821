"""The verifier of reasoning-gym's tasks: finds the answer in a completion, and lets the task itself score it."""

import ast
import json
import re
import sys
from functools import cache
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.extras import lacks
from bactrian.verify.maths.gsm8k import last
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

TEXT_LIMIT = 20_000
ANSWER_LIMIT = 4_000
"""A longer answer is not handed to the scorer: some scorers take time that grows fast with it."""
EVALUATING = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
"""Tasks of reasoning-gym 0.1.25 whose scorer calls `eval` on the answer; here they get `ast.literal_eval`."""
RIGHT = 1.0 - 1e-9
MARKER = re.compile(r"\banswer\s?\*{0,2}:\*{0,2}|<answer>", re.IGNORECASE)
NOT_FINITE = re.compile(r"\W*(nan|inf|infinity)\W*", re.IGNORECASE)


def chain_sum(gold: str) -> str:
    return json.dumps({"task": "chain_sum", "answer": gold, "metadata": {}})


EXAMPLES = (
    Example("4 - 1 = 3\n3 - 7 = -4\nAnswer: -4", chain_sum("-4"), "right"),
    Example("I think <answer>-4</answer>, surely.", chain_sum("-4"), "right"),
    Example("so it is\n-4\n\n", chain_sum("-4"), "right"),
    Example("**Answer:** -4\nI hope it is correct.", chain_sum("-4"), "right"),
    Example("<answer>-4", chain_sum("-4"), "right"),
    Example("Answer: 4", chain_sum("-4"), "wrong"),
    Example("Answer: -4\nAnswer: 3", chain_sum("-4"), "wrong"),
    Example("Answer: nan", chain_sum("-4"), "wrong"),
    Example("-4 is in the middle\n5", chain_sum("-4"), "wrong"),
    Example("  \n ", chain_sum("-4"), "unparsable"),
    Example("Answer: " + "9" * 5000, chain_sum("-4"), "unparsable"),
    Example("Answer: -4", "-4", "crashed"),
)


@register("reasoning_gym", examples=EXAMPLES, place="worker")
def reasoning_gym(problem: Problem, completion: str) -> Verdict:
    """Scores with `score_answer` of the task; right iff the score is at least 1 − 1e-9.

    `ground_truth` is a JSON object {"task", "answer", "metadata"}. A lower score, such as the 0.01 to 0.5 that some
    tasks give for form or nearness, stands in `score` and the outcome is "wrong". An exception in the scorer, or a
    score outside [0, 1], is "crashed". "nan" and infinities are wrong whatever the scorer says: complex_arithmetic
    takes nan for right. May be slow, hang, or evaluate the answer as code: give model text to `verify_all`, which runs
    it where it can be killed and is fenced in (worker.py).
    """
    try:
        asked = json.loads(problem.ground_truth)
        task, gold, metadata = asked["task"], asked["answer"], asked["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        reason = f'the ground truth is not a JSON object with "task", "answer" and "metadata": {error!r}'
        return Verdict(0.0, "crashed", None, reason)
    lines = max(1, len(str(gold).strip().splitlines())) if gold is not None else TEXT_LIMIT
    extracted = answer(completion[-TEXT_LIMIT:], lines)
    if not extracted:
        return unparsable("no answer in the text")
    if len(extracted) > ANSWER_LIMIT:
        return unparsable(f"an answer of more than {ANSWER_LIMIT} characters", extracted[:ANSWER_LIMIT])
    if "__" in extracted:
        return Verdict(
            0.0, "unparsable", extracted, "'__' in an answer could be Python code, which some scorers evaluate"
        )
    if NOT_FINITE.fullmatch(extracted) and extracted != gold:
        return Verdict(0.0, "wrong", extracted, "not a finite number")
    try:
        score = float(scorer(task)(extracted, {"question": "", "answer": gold, "metadata": metadata}))
    except BactrianError:
        raise
    except Exception as error:
        return Verdict(0.0, "crashed", extracted, f"the scorer of {task} raised {error!r}"[:300])
    if not 0.0 <= score <= 1.0:
        return Verdict(0.0, "crashed", extracted, f"the scorer of {task} gave {score}, outside [0, 1]")
    return Verdict(score, "right" if score >= RIGHT else "wrong", extracted, f"{task} gave {score:g}")


def answer(text: str, lines: int) -> str:
    """The answer in a text, given how many lines the right one has.

    What stands after the last `Answer:`, or inside the last <answer> tags, whichever comes later; else the last
    non-empty lines. At most `lines` non-empty lines of it, so that chatter after the answer does no harm.
    """
    marker = last(MARKER.finditer(text))
    if marker is None:
        return "\n".join(filled(text)[-lines:]).strip()
    tail = text[marker.end() :]
    if marker[0].startswith("<"):
        return re.split("</answer>", tail, maxsplit=1, flags=re.IGNORECASE)[0].strip()
    return "\n".join(filled(tail)[:lines]).strip()


def filled(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@cache
def scorer(task: str) -> Any:
    """`score_answer` of a task.

    Raises:
        BactrianError: if reasoning-gym is not installed or has no such task.
    """
    try:
        from reasoning_gym.factory import DATASETS, get_score_answer_fn
    except ImportError:
        raise lacks("answers to reasoning-gym's problems", "problems") from None
    if task not in DATASETS:
        raise BactrianError(f"reasoning-gym has no task {task!r}; it has {', '.join(sorted(DATASETS))}")
    if task in EVALUATING:
        vars(sys.modules[DATASETS[task][0].__module__])["eval"] = ast.literal_eval
    return get_score_answer_fn(task)
