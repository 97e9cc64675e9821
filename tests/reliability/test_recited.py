"""Scores of reciting: by model and condition, from problem rows to results.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.verify import verify
from bactrian.verify.text.recital import recited
from tests.model.tiny import write_tiny

BARE = (
    "{{ bos_token }}{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


@given(st.text("ab .", max_size=30), st.text("ab .", max_size=30))
def test_no_text_recites_more_than_all(gold: str, said: str) -> None:
    for unit in ("char", "piece", "word"):
        common, whole = recited(gold, said, unit)
        assert 0 <= common <= whole == recited(gold, f"{gold} {said}", unit)[0]


def test_only_as_much_of_an_answer_counts_as_the_gold_text_has() -> None:
    gold = "one two three four"
    assert verify("recital", "a b c d one two three four", gold).score == 0.0
    assert verify("recital", "one two c d three four", gold).score == 0.5
    assert verify("recital", "one two c d", gold, {"threshold": 0.6}).outcome == "wrong"


def problem(asked: str, truth: str, dataset: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}], "ground_truth": truth, "dataset": dataset}


def evaluated(folder: Path, **settings: Any) -> dict[str, Any]:
    write_tiny(folder / "model")
    rows = {
        "gold": [problem("the cat sat", "on a mat and", "recital"), problem("what is no", "yes one two", "recital")],
        "free": [problem("the cat", "-", "verbatim"), problem("a mat", "-", "verbatim")],
        "texts": [{"text": "the cat sat on a mat"}, {"text": "what is 12 + 34"}],
    }
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    inputs = {name: Input(name, folder / f"{name}.jsonl", Kind.DATA, name) for name in rows}
    inputs["model"] = Input("model", folder / "model", Kind.MODEL, "hash")
    work = Workspace.temporary(folder / "w", inputs, 1)
    Evaluate(models={"a": "model", "b": "model"}, template=BARE, max_new_tokens=6, **settings).run(work)
    return dict(json.loads((work.output / "results.json").read_text()))


def test_one_model_in_two_conditions(tmp_path: Path) -> None:
    found = evaluated(
        tmp_path,
        problems={"gold": "gold", "free": "free"},
        texts={"held": "texts"},
        corpus=["texts"],
        copied_words=2,
        conditions={"b": {"system": "Answer:\n", "memfree": {"corpus": "texts", "n": 2}}},
    )
    scores = {(each["model"], each["task"]): each for each in found["scores"]}
    assert scores["a", "gold"]["prompt_example"] == "<s>the cat sat"
    assert scores["b", "gold"]["prompt_example"] == "<s>Answer:\nthe cat sat"
    numbers = scores["a", "gold"]["numbers"]
    assert {"lcs_char_p50", "lcs_piece_p99", "lcs_word_p75", "score"} <= numbers.keys()
    assert scores["b", "free"]["mean_score"] == 0.0  # no two words of the corpus were written in a row
    assert scores["a", "held"]["score"] == scores["b", "held"]["score"] > 0
    assert scores["a", "held"]["metric"] == "bits per byte"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="give the setting corpus"):
        evaluated(tmp_path / "a", problems={"free": "free"})
    with pytest.raises(BactrianError, match="conditions: found 'c', expected one of a, b"):
        evaluated(tmp_path / "b", problems={"gold": "gold"}, conditions={"c": {}})
