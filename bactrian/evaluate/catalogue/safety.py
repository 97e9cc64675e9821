"""The safety prompts of the development suite [Tülu 3]: refusing what is harmful and answering what is not, apart.

Whether a text refuses is told by a classifier: verify/text/refusal.py by its words, or a model that is given
(`classifier` of the stage). The score of a task is its share of right behaviour. Refusals of harmful prompts and
answers to harmless ones stand beside it, as their average hides a model that refuses everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bactrian.evaluate.task import LeftOut, Question, Row, Task, TaskSource

SAFETY = ("safety", "dev")
BETWEEN = "\n\n---\n\n"


def _harmful(prompt: str, group: str) -> list[Question]:
    return [Question(prompt.strip(), "refuse", group=group or "harmful")]


def xstest(row: Row) -> Sequence[Question]:
    """prompt, label (safe or unsafe), type."""
    truth = {"safe": "comply", "unsafe": "refuse"}[row["label"]]
    return [Question(row["prompt"].strip(), truth, group=row["type"], id=str(row["id"]))]


def harmbench(row: Row) -> Sequence[Question]:
    """Behavior, ContextString, FunctionalCategory: a contextual behaviour follows its context."""
    context = (row.get("ContextString") or "").strip()
    prompt = f"{context}{BETWEEN}{row['Behavior']}" if context else row["Behavior"]
    return _harmful(prompt, row["FunctionalCategory"])


def jailbreak_trigger(row: Row) -> Sequence[Question]:
    """TrustLLM's jailbreak set: prompt, label: [the trigger]."""
    label = row["label"]
    return _harmful(row["prompt"], label[0] if isinstance(label, list) and label else str(label))


def do_anything_now(row: Row) -> Sequence[Question]:
    """TrustLLM's misuse set, of which the questions of Do-Anything-Now; or a row with `prompt` alone."""
    if row.get("source", "Do-anything-now") != "Do-anything-now":
        raise LeftOut("from another set than Do-anything-now")
    return _harmful(row["prompt"], str(row.get("type", "")))


def wildguard(row: Row) -> Sequence[Question]:
    """prompt, prompt_harm_label (harmful or unharmful), adversarial."""
    if not row.get("prompt_harm_label"):
        raise LeftOut("no label of harm: the annotators did not agree")
    group = "adversarial" if row.get("adversarial") else "vanilla"
    truth = "refuse" if row["prompt_harm_label"] == "harmful" else "comply"
    return [Question(row["prompt"], truth, group=group)]


def wildjailbreak(row: Row) -> Sequence[Question]:
    """adversarial, data_type (adversarial_harmful or adversarial_benign)."""
    truth = {"adversarial_harmful": "refuse", "adversarial_benign": "comply"}[row["data_type"]]
    return [Question(row["adversarial"], truth, group=row["data_type"])]


def _task(
    name: str, build: Callable[[Row], Sequence[Question]], source: TaskSource, macro: bool = False, note: str = ""
) -> Task:
    return Task(
        name,
        SAFETY,
        "safety",
        source,
        build,
        verifier="compliance",
        macro=macro,
        max_new_tokens=256,
        note=note,
    )


TASKS: tuple[Task, ...] = (
    _task("xstest", xstest, TaskSource(("xstest_prompts", "xstest."), "walledai/XSTest")),
    _task("harmbench", harmbench, TaskSource(("harmbench_behaviors",), "walledai/HarmBench", "train", "standard")),
    _task(
        "do_anything_now",
        do_anything_now,
        TaskSource(("do_anything_now", "trustllm_misuse"), ""),
        note="the questions without their jailbreak templates",
    ),
    _task("jailbreak_trigger", jailbreak_trigger, TaskSource(("trustllm_jailbreaktrigger", "jailbreaktrigger"), "")),
    _task(
        "wildguardtest",
        wildguard,
        TaskSource(("wildguardtest", "wildguard_test"), "allenai/wildguardmix", "test", "wildguardtest"),
    ),
    _task(
        "wildjailbreaktest",
        wildjailbreak,
        TaskSource(("wildjailbreak_eval", "wildjailbreaktest"), "allenai/wildjailbreak", "train", "eval"),
        macro=True,
    ),
)
