"""Gold answers through every task's own verifier: what is sound passes, what is planted is refused by name."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from small import loaded, run, task, write_sets, write_small

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.evaluate import gold_check
from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.gold_answers import WRITERS, gold, why_none, wrong_answers
from bactrian.evaluate.gold_check import check, kept, require
from bactrian.evaluate.gold_instructions import answer_against, answer_to
from bactrian.evaluate.ledger import Ledger
from bactrian.evaluate.task import Loaded, Question
from bactrian.evaluate.task_rows import load
from bactrian.generate.local import LocalEngine
from bactrian.store.artifact import Store
from bactrian.verify import Example, Pool, Problem, Verdict, names, register, verify
from bactrian.verify.registry import VERIFIERS


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1) as opened:
        yield opened


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def human(number: int, **changes: str) -> dict[str, Any]:
    name = f"add{number}"
    return {
        "task_id": f"H/{number}",
        "entry_point": name,
        "prompt": f"def {name}(x):\n    '''x + {number}'''\n",
        "canonical_solution": f"    return x + {number}\n",
        "test": "def check(candidate):\n"
        f"    assert candidate(1) == {number + 1}\n    assert candidate(5) == {number + 5}",
    } | changes


def math_rows(count: int) -> list[dict[str, Any]]:
    return [
        {"problem": f"{i} + {i}?", "solution": f"It is \\boxed{{{2 * i}}}.", "answer": str(2 * i), "subject": "s"}
        for i in range(count)
    ]


def of(name: str, folder: Path) -> Loaded:
    return load(catalogue()[name], [folder], hub=False)


@pytest.mark.parametrize("name", ["gsm8k", "arc_easy", "mmlu", "mmlu_cot", "gpqa"])
def test_the_small_sets_pass(name: str, tmp_path: Path, pool: Pool) -> None:
    found = check(of(name, write_sets(tmp_path / "sets")), pool)
    assert found.share == 1.0 and not found.fault and found.tried == found.questions > 0
    assert found.wrong_called_right == (None if name == "gsm8k" and not found.wrong else 0.0)


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_task_has_gold_answers_or_says_why_not(name: str) -> None:
    task = catalogue()[name]
    assert (why_none(task) != "") == (task.form == "bits" or task.verifier == "verbatim")


EXAMPLES = {
    "gsm8k": Question("?", "-1,234.50", solution="He has 7 of 9."),
    "math": Question("?", "\\frac{1}{2}"),
    "deepmind": Question("?", "2*x**2 + 3"),
    "choice": Question("?", "A"),
    "bbh": Question("?", "] ) }"),
    "contains": Question("?", '["Paris", "City of Light"]'),
    "drop": Question("?", '["Smith", "Jones"]'),
    "code": Question(
        "?", json.dumps({"tests": ["assert two() == 2"]}), solution="```python\ndef two():\n    return 2\n```"
    ),
    "recital": Question("?", "the quick brown fox jumps"),
    "noncompliance": Question("?", "COMPLIANCE", settings={"rubric": "noncompliance/contrast"}),
    "compliance": Question("?", "refuse"),
    "ifeval": Question("?", json.dumps({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_gold_answers_are_right_and_wrong_ones_are_not(name: str) -> None:
    """By the verifier itself; the other question is there to take a wrong answer from."""
    other = {"gsm8k": "17", "math": "3", "deepmind": "7/5", "bbh": "(A)", "contains": "Rome", "drop": "5 yards"}
    other["recital"] = "a slow grey cat"
    questions = [
        EXAMPLES[name],
        replace(EXAMPLES[name], prompt="other?", truth=other.get(name, EXAMPLES[name].truth), solution=""),
    ]
    of_it = loaded(task(verifier=name), questions)
    for text, outcome in ((gold(of_it.task, questions[0]), "right"), (wrong_answers(of_it)[0], "wrong")):
        assert text
        assert verify(name, text, questions[0].truth, questions[0].settings).outcome == outcome, text


def test_a_gold_column_that_is_shifted(tmp_path: Path, pool: Pool) -> None:
    rows = math_rows(30)
    write(tmp_path / "math500.jsonl", rows)
    assert check(of("math500", tmp_path), pool).share == 1.0
    shifted = [{**row, "answer": rows[i - 1]["answer"]} for i, row in enumerate(rows)]
    write(tmp_path / "math500.jsonl", shifted)
    found = check(of("math500", tmp_path), pool)
    assert found.right == 0 and found.bad[3].truth == "4" and found.bad[3].outcome == "wrong"
    first = of("math500", tmp_path).questions[0].id
    with pytest.raises(BactrianError, match=rf"(?s)math500.*0 of 30 gold answers right.*question {first}: wrong"):
        require([of("math500", tmp_path)], pool, tmp_path)


def test_solutions_that_went_to_other_tests(tmp_path: Path, pool: Pool) -> None:
    rows = [human(number) for number in range(4)]
    write(tmp_path / "human_eval_of_mine.jsonl", rows)
    found = check(of("humaneval", tmp_path), pool)
    assert (found.share, found.wrong, found.wrong_called_right) == (1.0, 4, 0.0)
    swapped = [{**row, "test": rows[i - 1]["test"]} for i, row in enumerate(rows)]
    write(tmp_path / "human_eval_of_mine.jsonl", swapped)
    found = check(of("humaneval", tmp_path), pool)
    assert found.right == 0 and "0 of 2 tests passed" in found.bad[0].reason and "H/0" in found.fault


CRASHING = "import a_module_that_is_not_there\n\ndef check(candidate):\n    assert candidate(1) == 2"


def test_tests_that_crash_stop_the_suite_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the share of right gold answers would do, a crash of the tests still stops all."""
    write(tmp_path / "human_eval_of_mine.jsonl", [human(0), human(1, test=CRASHING), human(2)])
    monkeypatch.setattr(LocalEngine, "load", None)  # a call would raise another error
    model = write_small(tmp_path / "model")
    with pytest.raises(BactrianError, match=r"(?s)humaneval: .*human_eval_of.*: .*question H/1: (crashed|wrong)"):
        run(tmp_path / "run", {"one": model}, tmp_path, tasks=["humaneval"], format="multiturn")


def test_gold_answers_that_are_empty(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "popqa.jsonl", [{"question": f"Who {i}?", "golden_answers": ["the"]} for i in range(3)])
    found = check(of("popqa", tmp_path), pool)
    assert found.counts == {"unparsable": 3} and "0 of 3 gold answers right" in found.fault
    of_it = loaded(task("empty", verifier="gsm8k"), [Question("1?", ""), Question("2?", "2")])
    found = check(of_it, pool)
    assert [each.outcome for each in found.crashed] == ["crashed"] and "crash on 1 of 2" in found.fault
    assert "'' is not a number" in found.crashed[0].reason


def test_a_verifier_that_calls_everything_right(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    names()
    monkeypatch.setattr("bactrian.verify.registry.VERIFIERS", dict(VERIFIERS))

    @register("kind", examples=[Example("7", "7", "right")], of_form=True)
    def kind(problem: Problem, completion: str) -> Verdict:
        return Verdict(1.0, "right", completion, "") if completion else Verdict(0.0, "unparsable", None, "")

    questions = [Question(f"{i}?", str(1000 + i)) for i in range(8)]
    of_it = loaded(task("kind", verifier="kind", gold=lambda question: question.truth), questions)
    found = check(of_it, pool)
    assert (found.share, found.wrong_called_right) == (1.0, 1.0)
    assert "calls 8 of 8 wrong answers right" in found.fault


def test_another_translation_of_a_long_text_is_no_wrong_answer(pool: Pool) -> None:
    first = "In the beginning the world was without form and void, and darkness lay upon the face of the deep waters."
    second = first.replace("lay upon", "was on").replace("void", "empty")
    other = "We meet today after a year in which trade grew, debts fell, and every harbour of ours saw more ships come."
    of_it = loaded(
        task("recites", verifier="recital"),
        [Question("a?", first), Question("b?", second), Question("c?", f"{other} {other.title()}")],
    )
    assert [answer.startswith("We meet") for answer in wrong_answers(of_it)] == [True, True, False]
    assert check(of_it, pool).wrong_called_right == 0


def test_ranked_options_of_the_same_text(pool: Pool) -> None:
    def question(i: int, options: tuple[str, ...], right: int) -> Question:
        return Question(f"{i}?", options[right], options, (right,))

    ranked = task("ranked", form="rank", metric="acc_norm", others=("acc", "acc_pmi"), verifier="")
    questions = [question(i, (f"a{i}", "b" * 90, "c"), i % 3) for i in range(9)]
    assert check(loaded(ranked, questions), pool).share == 1.0
    found = check(loaded(ranked, [*questions, question(9, ("x", "y", "x"), 2)]), pool)
    assert [each.reason for each in found.bad] == ["two of its options are the same text"] and found.fault


def test_a_limit_that_meets_a_bad_row_is_decided_by_all_rows(tmp_path: Path, pool: Pool) -> None:
    questions = [Question(f"{i}?", str(i), solution="It is \\boxed{1}." if i == 0 else "") for i in range(200)]
    whole = loaded(task("some", verifier="math"), questions)
    limited = whole.limited_to(whole.questions[:4])
    assert check(limited, pool).fault and limited.whole.questions == whole.questions
    found = require([limited], pool, tmp_path)["some"]
    assert (found.questions, len(found.bad)) == (200, 1)


def test_what_passed_is_remembered_by_content(tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "math500.jsonl", math_rows(6))
    first = kept(of("math500", tmp_path), pool, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(gold_check, "check", None)  # a call would raise
        assert kept(of("math500", tmp_path), pool, tmp_path) == first
        write(tmp_path / "math500.jsonl", math_rows(7))
        with pytest.raises(TypeError):
            kept(of("math500", tmp_path), pool, tmp_path)  # changed data are checked anew
    rows = math_rows(7)
    write(tmp_path / "math500.jsonl", [{**row, "answer": "1"} for row in rows])
    before = sorted((tmp_path / "gold").iterdir())
    assert kept(of("math500", tmp_path), pool, tmp_path).fault
    assert sorted((tmp_path / "gold").iterdir()) == before  # what failed is not remembered
    before[0].write_text("{}")
    write(tmp_path / "math500.jsonl", math_rows(6))
    with pytest.raises(BactrianError, match="no gold check that can be read"):
        kept(of("math500", tmp_path), pool, tmp_path)


def test_results_say_what_was_checked_and_an_unseen_task_is_not_looked_at_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data, model = write_sets(tmp_path / "sets"), write_small(tmp_path / "model")
    results = run(tmp_path / "run", {"one": model}, data, limit=2)
    assert results["tasks"]["gsm8k"]["gold"] == {
        "questions": 2,
        "without": 0,
        "right": 2,
        "wrong_tried": 2,
        "bad": [],
        "called_right": [],
        "none": "",
        "left_out": {},
    }
    broken = {"question": "Q", "options": ["(A)a", "(B)b"], "label": "B", "task": "t", "passage": None}
    write(data / "agieval.jsonl", [broken])
    monkeypatch.setitem(WRITERS, "choice", lambda question: "I would rather not.")
    with pytest.raises(BactrianError, match="agieval"):
        run(tmp_path / "run", {"one": model}, data, tasks=["agieval"], final=True, reason="why not")
    assert Ledger(Store(tmp_path / "run")).looks() == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = write_sets(tmp_path / "sets")

    def invoke(*arguments: str) -> tuple[int, str]:
        made = CliRunner().invoke(cli.commands, list(arguments), standalone_mode=False, catch_exceptions=False)
        return int(made.return_value or 0), made.output

    status, shown = invoke("eval", "--gold", "gsm8k", "base", "--data", str(data))
    assert status == 0 and "gsm8k" in shown and "hellaswag: task hellaswag: its data are not here" in shown
    status, shown = invoke("eval", "--gold", "gsm8k", "mmlu", "--data", str(data), "--json")
    said = json.loads(shown)
    assert status == 0 and said["mmlu"]["share"] == 1.0 and said["gsm8k"]["tried"] == 6
    assert invoke("eval", "--gold", "hellaswag", "--data", str(data))[0] == 1
    write(data / "math500.jsonl", [{**row, "answer": "1"} for row in math_rows(3)])
    status, shown = invoke("eval", "--gold", "--tasks", "math500", "--data", str(data))
    assert status == 1 and shown.count("a gold answer is not right") == 3 and "unfit" in shown
    with pytest.raises(BactrianError, match="looks at all questions"):
        invoke("eval", "--gold", "gsm8k", "--limit", "3", "--data", str(data))


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("punctuation:no_comma", {}),
    ("detectable_format:title", {}),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}),
    ("keywords:existence", {"keywords": ["blue", "green"]}),
    ("keywords:frequency", {"keyword": "blue", "frequency": 3, "relation": "at least"}),
    ("keywords:forbidden_words", {"forbidden_words": ["right", "which"]}),
    ("length_constraints:number_words", {"num_words": 90, "relation": "at least"}),
    ("length_constraints:number_sentences", {"num_sentences": 7, "relation": "at least"}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}),
    ("detectable_content:number_placeholders", {"num_placeholders": 4}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("startend:end_checker", {"end_phrase": "That is all."}),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Go"}),
]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique_by=lambda kind: kind[0]))
def test_instructions_are_kept_and_broken_by_texts_of_our_making(asked: list[tuple[str, dict[str, Any]]]) -> None:
    truth = json.dumps({"instruction_id_list": [name for name, _ in asked], "kwargs": [given for _, given in asked]})
    said = verify("ifeval", answer_to(truth), truth)
    assert said.outcome == "right", said.reason
    assert verify("ifeval", answer_against(truth), truth).outcome == "wrong"


@pytest.mark.parametrize("name", [name for name in catalogue() if catalogue()[name].verifier != "code"])
@pytest.mark.skipif(not Path("../shared/data").is_dir(), reason="the data sets are not beside the clone")
def test_the_data_at_hand_in_part(name: str, pool: Pool) -> None:
    """Forty questions of each task whose data are there; `bactrian eval --gold` looks at all."""
    found = gold_check.check_all([catalogue()[name]], [Path("../shared/data")], pool, hub=False, limit=40)[name]
    if "absent" in found:
        pytest.skip(found["absent"])
    assert not found.get("fault") and "refused" not in found, found


def test_a_solution_is_no_part_of_what_shapes_a_score() -> None:
    plain = loaded(task(), [Question("1?", "1")])
    worked = replace(plain, questions=tuple(replace(each, solution="It is 1.") for each in plain.questions))
    assert plain.digest("plain") == worked.digest("plain")
