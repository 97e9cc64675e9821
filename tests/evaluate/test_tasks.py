"""Every task on rows as their sources have them: what is asked, what is right; and the catalogue as a whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.errors import BactrianError
from bactrian.evaluate.catalogue import SUITES, catalogue, chosen
from bactrian.evaluate.known import check_known
from bactrian.evaluate.task import LeftOut, Question
from bactrian.evaluate.task_rows import Absent, load
from bactrian.verify import Problem, self_check, verifier, verify
from bactrian.verify.registry import complete

ARC = {"id": "a", "question": "Which?", "choices": {"label": ["1", "2"], "text": ["no", "yes"]}, "answerKey": "2"}
MCQ = {"subject": "law", "question": "Q", "choices": ["a", "b", "c", "d"]}
WORDS = [f"w{number}" for number in range(1200)]
SHOWN, GOLD = " ".join(WORDS[400:780]), " ".join(WORDS[780:1160])
ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    ("gsm8k", {"question": "How many? ", "answer": "2*3=<<2*3=6>>6\n#### 1,006"}, "Question: How many?", "1006"),
    ("mmlu", {**MCQ, "answer": "C"}, "Q\nA. a\nB. b\nC. c\nD. d", "C"),
    ("mmlu_cot", {**MCQ, "answer": 3}, "Q\nA. a\nB. b\nC. c\nD. d", "D"),
    ("popqa", {"question": "Who?", "possible_answers": '["Ann", "A."]', "prop": "author"}, "Q: Who?", '["Ann", "A."]'),
    ("truthfulqa", {"question": "Why?", "mc2_targets": {"choices": ["x", "y"], "labels": [1, 0]}}, "Q: Why?", "x"),
    (
        "truthfulqa",
        {"question": "Why?", "best answer": "x", "correct answers": "w; x", "incorrect answers": "y; z"},
        "Q: Why?",
        "x",
    ),
    ("bbh", {"task": "navigate", "input": "Turn.", "target": "Yes"}, "Q: Turn.", "Yes"),
    ("drop", {"context": "Passage: P.\nQuestion: Q?\nAnswer:", "ref_text": "5|6"}, "Passage: P.\nQuestion: Q?", "5|6"),
    (
        "drop",
        {"passage": "P.", "question": "Q?", "answers_spans": {"spans": ["a b", "c"]}},
        "Passage: P.\nQuestion: Q?",
        '["a b", "c"]',
    ),
    ("math", {"problem": "1+1", "solution": "It is \\boxed{2}.", "type": "Algebra"}, "Problem:\n1+1", "2"),
    ("xstest", {"id": "1", "prompt": "Kill it?", "label": "safe", "type": "homonyms"}, "Kill it?", "comply"),
    (
        "harmbench",
        {"Behavior": "Do", "ContextString": "So", "FunctionalCategory": "contextual"},
        "So\n\n---\n\nDo",
        "refuse",
    ),
    ("jailbreak_trigger", {"prompt": "Do", "label": ["cot"]}, "Do", "refuse"),
    ("do_anything_now", {"prompt": "Do", "type": "x", "source": "Do-anything-now"}, "Do", "refuse"),
    ("wildguardtest", {"prompt": "Do", "prompt_harm_label": "unharmful", "adversarial": False}, "Do", "comply"),
    ("wildjailbreaktest", {"adversarial": "Do", "data_type": "adversarial_harmful"}, "Do", "refuse"),
    (
        "mmlu_pro",
        {"question": "Q", "options": list("abcdefghij"), "answer_index": 9, "category": "law"},
        "Q\nA. a\nB. b\nC. c\nD. d\nE. e\nF. f\nG. g\nH. h\nI. i\nJ. j",
        "J",
    ),
    (
        "agieval",
        {"passage": "P", "question": "Q", "options": ["(A)a", "(B)b"], "label": "B", "task": "t"},
        "P\nQ\n(A)a\n(B)b",
        "B",
    ),
    ("arc_easy", ARC, "Question: Which?", "yes"),
    ("arc_challenge", ARC, "Question: Which?", "yes"),
    (
        "hellaswag",
        {"activity_label": "A", "ctx_a": "He [x] runs.", "ctx_b": "then he", "endings": ["a", "b"], "label": "1"},
        "A: He runs. Then he",
        "b",
    ),
    (
        "winogrande",
        {"sentence": "The _ ran off.", "option1": "cat", "option2": "dog", "answer": "2"},
        "The _ ran off.",
        "dog",
    ),
    ("boolq", {"passage": "P", "question": "is it", "answer": True}, "P\nQuestion: is it?", "yes"),
    ("piqa", {"goal": "G", "sol1": "a", "sol2": "b", "label": 1}, "Question: G", "b"),
    (
        "social_iqa",
        {"context": "C", "question": "Q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
        "Q: C Q",
        "c",
    ),
    ("commonsense_qa", ARC, "Question: Which?", "yes"),
    ("openbookqa", {**ARC, "question_stem": "Which"}, "Which", "yes"),
    (
        "copa",
        {"premise": "It rained.", "question": "effect", "choice1": "It is wet.", "choice2": "No.", "label": 0},
        "It rained therefore",
        "it is wet.",
    ),
    (
        "sciq",
        {
            "support": "S",
            "question": "Q",
            "distractor1": "a",
            "distractor2": "b",
            "distractor3": "c",
            "correct_answer": "d",
        },
        "S\nQuestion: Q",
        "d",
    ),
    ("triviaqa", {"question": "Who?", "answer": {"aliases": ["A"], "value": "A"}}, "Question: Who?", '["A"]'),
    ("naturalqs", {"question": "who", "answer": ["A", "B"]}, "Question: who?", '["A", "B"]'),
    ("aime24", {"problem": "P", "answer": "025"}, "P", "25"),
    ("amc23", {"problem": "P", "answer": 27.0}, "P", "27"),
    ("svamp", {"ID": "c", "Body": "B", "Question": "Q?", "Answer": 145.0, "Type": "t"}, "Question: B. Q?", "145"),
    ("asdiv", {"body": "B.", "question": "Q?", "answer": "9 (apples)"}, "Question: B. Q?", "9"),
    ("mgsm", {"lang": "de", "question": "Q", "answer": "1,080"}, "Q", "1080"),
    ("recited_web", {"prefix": "a b", "continuation": "c d"}, "Complete the following text:\na b", "c d"),
    ("recited_book", {"id": "b", "text": " ".join(WORDS)}, f"Complete the following text:\n{SHOWN}", GOLD),
    ("quotation", {"title": "Ode", "kind": "poem", "text": "a b\nc"}, "Provide the poem Ode:", "a b\nc"),
    (
        "quotation",
        {"id": "Emma", "corpus": "book", "text": " ".join(WORDS)},
        "Provide the first 100 words of the book Emma:",
        " ".join(WORDS[:100]),
    ),
    ("creativity", {"prompt": " Write a story. "}, "Write a story.", "-"),
]


@pytest.mark.parametrize("name, row, prompt, truth", ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_as_its_source_has_it(name: str, row: dict[str, Any], prompt: str, truth: str) -> None:
    task = catalogue()[name]
    (question,) = task.build(row)
    assert (question.prompt, question.truth) == (prompt, truth)
    if question.options and task.form == "rank":
        assert truth in {question.options[i] for i in question.right} or question.contexts
        assert set(question.right) < set(range(len(question.options)))


def test_gpqa_puts_its_options_in_an_order_of_the_questions_own() -> None:
    right = set()
    for i in range(12):
        row = {"Question": f"Q{i}", "Correct Answer": "yes", **{f"Incorrect Answer {n}": f"no{n}" for n in (1, 2, 3)}}
        (question,) = catalogue()["gpqa"].build(row)
        assert f"({question.truth}) yes" in question.prompt
        assert catalogue()["gpqa"].build(row) == [question]
        right.add(question.truth)
    assert len(right) > 2


@pytest.mark.parametrize(
    "name, row, why",
    [
        ("wildguardtest", {"prompt": "x", "prompt_harm_label": None}, "the annotators did not agree"),
        ("do_anything_now", {"prompt": "x", "source": "do_not_answer"}, "another set"),
        ("asdiv", {"body": "", "question": "", "answer": "9, 4"}, "not one number"),
        ("agieval", {"question": "x", "options": None}, "no options"),
        ("bits_c4", {"text": "short"}, "200 characters"),
        ("recited_book", {"id": "b", "text": "w " * 1139}, "fewer than 1140 words"),
        ("quotation", {"id": "b", "kind": "book", "text": "w " * 99}, "fewer than 100 words"),
    ],
)
def test_rows_that_are_no_question_are_left_out(name: str, row: dict[str, Any], why: str) -> None:
    with pytest.raises(LeftOut, match=why):
        catalogue()[name].build(row)


def test_rows_that_are_left_out_are_counted_and_placed(tmp_path: Path) -> None:
    rows = [{"body": "B.", "question": "Q?", "answer": answer} for answer in ("9 (apples)", "9, 4", "3", "red")]
    (tmp_path / "asdiv_of_mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(catalogue()["asdiv"], [tmp_path])
    ((why, places),) = found.left_out.items()
    assert (len(found.questions), found.rows, why) == (2, 4, "its answer is not one number")
    assert [place.rpartition("line ")[2] for place in places] == ["2", "4"]
    (tmp_path / "asdiv_of_mine.jsonl").write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(BactrianError, match=r"none of the 1 rows .* is a question of it: its answer is not one number"):
        load(catalogue()["asdiv"], [tmp_path])


def test_bigcodebench_and_deepmind_rows() -> None:
    test = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_it(self):\n        assert f() == 1"
    row = {"instruct_prompt": "Write f.", "test": test, "entry_point": "f", "task_id": "B/1"}
    (question,) = catalogue()["bigcodebench"].build(row)
    assert json.loads(question.truth)["entry_point"] == "f"
    row = {"module": "numbers__is_prime", "question": "7?", "answer": "True"}
    (question,) = catalogue()["deepmind_math"].build(row)
    said = verify("deepmind", "It is prime. Therefore, the answer is: true.", question.truth)
    assert "True or False" in question.prompt and said.outcome == "right"


@pytest.mark.parametrize("name", list(catalogue()))
def test_a_task_is_whole(name: str) -> None:
    task = catalogue()[name]
    assert set(task.suites) <= set(SUITES) and task.source.files
    assert (task.form == "generate") == bool(task.verifier)
    if task.verifier:
        found = verifier(task.verifier)
        complete(task.verifier, task.settings)
        if found.place == "here":
            self_check(task.verifier)
    for shot in task.preamble.shots:
        assert shot.question.endswith(task.cue)
        if task.verifier in ("gsm8k", "math", "contains", "drop"):
            assert shot.answer.strip()


def test_exemplars_of_our_own_are_read_by_their_verifiers() -> None:
    """What an exemplar shows must be a form that the extractor reads."""
    for name, golds in (
        ("gsm8k", ["18", "30", "31", "69", "16", "172", "18", "60"]),
        ("math", ["7", "10", "\\frac{1}{4}", "x+3"]),
    ):
        task = catalogue()[name]
        assert len(task.preamble.shots) == len(golds)
        for shot, gold in zip(task.preamble.shots, golds, strict=True):
            assert verify(task.verifier, shot.answer, gold).outcome == "right"


def test_suites_and_names() -> None:
    assert {task.name for task in chosen("dev", [])} >= {"mmlu", "gsm8k", "bbh", "truthfulqa", "ifeval", "xstest"}
    assert all(task.unseen for task in chosen("unseen", []))
    assert not any(task.unseen for suite in SUITES if suite != "unseen" for task in chosen(suite, []))
    assert [task.name for task in chosen(None, ["gsm8k", "mmlu"])] == ["mmlu", "gsm8k"]
    with pytest.raises(BactrianError, match="suite: found 'prod'"):
        chosen("prod", [])


SHARED = Path("../shared/data")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets are not beside the clone (../shared/data)")
@pytest.mark.parametrize("name", ["gsm8k", "truthfulqa", "bbh", "popqa", "ifeval", "harmbench", "arc_easy", "svamp"])
def test_the_data_at_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        loaded = load(catalogue()[name], [SHARED])
    except Absent as error:
        pytest.skip(str(error))
    assert len({question.id for question in loaded.questions}) == len(loaded.questions) > 20
    assert check_known(loaded) >= 40  # what is known of it is read the same today
    checks = verifier(loaded.task.verifier).check_truth if loaded.task.verifier else None
    for question in loaded.questions if checks else []:
        checks(problem(loaded.task.verifier, question))  # type: ignore[misc]
    for group, preamble in loaded.preambles.items():
        assert len(preamble.shots) == 3 and all("answer is" in shot.answer for shot in preamble.shots), group


def problem(name: str, question: Question) -> Problem:
    return Problem(question.truth, complete(name, question.settings), question.prompt)
