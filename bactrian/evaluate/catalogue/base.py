"""What base models are asked: answers ranked by log-probability, short closed-book answers, bits per byte of text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bactrian.evaluate.catalogue import exemplars
from bactrian.evaluate.task import LeftOut, Metric, Question, Row, Task, TaskSource

BASE = ("base",)


def lettered(row: Row, question: str) -> tuple[str, list[str], int]:
    """A question, its choices and the right one's number, of {choices: {label, text}, answerKey} or the like."""
    choices = row["choices"]
    texts, labels = choices["text"], choices["label"]
    return row[question], list(texts), list(labels).index(row["answerKey"].strip())


def arc(row: Row) -> Sequence[Question]:
    question, texts, right = lettered(row, "question")
    return [_ranked(f"Question: {question}", texts, right, id=str(row["id"]))]


def openbookqa(row: Row) -> Sequence[Question]:
    stem, texts, right = lettered(row, "question_stem")
    return [_ranked(stem, texts, right, id=str(row["id"]))]


def commonsense_qa(row: Row) -> Sequence[Question]:
    question, texts, right = lettered(row, "question")
    return [_ranked(f"Question: {question.strip()}", texts, right, id=str(row["id"]))]


def _ranked(prompt: str, options: Sequence[str], right: int, **more: Any) -> Question:
    return Question(prompt, options[right], tuple(options), (right,), **more)


def hellaswag(row: Row) -> Sequence[Question]:
    """activity_label, ctx_a, ctx_b, endings, label; the marks of WikiHow are taken out, as is usual."""
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return [_ranked(_wikihow(context), [_wikihow(each) for each in row["endings"]], int(row["label"]))]


def _wikihow(text: str) -> str:
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def winogrande(row: Row) -> Sequence[Question]:
    """sentence with a gap "_", option1, option2, answer "1" or "2": the same end after two beginnings."""
    before, _, after = row["sentence"].partition("_")
    contexts = tuple(before + row[option] for option in ("option1", "option2"))
    right = int(row["answer"]) - 1
    return [Question(row["sentence"], row[f"option{right + 1}"], (after.strip(),) * 2, (right,), contexts=contexts)]


def boolq(row: Row) -> Sequence[Question]:
    """passage, question, answer (true or false) or label."""
    right = int(row["answer"] if "answer" in row else row["label"])
    return [
        _ranked(f"{row['passage']}\nQuestion: {row['question']}?", ["no", "yes"], right, cluster=row["passage"][:200])
    ]


def piqa(row: Row) -> Sequence[Question]:
    return [_ranked(f"Question: {row['goal']}", [row["sol1"], row["sol2"]], int(row["label"]))]


def social_iqa(row: Row) -> Sequence[Question]:
    options = [row[f"answer{letter}"] for letter in "ABC"]
    return [_ranked(f"Q: {row['context']} {row['question']}", options, int(row["label"]) - 1)]


def copa(row: Row) -> Sequence[Question]:
    joint = {"cause": "because", "effect": "therefore"}[row["question"]]
    options = [row[name][0].lower() + row[name][1:] for name in ("choice1", "choice2")]
    return [_ranked(f"{row['premise'].strip().removesuffix('.')} {joint}", options, int(row["label"]))]


def sciq(row: Row) -> Sequence[Question]:
    options = [row[name] for name in ("distractor1", "distractor2", "distractor3", "correct_answer")]
    return [_ranked(f"{row['support'].lstrip()}\nQuestion: {row['question']}".lstrip(), options, 3)]


def short_answer(row: Row) -> Sequence[Question]:
    """question, and golden_answers, or the Hub's `answer`: a list, or {aliases, value}."""
    golds = row.get("golden_answers")
    if golds is None:
        answer = row["answer"]
        golds = answer["aliases"] if isinstance(answer, Mapping) else answer
    question = row["question"].strip().strip('"').replace('""', '"')
    return [Question(f"Question: {question.rstrip('?')}?", json.dumps([str(each) for each in golds]))]


def arithmetic(row: Row) -> Sequence[Question]:
    question, texts, right = lettered(row, "question")
    return [_ranked(question, texts, right, group=str(row.get("type_tag", "")), id=str(row["id"]))]


def text(row: Row) -> Sequence[Question]:
    """text: a document; or a plain file's line, headings and empty lines left out."""
    if len(row["text"].strip()) <= 200:
        raise LeftOut("a text of 200 characters or fewer")
    return [Question(row["text"])]


NORMS: tuple[Metric, ...] = ("acc", "acc_norm", "acc_token")


def _task(
    name: str,
    build: Callable[[Row], Sequence[Question]],
    source: TaskSource,
    metric: Metric,
    cue: str = "\nAnswer:",
    pmi: bool = False,
) -> Task:
    others = tuple(each for each in (*NORMS, *(("acc_pmi",) if pmi else ())) if each != metric)
    return Task(
        name,
        BASE,
        "base",
        source,
        build,
        form="rank",
        metric=metric,
        others=others,
        cue=cue,
        keep_cue=True,
        format="plain",
    )


def _arc(level: str) -> TaskSource:
    return TaskSource(
        (f"arc-{level.lower()}", f"olmo_val_arc-{level.lower()}"), "allenai/ai2_arc", "test", f"ARC-{level}"
    )


TASKS: tuple[Task, ...] = (
    _task("arc_easy", arc, _arc("Easy"), "acc_norm", pmi=True),
    _task("arc_challenge", arc, _arc("Challenge"), "acc_norm", pmi=True),
    _task("hellaswag", hellaswag, TaskSource(("hellaswag",), "Rowan/hellaswag", "validation"), "acc_norm", cue=""),
    _task(
        "winogrande",
        winogrande,
        TaskSource(("winogrande",), "allenai/winogrande", "validation", "winogrande_xl"),
        "acc",
        cue="",
    ),
    _task("boolq", boolq, TaskSource(("boolq", "olmo_val_boolq"), "google/boolq", "validation"), "acc"),
    _task("piqa", piqa, TaskSource(("piqa", "olmo_val_piqa"), "ybisk/piqa", "validation"), "acc_norm"),
    _task(
        "social_iqa",
        social_iqa,
        TaskSource(("social_i_qa", "olmo_val_social_i_qa"), "allenai/social_i_qa", "validation"),
        "acc",
        cue="\nA:",
    ),
    _task(
        "commonsense_qa",
        commonsense_qa,
        TaskSource(("commonsense_qa", "olmo_val_commonsense_qa"), "tau/commonsense_qa", "validation"),
        "acc_norm",
        pmi=True,
    ),
    _task(
        "openbookqa",
        openbookqa,
        TaskSource(("openbookqa", "olmo_val_openbookqa"), "allenai/openbookqa", "test", "main"),
        "acc_pmi",
        cue="",
        pmi=True,
    ),
    _task("copa", copa, TaskSource(("copa", "olmo_val_copa"), "aps/super_glue", "validation", "copa"), "acc", cue=""),
    _task("sciq", sciq, TaskSource(("sciq", "olmo_val_sciq"), "allenai/sciq", "test"), "acc_norm"),
    _task(
        "basic_arithmetic",
        arithmetic,
        TaskSource(("olmo_val_basic_arithmetic",), "allenai/basic_arithmetic", "validation"),
        "acc",
        cue="",
    ),
    Task(
        "naturalqs",
        BASE,
        "base",
        TaskSource(("nq_", "naturalqs"), "google-research-datasets/nq_open", "validation"),
        short_answer,
        verifier="contains",
        cue="\nAnswer:",
        preamble=exemplars.TRIVIA,
        format="plain",
        max_new_tokens=32,
        stop=("\n",),
    ),
    Task(
        "triviaqa",
        BASE,
        "base",
        TaskSource(("triviaqa",), "mandarjoshi/trivia_qa", "validation", "rc.nocontext"),
        short_answer,
        verifier="contains",
        cue="\nAnswer:",
        preamble=exemplars.TRIVIA,
        format="plain",
        max_new_tokens=32,
        stop=("\n",),
    ),
    Task(
        "bits_wikitext",
        BASE,
        "base",
        TaskSource(("wikitext2", "wikitext"), "Salesforce/wikitext", "validation", "wikitext-2-raw-v1"),
        text,
        form="bits",
        metric="bits",
        format="plain",
        note="lines of more than 200 characters, each by itself",
    ),
    Task(
        "bits_c4",
        BASE,
        "base",
        TaskSource(("c4_demo", "c4"), "allenai/c4", "validation", "en"),
        text,
        form="bits",
        metric="bits",
        format="plain",
    ),
)
