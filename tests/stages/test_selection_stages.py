"""Stages `select` and `difficulty`."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.synth.procedural import corpus, word_problems
from bactrian.errors import BactrianError
from bactrian.stages.data.difficulty import Difficulty
from bactrian.stages.data.select import Select
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind

Row = dict[str, Any]
LICENCE = {"source": "s", "license": "MIT"}


def row(number: int, domain: str, words: int) -> Row:
    thought = {"role": "assistant", "content": "a", "reasoning_content": "four " * words}
    return {
        "id": str(number),
        "messages": [{"role": "user", "content": f"{domain} {number}"}, thought],
        "topic": domain,
        **LICENCE,
    }


ROWS = [row(n, "ab"[n % 2], 10 * n + 1) for n in range(20)]


def select(folder: Path, rows: list[Row] = ROWS, **settings: Any) -> Workspace:
    write_rows(rows, folder / "in")
    workspace = Workspace.temporary(folder / "out", {"in": Input("in", folder / "in", Kind.DATA, "")})
    Select(data="in", **settings).run(workspace)
    return workspace


@pytest.mark.parametrize(
    "settings",
    [
        {"by": "random"},
        {"by": "longest"},
        {"by": "diverse", "domain": "topic"},
        {"by": "s1", "domain": "topic"},
        {"by": "s1", "clusters": 2},
    ],
)
def test_so_many_rows_in_the_order_of_the_pool(settings: dict[str, Any], tmp_path: Path) -> None:
    workspace = select(tmp_path, count=6, **settings)
    ids = [int(each["id"]) for each in read_rows(workspace.output)]
    assert len(ids) == 6 and ids == sorted(ids)
    account = json.loads((workspace.output / "rows.json").read_text())
    assert account["dropped"]["not selected"]["count"] == 14
    assert sum(each["taken"] for each in account["domains"]) == 6
    if settings["by"] == "longest":
        assert ids == list(range(14, 20))


def test_rows_that_pass_the_rules_come_first(tmp_path: Path) -> None:
    topic = {"rule": "pattern", "patterns": ["b"], "column": "topic", "drop": "missing"}
    first = [topic, {"rule": "length", "of": "trace", "least": 150}]
    workspace = select(tmp_path, count=3, by="random", first=first)
    passing = {each["id"] for each in ROWS if each["topic"] == "b" and int(each["id"]) >= 15}
    assert workspace.metrics["first"] == len(passing) == 3
    assert {each["id"] for each in read_rows(workspace.output)} == passing


def test_a_row_without_a_domain_is_named(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="row 21, field 'topic': found nothing"):
        select(tmp_path, [*ROWS, {**row(20, "a", 1), "topic": None}], count=3, domain="topic")


@pytest.mark.parametrize(
    "settings",
    [
        {"by": "s1"},
        {"by": "diverse", "domain": "a", "clusters": 2},
        {"uniform": 3},
        {"by": "random", "weights": {"a": 1.0}},
    ],
)
def test_selections_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Select(data="a", count=3, **settings)


def tiny_model(folder: Path) -> Path:
    write_rows(list(corpus(0, 60, largest=10)), folder / "text")
    workspace = Workspace.temporary(folder / "model", {"text": Input("text", folder / "text", Kind.DATA, "")})
    Pretrain(data="text", hidden_size=32, layers=1, heads=2, batch_size=8).run(workspace)
    return workspace.output


def test_problems_that_a_model_cannot_do_are_kept(tmp_path: Path) -> None:
    """An untrained model does none of them; with least: 1 none is left, and the error says why."""
    model = tiny_model(tmp_path)
    write_rows(list(word_problems(0, 6, largest=10)), tmp_path / "in")
    inputs = {"in": Input("in", tmp_path / "in", Kind.DATA, ""), "m": Input("m", model, Kind.MODEL, "abc")}
    workspace = Workspace.temporary(tmp_path / "out", inputs)
    Difficulty(data="in", models=["m"], max_new_tokens=5).run(workspace)
    assert [each["pass_rate"] for each in read_rows(workspace.output, "problem")] == [0.0] * 6
    with pytest.raises(BactrianError, match=r"(?s)no problem is of this difficulty.*right less often than 1: 6"):
        Difficulty(data="in", models=["m"], least=1.0, most=1.0, max_new_tokens=5).run(workspace)


def test_rates_decide_model_by_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"m": [0.0, 0.5, 1.0, 0.0], "n": [0.0, 0.0, 0.5, 0.5]}
    monkeypatch.setattr(Difficulty, "_tried", lambda self, workspace, ref, rows, kept: rates[ref])
    write_rows(list(word_problems(0, 4, largest=10)), tmp_path / "in")
    inputs = {"in": Input("in", tmp_path / "in", Kind.DATA, "")}
    inputs |= {ref: Input(ref, tmp_path, Kind.MODEL, f"hash of {ref}") for ref in rates}
    kept = {}
    for least, most in ((0.0, 0.0), (0.0, 0.5), (0.5, 1.0)):
        workspace = Workspace.temporary(tmp_path / f"{least}-{most}", inputs)
        Difficulty(data="in", models=["m", "n"], samples=2, least=least, most=most).run(workspace)
        kept[least, most] = [each["pass_rate"] for each in read_rows(workspace.output)]
    assert kept == {(0.0, 0.0): [0.0], (0.0, 0.5): [0.0, 0.25, 0.25], (0.5, 1.0): [0.75]}
