"""The development suite: what settings are chosen by [Tülu 3, Lambert et al. 2024]. Safety is in safety.py."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bactrian.data.io.code_tasks import humaneval_problems, mbpp_problems
from bactrian.data.io.elsewhere import CALCULATOR, FINAL
from bactrian.evaluate.catalogue import exemplars
from bactrian.evaluate.prompting import shots
from bactrian.evaluate.task import Preamble, Question, Row, Task, TaskSource

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DEV = ("dev",)
CANARY = "-----\n"


def gsm8k(row: Row) -> Sequence[Question]:
    """question, answer: worked steps and a last line "#### N"."""
    worked = CALCULATOR.sub("", row["answer"]).strip()
    final = FINAL.search(worked)
    if final is None:
        raise ValueError("no last line '#### N'")
    return [
        Question(
            f"Question: {row['question'].strip()}", final[1].replace(",", ""), solution=worked[: final.start()].strip()
        )
    ]


def letter_of(answer: Any, count: int) -> str:
    """A letter, or an index from 0, as a letter.

    Raises:
        ValueError: for neither.
    """
    letter = LETTERS[answer] if isinstance(answer, int) and 0 <= answer < count else answer
    if not isinstance(letter, str) or len(letter) != 1 or letter not in LETTERS[:count]:
        raise ValueError(f"answer: found {answer!r}, expected one of {', '.join(LETTERS[:count])} or an index")
    return letter


def listed(question: str, choices: Sequence[str], mark: str = "{}. {}") -> str:
    return "\n".join([question, *(mark.format(LETTERS[i], text) for i, text in enumerate(choices))])


def mmlu(row: Row) -> Sequence[Question]:
    """subject, question, choices, answer (a letter, or an index from 0)."""
    choices = row["choices"]
    letter = letter_of(row["answer"], len(choices))
    text = listed(str(row["question"]).strip(), choices)
    options = tuple(LETTERS[: len(choices)])
    return [Question(text, letter, options, (options.index(letter),), group=row["subject"])]


def subject_in_words(subject: str) -> str:
    return subject.replace("_", " ")


def mmlu_preambles(rows: Sequence[Row]) -> dict[str, Preamble]:
    """The five exemplars of each subject, and the sentence that the published set-up begins with."""
    made: dict[str, Preamble] = {}
    for subject in dict.fromkeys(row["subject"] for row in rows):
        mine = [mmlu(row)[0] for row in rows if row["subject"] == subject][:5]
        sentence = f"The following are multiple choice questions (with answers) about {subject_in_words(subject)}.\n\n"
        made[subject] = Preamble(sentence, shots(*((f"{each.prompt}\nAnswer:", each.truth) for each in mine)))
    return made


CHOOSE = (
    "Answer the following multiple-choice question. Give your reasoning in a few sentences, then end with a line "
    '"Therefore, the answer is: X", where X is the letter of the right option.\n\n'
)


def popqa(row: Row) -> Sequence[Question]:
    """question, and golden_answers or possible_answers: a list, or one as JSON."""
    golds = row.get("golden_answers", row.get("possible_answers"))
    golds = json.loads(golds) if isinstance(golds, str) else golds
    group = str(row["metadata"]["prop"]) if isinstance(row.get("metadata"), Mapping) else str(row.get("prop", ""))
    return [Question(f"Q: {row['question'].strip()}", json.dumps([str(each) for each in golds]), group=group)]


def truthfulqa(row: Row) -> Sequence[Question]:
    """The published CSV's columns (answers parted by ";"), or the Hub's `mc2_targets` {choices, labels}."""
    if "mc2_targets" in row:
        options, labels = row["mc2_targets"]["choices"], row["mc2_targets"]["labels"]
    else:
        sides = [_answers(row[f"{side} answers"]) for side in ("correct", "incorrect")]
        best = _answers(row["best answer"])[0]
        true = [best, *(each for each in sides[0] if each != best)]
        options, labels = [*true, *sides[1]], [1] * len(true) + [0] * len(sides[1])
    right = tuple(number for number, label in enumerate(labels) if label)
    return [
        Question(
            f"Q: {row['question'].strip()}", str(options[0]), tuple(options), right, group=str(row.get("category", ""))
        )
    ]


def _answers(text: str) -> list[str]:
    return [each.strip() for each in text.split(";") if each.strip()]


def bbh(row: Row) -> Sequence[Question]:
    """task, input, target."""
    return [Question(f"Q: {row['input']}", str(row["target"]), group=str(row["task"]))]


def bbh_preambles(rows: Sequence[Row]) -> dict[str, Preamble]:
    """Of each task's file of prompts the description and three worked exemplars; its canary line is left out."""
    made = {}
    for row in rows:
        text = row["cot_prompt"].rpartition(CANARY)[2]
        description, *worked = re.split(r"\n\nQ: ", text.strip())
        pairs = [re.split(r"\nA: Let's think step by step\.\s*", each, maxsplit=1) for each in worked]
        made[row["task"]] = Preamble(
            description.strip() + "\n\n",
            shots(*((f"Q: {asked.rstrip()}{BBH_CUE}", answer.strip()) for asked, answer in pairs)),
        )
    return made


BBH_CUE = "\nA: Let's think step by step.\n"


def drop(row: Row) -> Sequence[Question]:
    """context and ref_text (annotations parted by "|"), or the Hub's passage, question, answers_spans."""
    if "ref_text" in row:
        prompt, truth = row["context"].strip().removesuffix("Answer:").strip(), row["ref_text"]
        passage = prompt.rpartition("\nQuestion:")[0]
    else:
        passage = f"Passage: {row['passage'].strip()}"
        prompt = f"{passage}\nQuestion: {row['question'].strip()}"
        spans = list(dict.fromkeys(row["answers_spans"]["spans"]))
        truth = json.dumps(spans) if len(spans) > 1 else spans[0]
    return [Question(prompt, truth, cluster=passage[:200])]


def boxed(row: Row) -> Sequence[Question]:
    """problem, and answer or a solution with a box; level, and subject or type."""
    from bactrian.verify.maths.solution import boxed as last_box

    answer = row.get("answer") or last_box(row["solution"])
    if not answer:
        raise ValueError("neither an 'answer' nor a \\boxed one in 'solution'")
    return [
        Question(
            f"Problem:\n{row['problem'].strip()}",
            str(answer),
            group=row.get("type", row.get("subject", "")),
            solution=row.get("solution", ""),
        )
    ]


def ifeval(row: Row) -> Sequence[Question]:
    """prompt, instruction_id_list, kwargs."""
    truth = json.dumps({key: row[key] for key in ("instruction_id_list", "kwargs")})
    return [Question(row["prompt"], truth, id=str(row["key"]) if "key" in row else "")]


def humaneval(row: Row) -> Sequence[Question]:
    """HumanEval's and HumanEval+'s own layouts."""
    (made,) = humaneval_problems([row], "HumanEval", "code", "")
    return [coding(made, row)]


def coding(made: Row, row: Row) -> Question:
    return Question(
        made["messages"][-1]["content"], made["ground_truth"], id=str(row["task_id"]), solution=made["solution"]
    )


def mbpp(row: Row) -> Sequence[Question]:
    """MBPP's own layout; the first test is shown, as it says what the function is called."""
    (made,) = mbpp_problems([row], "MBPP", "code", "", 1)
    return [coding(made, row)]


NEXT = ("\nQuestion:", "\nQ:", "\n\nQuestion", "\n\nQ:")
"""A model that goes on with a question of its own has answered."""
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "samples": 20, "k": 10, "metric": "pass_at_k"}
MMLU_TEST = TaskSource(("mmlu_test",), "cais/mmlu", "test", "all")
MMLU_DEV = TaskSource(("mmlu_dev",), "cais/mmlu", "dev", "all")

TASKS: tuple[Task, ...] = (
    Task(
        "mmlu",
        DEV,
        "knowledge",
        MMLU_TEST,
        mmlu,
        form="rank",
        metric="acc",
        macro=True,
        format="plain",
        exemplars=MMLU_DEV,
        preambles=mmlu_preambles,
        cue="\nAnswer:",
        keep_cue=True,
    ),
    Task(
        "mmlu_cot",
        DEV,
        "knowledge",
        MMLU_TEST,
        mmlu,
        verifier="choice",
        macro=True,
        max_new_tokens=1024,
        preamble=Preamble(CHOOSE),
    ),
    Task(
        "popqa",
        DEV,
        "knowledge",
        TaskSource(("popqa",), "akariasai/PopQA"),
        popqa,
        verifier="contains",
        cue="\nA:",
        preamble=exemplars.POPQA,
        max_new_tokens=15,
        stop=("\n",),
    ),
    Task(
        "truthfulqa",
        DEV,
        "knowledge",
        TaskSource(("truthfulqa",), "truthfulqa/truthful_qa", "validation", "multiple_choice"),
        truthfulqa,
        form="rank",
        metric="mc2",
        others=("mc1",),
        format="plain",
        cue="\nA:",
        keep_cue=True,
        preamble=exemplars.TRUTHFULQA,
        note="exemplars in our own wording",
    ),
    Task(
        "bbh",
        DEV,
        "reasoning",
        TaskSource(("bbh.dev", "bbh.jsonl", "bbh_test"), "lukaemon/bbh"),
        bbh,
        verifier="bbh",
        exemplars=TaskSource(("bbh_cot_prompts",)),
        preambles=bbh_preambles,
        cue=BBH_CUE,
        keep_cue=True,
        joint="",
        macro=True,
        max_new_tokens=512,
        stop=("\n\nQ:", "\nQ:"),
    ),
    Task(
        "drop",
        DEV,
        "reasoning",
        TaskSource(("drop_dev", "drop_validation"), "ucinlp/drop", "validation"),
        drop,
        metric="score",
        verifier="drop",
        cue="\nAnswer:",
        preamble=exemplars.DROP,
        max_new_tokens=100,
        stop=("\n",),
        note="exemplars in our own wording",
    ),
    Task(
        "math",
        DEV,
        "maths",
        TaskSource(("math_test",), "EleutherAI/hendrycks_math"),
        boxed,
        verifier="math",
        preamble=exemplars.MATH,
        cue="\n\nSolution:",
        macro=True,
        max_new_tokens=1024,
        stop=("\nProblem:",),
        note="exemplars in our own wording",
    ),
    Task(
        "gsm8k",
        DEV,
        "maths",
        TaskSource(("gsm8k_test",), "openai/gsm8k", "test", "main"),
        gsm8k,
        verifier="gsm8k",
        preamble=exemplars.GSM8K,
        cue="\nAnswer:",
        max_new_tokens=512,
        stop=NEXT,
        note="exemplars in our own wording",
    ),
    Task(
        "humaneval",
        DEV,
        "coding",
        TaskSource(("humaneval.", "human_eval"), "openai/openai_humaneval"),
        humaneval,
        verifier="code",
        max_new_tokens=512,
        **SAMPLED,
    ),
    Task(
        "humaneval_plus",
        DEV,
        "coding",
        TaskSource(("humanevalplus", "humaneval_plus"), "evalplus/humanevalplus"),
        humaneval,
        verifier="code",
        max_new_tokens=512,
        **SAMPLED,
    ),
    Task(
        "ifeval",
        DEV,
        "instructions",
        TaskSource(("ifeval_input", "ifeval."), "google/IFEval", "train"),
        ifeval,
        verifier="ifeval",
        also=("ifeval_strict",),
        max_new_tokens=2048,
    ),
)
