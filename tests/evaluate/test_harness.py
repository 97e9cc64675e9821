"""lm-evaluation-harness's logs in and out, and differences between two sets of records."""

import json
from pathlib import Path
from typing import Any

import pytest
from small import byte_tokenizer, loaded, task

from bactrian.chat import ChatTemplate
from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import Side, compare, compare_task, difference
from bactrian.evaluate.harness import as_asked, export_task, is_samples, read_samples, side_of_samples, write_results
from bactrian.evaluate.prompting import Writer, shots
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging
from bactrian.evaluate.task import Preamble, Question

WRITTEN: dict[str, Any] = {
    "doc_id": 0,
    "doc": {"question": "1+1"},
    "target": "2",
    "arguments": {"gen_args_0": {"arg_0": "Q: 1+1\nA:", "arg_1": {"until": ["Q:"], "max_gen_toks": 9}}},
    "resps": [["It is 2."]],
    "filtered_resps": ["2."],
    "filter": "flexible",
    "exact_match": 1.0,
}
RANKED: dict[str, Any] = {
    "doc_id": 1,
    "doc": {},
    "target": "1",
    "acc": 0.0,
    "acc_norm": 1.0,
    "filter": "none",
    "arguments": {f"gen_args_{i}": {"arg_0": "Q\nAnswer:", "arg_1": f" {letter}"} for i, letter in enumerate("AB")},
    "resps": [[["-1.0", "False"]], [["-2.0", "False"]]],
    "filtered_resps": [["-1.0", "False"], ["-2.0", "False"]],
}


def log(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"samples_{name}_2026-11-25T03-00-00.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_logs_are_read(tmp_path: Path) -> None:
    strict = {**WRITTEN, "filter": "strict", "filtered_resps": ["[invalid]"], "exact_match": 0.0}
    path = log(tmp_path, "gsm8k_cot", [strict, WRITTEN])
    assert is_samples(path)
    (record,) = read_samples(path)
    assert (record.score, record.outcome, record.extracted, record.completion) == (1.0, "right", "2.", "It is 2.")
    (record,) = read_samples(path, "strict")
    assert record.outcome == "unparsable"
    assert list(side_of_samples(path).records) == ["gsm8k_cot"]
    with pytest.raises(BactrianError, match="no filter 'x'; expected one of strict, flexible"):
        read_samples(path, "x")
    with pytest.raises(BactrianError, match=r"line 1: not a harness's sample: KeyError\('arguments'\)"):
        read_samples(log(tmp_path, "bad", [{"a": 1}]))


def test_a_log_is_a_task_that_asks_the_same_to_the_letter(tmp_path: Path) -> None:
    written = as_asked(log(tmp_path, "w", [WRITTEN]), "gsm8k", 9, ["Q:"])
    ranked = as_asked(log(tmp_path, "r", [RANKED]), "", 1, [])
    template = ChatTemplate.load(byte_tokenizer(), "tulu")
    writer = Writer(written, template, "plain", 1000)
    assert writer.ask(written.questions[0], 9).text == "Q: 1+1\nA:" and written.questions[0].truth == "2"
    writer = Writer(ranked, template, "plain", 1000)
    decode = template.tokenizer.decode
    pairs = [(decode(asked.ids), decode(option)) for asked, option in writer.options(ranked.questions[0])]
    assert pairs == [("Q\nAnswer:", " A"), ("Q\nAnswer:", " B")] and ranked.questions[0].right == (1,)


def test_our_questions_as_a_task_of_the_harness(tmp_path: Path) -> None:
    preamble = Preamble("Choose.\n\n", shots(("1?\nAnswer:", "x")))
    asked = loaded(
        task(
            "mine",
            form="rank",
            metric="acc",
            verifier="",
            cue="\nAnswer:",
            keep_cue=True,
            format="plain",
            preamble=preamble,
        ),
        [Question("2?", "y", ("x", "y"), (1,))],
    )
    config = json.loads(export_task(asked, tmp_path).read_text())
    (row,) = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert config["output_type"] == "multiple_choice" and config["target_delimiter"] == " "
    assert row["prompt"] == "Choose.\n\n1?\nAnswer: x\n\n2?\nAnswer:" and row["right"] == 1
    with pytest.raises(BactrianError, match="its form, bits, cannot be written"):
        export_task(loaded(task("b", form="bits", metric="bits"), [Question("x")]), tmp_path)


def record(question: str, score: float, group: str = "", cluster: str = "", said: str = "") -> Record:
    return Record(
        question,
        0,
        f"prompt of {question}",
        said,
        "g",
        said or None,
        score,
        "right" if score > 0.5 else "wrong",
        3,
        "stop",
        group=group,
        cluster=cluster,
        values={"right": score},
    )


def test_ours_in_the_harness_layout_and_back(tmp_path: Path) -> None:
    records = {("m", "t", "greedy"): [record(str(i), float(i % 2), said=str(i)) for i in range(6)]}
    score = {
        "model": "m",
        "task": "t",
        "mode": "greedy",
        "metric": "exact match",
        "score": 0.5,
        "error": 0.2,
        "questions": 6,
        "numbers": {"right": 0.5},
    }
    results = {"models": ["m"], "scores": [score], "tasks": {"t": {"exemplars": 8}}}
    paths = write_results(tmp_path, results, records)
    table = json.loads(paths[0].read_text())
    assert table["results"]["t"]["exact_match,none"] == 0.5 and table["n-shot"] == {"t": 8}
    back = read_samples(paths[1])
    assert [each.score for each in back] == [0, 1, 0, 1, 0, 1] and back[3].completion == "3"


def test_differences_by_the_test_that_fits() -> None:
    before, after = [0.0] * 50 + [1.0] * 50, [1.0] * 10 + [0.0] * 40 + [1.0] * 50
    assert difference(before, after).test == "mcnemar" and difference(before, after).gained == 10
    assert difference([0.1, 0.5] * 20, [0.2, 0.9] * 20).test == "paired bootstrap"
    clusters = [str(i // 10) for i in range(100)]
    clustered = difference(before, after, clusters)
    assert clustered.test == "clustered z" and clustered.p > difference(before, after).p  # ten in one cluster say less
    groups = ["a"] * 10 + ["b"] * 90
    macro = difference(before, after, [], groups, macro=True)
    assert macro.test == "stratified z" and macro.difference == pytest.approx(0.5)
    same = difference(before, before, [], groups, macro=True)
    assert same.p == 1 and same.interval[0] < -0.01 and same.interval[1] > 0.01  # a hundred questions leave room


def test_two_sides_task_by_task_with_what_flipped() -> None:
    def side(name: str, right: set[int]) -> Side:
        mine = {
            "t": [record(str(i), float(i in right), "ab"[i % 2], said=f"{name}{i}") for i in range(30)],
            "u": [record(str(i), 1.0) for i in range(5)],
        }
        return Side(name, mine, {"t": {"metric": "exact match", "task_hash": "x"}})

    first, second = side("old", set(range(10))), side("new", set(range(2, 25)))
    (t, u) = compare(first, second)
    assert (t.n, t.before, t.after) == (30, pytest.approx(10 / 30), pytest.approx(23 / 30))
    assert t.adjusted == pytest.approx(2 * t.comparison.p) and u.comparison.p == 1.0
    assert len(t.flips) == 17 and t.groups["a"][2] == 15
    lost = [flip.question for flip in t.flips if flip.after < flip.before]
    assert lost == ["0", "1"] and t.flips[0].answers == ("old0", "new0")
    with pytest.raises(BactrianError, match="no task was answered by both"):
        compare(first, Side("x", {"other": []}, {}))
    with pytest.raises(BactrianError, match="no question in common"):
        compare_task("t", Averaging(), [record("1", 1.0)], [record("2", 1.0)])
