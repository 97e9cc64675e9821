"""The stage `source`: what it takes, what it refuses, what it leaves on record; a recipe of it; real data."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.provenance import read_provenance
from bactrian.errors import BactrianError
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import load
from bactrian.run.runner import run
from bactrian.stages.data.source import DataSource
from bactrian.stages.stage import Facts
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.manifest import Kind, Licence, Manifest

GOOD = {"instruction": "2 + 2?", "input": "", "output": "4"}
SHARED = Path(__file__).parents[3] / "shared" / "data"


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def make(folder: Path, path: Path | None = None, **settings: Any) -> Workspace:
    given = {"data": Input("data", path, Kind.DATA, "c0ffee")} if path else {}
    workspace = Workspace.temporary(folder / "made", given)
    DataSource(**({"data": "data"} if path else {}), **settings).run(workspace)
    return workspace


def test_rows_are_kept_repaired_or_dropped_and_on_record(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    mended = {
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"},
            {"from": "human", "value": "c"},
        ]
    }
    file.write_text(
        lines(GOOD, "{half", {**GOOD, "output": ""}, mended, {**GOOD, "license": "CC-BY-NC-4.0", "note": 1})
    )
    provenance = {
        "origin": "model",
        "generator": "GPT-3.5",
        "terms": "not for competitors",
        "transformations": ["cleaned"],
    }
    made = make(tmp_path, file, license="MIT", provenance=provenance, bad_limit=0.5, title="Mine")
    rows = read_rows(made.output, "conversation")
    assert [(row["id"], row["source"], row["license"]) for row in rows] == [
        ("a.jsonl:1", "Mine", "MIT"),
        ("a.jsonl:4", "Mine", "MIT"),
        ("a.jsonl:5", "Mine", "CC-BY-NC-4.0"),
    ]
    drops = [json.loads(line) for line in (made.output / "drops.jsonl").read_text().splitlines()]
    assert [(drop["where"].split(", ")[1], drop["reason"]) for drop in drops] == [
        ("line 2", "not JSON"),
        ("line 3", "an empty turn"),
    ]
    assert {(licence.licence, licence.marks) for licence in made.licences} == {("MIT", ()), ("CC-BY-NC-4.0", ("NC",))}
    assert made.metrics == {"rows_kept": 2, "rows_repaired": 1, "rows_truncated": 0, "rows_dropped": 2}
    (record,) = read_provenance(made.output)
    assert record["generator"] == "GPT-3.5" and record["sha256"] == "c0ffee" and record["rows"] == 3
    assert record["transformations"][0] == "cleaned" and "dropped, an empty turn: 1 rows" in record["transformations"]
    account = json.loads((made.output / "rows.json").read_text())
    assert account["columns_left_out"] == {"note": 1} and account["layouts"] == {"alpaca": 2, "sharegpt": 1}
    assert facts_of(made.output, Kind.DATA).rows == 3  # and not the lines of drops.jsonl
    assert read_provenance(tmp_path) == []


def test_rows_without_a_licence_are_marked_unclear(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines({**GOOD, "license": "MIT"}, {**GOOD, "license": "unknown"}))
    made = make(tmp_path, file)
    assert [row["license"] for row in read_rows(made.output)] == ["MIT", "unknown"]
    assert {licence.marks for licence in made.licences} == {(), ("unclear",)}


def test_too_many_bad_rows_stop_the_run_with_the_reasons(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(*[GOOD] * 8, "{", {"output": "a"}))
    with pytest.raises(
        BactrianError, match=r"2 of 10 rows cannot be used, more than bad_limit 0.1 allows\n(.*\n)*.*not JSON: 1"
    ):
        make(tmp_path, file, license="MIT")
    assert not list((tmp_path / "made" / "output").glob("*data.parquet*"))
    make(tmp_path, file, license="MIT", bad_limit=0.2)
    file.write_text(lines("{", "{"))
    with pytest.raises(BactrianError, match=r"a.jsonl: no row could be used"):
        make(tmp_path, file, license="MIT", bad_limit=1)


def test_many_bad_rows_stop_it_long_before_the_end(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(("{\n" * 1_000_000).encode()))
    with pytest.raises(BactrianError, match=r"1,000 of 1,000 rows cannot be used"):
        make(tmp_path, file, license="MIT")


def test_limit_files_and_artifacts(tmp_path: Path) -> None:
    write_rows(
        [
            {
                "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                "id": str(i),
                "source": f"s{i}",
                "license": "MIT",
            }
            for i in range(4)
        ],
        tmp_path / "artifact",
    )
    made = make(tmp_path, tmp_path / "artifact", limit=2)
    assert [row["source"] for row in read_rows(made.output)] == ["s0", "s1"]
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"question,answer\n{name},1\n")
    made = make(tmp_path, tmp_path / "*.csv", license="MIT", verifier="gsm8k")
    assert [(row["id"], row["ground_truth"]) for row in read_rows(made.output, "problem")] == [
        ("a.csv:2", "1"),
        ("b.csv:2", "1"),
    ]


def test_settings_and_forecast() -> None:
    for settings in ({}, {"data": "a.jsonl", "hub": "a/b"}):
        with pytest.raises(ValueError, match="give either data or hub"):
            DataSource(**settings)
    made = DataSource(hub="a/b", rows=1000, tokens=2e5, license="MIT").forecast({}).makes
    assert made == Facts(rows=1000, tokens_per_row=200, basis="stated")
    assert DataSource(data="a", limit=10).forecast({"a": Facts(rows=7, tokens_per_row=30)}).makes == Facts(
        rows=7, tokens_per_row=30
    )
    assert DataSource(hub="a/b").forecast({}).makes.rows == 0


def test_the_hub_is_streamed_and_its_failures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    from bactrian.data.io import files

    asked = []

    def load_dataset(*which: Any, **how: Any) -> Any:
        asked.append((which, how))
        yield {"prompt": "2 + 2?", "completion": "4", "note": None}
        if which[0] == "x/broken":
            raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(files, "hub_commit", lambda repo, revision: f"{revision}'s commit")
    made = make(tmp_path, hub="x/y", subset="main", license="MIT", revision="v1")
    assert asked == [
        (("x/y", "main"), {"split": "train", "data_files": None, "revision": "v1's commit", "streaming": True})
    ]
    assert [(row["id"], row["source"]) for row in read_rows(made.output)] == [("x/y/main/train:1", "x/y")]
    assert read_provenance(made.output)[0]["commit"] == "v1's commit"
    with pytest.raises(
        BactrianError, match="x/broken/train: could not be read from the Hub: ConnectionError: no network"
    ):
        make(tmp_path, hub="x/broken", license="MIT")


def test_a_recipe_carries_licence_and_mark_into_every_manifest_and_needs_no_hub_for_a_plan(tmp_path: Path) -> None:
    from bactrian.run.plan import plan

    (tmp_path / "train-0.jsonl").write_text(lines(*[GOOD] * 3))
    (tmp_path / "r.yaml").write_text("""
steps:
  mine: {stage: source, data: train-*.jsonl, license: CC-BY-NC-4.0, title: Mine}
  again: {stage: source, data: mine}
  far: {stage: source, hub: nobody/has-this, license: MIT, rows: 12}
""")
    recipe, store = load(tmp_path / "r.yaml"), Store(tmp_path / "runs")
    assert {step.name: step.state for step in plan(recipe, store).steps} == {
        "mine": "make",
        "again": "make",
        "far": "make",
    }
    with pytest.raises(BactrianError, match="nobody/has-this"):
        run(recipe, store)
    run(recipe, store, only="mine")
    run(recipe, store, only="again")
    for folder in (tmp_path / "runs" / "artifacts").iterdir():
        if folder.name.startswith("source-") and not folder.name.endswith(".partial"):
            assert Manifest.read(folder).licences == (Licence.of("Mine", "CC-BY-NC-4.0"),)
            assert [row["id"] for row in read_rows(folder)] == ["train-0.jsonl:1", "train-0.jsonl:2", "train-0.jsonl:3"]


REAL: list[tuple[str, dict[str, Any], int, str]] = [
    ("gsm8k_train.jsonl.gz", {"verifier": "gsm8k"}, 7473, "problem"),
    ("coconot_pref.jsonl.gz", {}, 927, "pair"),
    ("hh_rlhf_harmless_test.dev.jsonl", {}, 1134, "pair"),
    ("lf_glaive_toolcall_en_demo.jsonl", {}, 300, "conversation"),
    (
        "oasst1_eval_conversations.jsonl.gz",
        {"layout": "transcript", "columns": {"text": "{input} {output}"}},
        951,
        "conversation",
    ),
    ("tinyshakespeare.txt", {"text_rows": "paragraph"}, 7222, "text"),
]


@pytest.mark.parametrize(("name", "settings", "rows", "kind"), REAL)
def test_real_files(name: str, settings: dict[str, Any], rows: int, kind: Any, tmp_path: Path) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not at hand: third-party data are not part of the repository")
    made = make(tmp_path, SHARED / name, license="MIT", **settings)
    assert len(read_rows(made.output, kind)) == rows


STRAY, TALK = (
    {"text": "Once upon a time."},
    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
)


@pytest.mark.parametrize("place", [0, 1, 50, 99])
def test_a_stray_row_costs_itself_wherever_it_stands(tmp_path: Path, place: int, capsys: Any) -> None:
    file = tmp_path / "a.jsonl"
    rows = [TALK] * 99
    file.write_text(lines(*rows[:place], STRAY, *rows[place:]))
    made = make(tmp_path, file, license="MIT")
    assert len(read_rows(made.output, "conversation")) == 99
    (drop,) = map(json.loads, (made.output / "drops.jsonl").read_text().splitlines())
    assert drop["reason"] == "a text row, where most are conversation rows" and f"line {place + 1}" in drop["where"]
    account = json.loads((made.output / "rows.json").read_text())
    assert account["kind"] == "conversation" and account["dropped"][drop["reason"]]["count"] == 1
    assert drop["reason"] in capsys.readouterr().err


def test_most_of_the_first_thousand_decide_and_what_comes_later_does_not(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(*[STRAY] * 50, *[TALK] * 950, *[STRAY] * 9000))
    made = make(tmp_path, file, license="MIT", bad_limit=0.95)
    assert len(read_rows(made.output, "conversation")) == 950
    with pytest.raises(BactrianError, match=r"9,050 of 10,000 rows cannot be used"):
        make(tmp_path / "strict", file, license="MIT", bad_limit=0.9)


@pytest.mark.parametrize(("texts", "talks", "limit"), [(1, 1, 1.0), (20, 80, 0.1), (50, 50, 0.9), (700, 700, 0.2)])
def test_a_mixture_is_one_error_with_counts_and_places(tmp_path: Path, texts: int, talks: int, limit: float) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(*[STRAY] * texts, *[TALK] * talks))
    seen = min(talks, 1000 - texts)
    with pytest.raises(BactrianError) as caught:
        make(tmp_path, file, license="MIT", bad_limit=limit)
    said = str(caught.value)
    assert said.startswith(f"a.jsonl: rows of several kinds: of the first {texts + seen:,}") and "\n" not in said
    assert f"{seen:,} conversation rows (a.jsonl:{texts + 1}" in said and f"{texts:,} text rows (a.jsonl:1" in said
    assert not (tmp_path / "made" / "output" / "drops.jsonl").exists()


def test_a_layout_that_is_named_takes_its_kind_out_of_a_mixture(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(*[STRAY] * 20, *[TALK] * 80))
    made = make(tmp_path, file, license="MIT", layout="messages", bad_limit=0.2)
    assert len(read_rows(made.output, "conversation")) == 80
