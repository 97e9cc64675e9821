"""The stages `problems` and `corpus`: what they write, what they refuse, and real GSM8K where it is at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.elsewhere import gsm8k_problems, gym_problems
from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.problem_rows import question_hash, split_of
from bactrian.errors import BactrianError
from bactrian.stages.data.corpus import Corpus
from bactrian.stages.data.problems import Problems
from bactrian.stages.stage import Facts
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.verify import Item, verify, verify_all

REAL = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_train.jsonl.gz"


def make(folder: Path, inputs: dict[str, Path] | None = None, seed: int = 0, **settings: Any) -> Workspace:
    given = {ref: Input(ref, path, Kind.DATA, "") for ref, path in (inputs or {}).items()}
    workspace = Workspace.temporary(folder, given, seed)
    Problems(**settings).run(workspace)
    return workspace


def test_the_forecast_says_how_many_rows_of_how_many_tokens() -> None:
    tasks = [{"source": "sums", "count": 30}, {"source": "gsm8k", "data": "a.jsonl"}]
    made = Problems(tasks=tasks, instruction="x" * 40).forecast({"a.jsonl": Facts(rows=10, tokens_per_row=200)}).makes
    assert made.rows == 40 and made.tokens_per_row == pytest.approx((30 * 33.5 + 10 * 200) / 40 + 20)
    assert Problems(tasks=tasks[1:]).forecast({}).makes == Facts()


def test_tasks_make_problem_rows(tmp_path: Path) -> None:
    tasks = [
        {"source": "sums", "count": 30, "terms": [2, 3]},
        {"source": "word_problems", "count": 20, "split": "dev", "operations": [1, 2]},
    ]
    workspace = make(tmp_path, tasks=tasks, system="Be brief.", instruction="Think step by step.")
    rows = read_rows(workspace.output, "problem")
    assert [row["source"] for row in rows] == ["bactrian/sums"] * 30 + ["bactrian/word_problems"] * 20
    for row in rows:
        system, user = row["messages"]
        assert system == {"role": "system", "content": "Be brief."}
        question, _, instruction = user["content"].rpartition("\n")
        assert instruction == "Think step by step." and row["id"] == question_hash(question)
        assert verify(row["dataset"], row["solution"], row["ground_truth"]).outcome == "right"
    assert {licence.licence for licence in workspace.licences} == {"Apache-2.0"}
    assert workspace.metrics["rows_kept"] == 50


def test_conversations_hold_the_worked_solution(tmp_path: Path) -> None:
    workspace = make(tmp_path, tasks=[{"source": "sums", "count": 5}], as_conversations=True)
    for row in read_rows(workspace.output, "conversation"):
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][-1]["content"].splitlines()[-1].startswith("Answer: ")
        assert "ground_truth" not in row


def test_held_out_questions_are_dropped_and_made_up_for(tmp_path: Path) -> None:
    first = make(tmp_path / "a", tasks=[{"source": "sums", "count": 40}])
    second = make(
        tmp_path / "b",
        {"held": first.output},
        tasks=[{"source": "sums", "count": 40}],
        exclude=["held"],
        instruction="Go.",
    )
    ids = [{row["id"] for row in read_rows(made.output)} for made in (first, second)]
    assert not ids[0] & ids[1] and len(ids[1]) == 40
    assert second.metrics["rows_dropped"] == 40
    assert "its question is held out: 40" in (second.output / "README.md").read_text()


def test_given_rows_lose_what_the_verifier_refuses(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {n} + 1?"}],
            "ground_truth": str(n + 1),
            "dataset": "gsm8k",
            "solution": f"#### {n + (2 if n == 3 else 1)}",
            "id": str(n),
            "source": "me",
            "license": "CC-BY-NC-4.0",
        }
        for n in range(5)
    ]
    write_rows([*rows, {**rows[0], "id": "again"}], tmp_path / "given")
    workspace = make(tmp_path, {"g": tmp_path / "given"}, tasks=[{"source": "file", "data": "g"}])
    assert [row["id"] for row in read_rows(workspace.output)] == ["0", "1", "2", "4"]
    assert workspace.metrics["rows_dropped"] == 2
    assert workspace.licences[0].marks == ("NC",)


@pytest.mark.parametrize("task", ["chain_sum", "basic_arithmetic", "word_sorting", "spell_backward", "number_sorting"])
def test_reasoning_gym_gold_answers_score_one(task: str) -> None:
    pytest.importorskip("reasoning_gym")
    rows = [row for row, _ in zip(gym_problems(task, {}, 1, "dev"), range(5), strict=False)]
    items = [Item(row["dataset"], row["solution"], row["ground_truth"]) for row in rows]
    assert [verdict.score for verdict in verify_all(items, workers=1)] == [1.0] * 5
    assert all(split_of(row["messages"][0]["content"]) == "dev" for row in rows)
    assert rows == [row for row, _ in zip(gym_problems(task, {}, 1, "dev"), range(5), strict=False)]


def test_reasoning_gym_refusals() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(BactrianError, match="no task 'chain_sun'"):
        next(gym_problems("chain_sun", {}, 0, "train"))
    with pytest.raises(BactrianError, match="chain_sum refuses the config"):
        next(gym_problems("chain_sum", {"minimum_terms": 2}, 0, "train"))


def test_gsm8k_layout(tmp_path: Path) -> None:
    line = {"question": " How many? ", "answer": "It is 2*500=<<2*500=1000>>1000.\n#### 1,000"}
    (tmp_path / "g.jsonl").write_text(json.dumps(line) + "\n")
    workspace = make(tmp_path, {"g": tmp_path / "g.jsonl"}, tasks=[{"source": "gsm8k", "data": "g"}])
    (row,) = read_rows(workspace.output, "problem")
    assert row["ground_truth"] == "1000" and row["solution"] == "It is 2*500=1000.\n#### 1,000"
    assert row["messages"] == [{"role": "user", "content": "How many?"}] and row["license"] == "MIT"
    with pytest.raises(BactrianError, match=r"data\.jsonl, row 2: field 'answer': no last line"):
        list(gsm8k_problems([line, {"question": "q", "answer": "5"}], "data.jsonl", "gsm8k", "s", "MIT"))
    with pytest.raises(BactrianError, match="row 1: field 'question': found None"):
        list(gsm8k_problems([{"answer": "#### 5"}], "data.jsonl", "gsm8k", "s", "MIT"))


@pytest.mark.skipif(not REAL.exists(), reason="no ../shared/data")
@pytest.mark.parametrize(("dataset", "flawed"), [("gsm8k", []), ("gsm8k_strict", ["-7", "-47", "-12"])])
def test_all_real_gold_solutions_verify(dataset: str, flawed: list[str]) -> None:
    """Strict is the published check, whose pattern reads no negative whole number."""
    rows = list(gsm8k_problems(read_rows(REAL), "gsm8k", dataset, "openai/gsm8k", "MIT"))
    refused = [row["ground_truth"] for row in rows if verify(dataset, row["solution"], row["ground_truth"]).score < 1]
    assert len(rows) == 7473 and refused == flawed


def test_corpus_stage(tmp_path: Path) -> None:
    workspace = Workspace.temporary(tmp_path, seed=3)
    Corpus(count=50).run(workspace)
    rows = read_rows(workspace.output, "text")
    assert len({row["text"] for row in rows}) == 50 and rows[0]["license"] == "Apache-2.0"


def test_a_task_that_takes_nonsense_for_right_is_dropped(tmp_path: Path) -> None:
    """reasoning-gym 0.1.25: game_of_life_halting scores any text as right where the gold is a text."""
    pytest.importorskip("reasoning_gym")
    tasks = [{"source": "sums", "count": 3}, {"source": "reasoning_gym", "task": "game_of_life_halting", "count": 4}]
    workspace = make(tmp_path, tasks=tasks)
    assert "its verifier takes nonsense for right" in (workspace.output / "README.md").read_text()
    left = [row for row in read_rows(workspace.output) if row["dataset"] == "reasoning_gym"]
    assert all(verify("reasoning_gym", "Answer: qzx", row["ground_truth"]).outcome != "right" for row in left)
