"""The page's section on data: what stages left of their rows, as it stands there, whatever it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run
from test_report import HOSTILE, Page

from bactrian.report import write_report
from bactrian.report.data_rows import data_views
from bactrian.report.load import load_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def data_folder(run: Path) -> Path:
    steps = json.loads((run / "run.json").read_text())["steps"]
    return run.parent / str(next(step["path"] for step in steps if step["kind"] == "data"))


def page(run: Path, **files: Any) -> Page:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (data_folder(run) / f"{name}.json").write_text(text)
    return Page(write_report(run).read_text())


def sections(found: Page) -> list[str | None]:
    return [attributes.get("id") for tag, attributes in found.elements if tag == "section"]


def test_counts_reasons_examples_and_tables_are_shown(run: Path) -> None:
    account = {
        "kept": 1200,
        "repaired": {"changed by personal": {"count": 7, "examples": ["row 3: '[EMAIL]'"]}},
        "dropped": {"rare": {"count": 1, "examples": []}, "often": {"count": 40, "examples": ["row 1 (why)", "row 2"]}},
        "duplicates": [{"dropped_from": "a", "kept_in": "b", "how": "near", "rows": 12}],
    }
    mixture = {
        "sources": [{"name": "wild", "capability": None, "rows": 30, "content_hash": "deadbeef"}],
        "capabilities": {"math": {"rows": 30, "tokens": 900}},
    }
    found = page(run, rows=account, mixture=mixture)
    assert "data" in sections(found)
    for part in (
        "1,200 kept, 7 repaired, 41 dropped",
        "row 1 (why)",
        "[EMAIL]",
        "Duplicates between sources",
        "kept in",
        "The mixture",
        "wild",
        "By capability",
        "900",
    ):
        assert part in found.text, part
    assert found.text.index("often") < found.text.index("rare")  # the most frequent first
    assert "deadbeef" not in found.text


def test_without_an_account_there_is_no_section(run: Path) -> None:
    assert "data" not in sections(page(run))


@pytest.mark.parametrize(
    "account",
    [
        "",
        "[1]",
        "{" * 100_000,
        {"kept": "x", "dropped": [1], "repaired": {"a": 3}},
        {"kept": 1, "dropped": {"a": {"count": "x", "examples": 7}}, "domains": [1]},
    ],
)
def test_an_account_that_is_damaged_or_another_s_never_breaks_the_page(run: Path, account: Any) -> None:
    assert page(run, rows=account, mixture={"sources": {"a": 1}, "capabilities": [3]}).text


def test_hostile_text_is_shown_and_does_nothing(run: Path) -> None:
    account = {"kept": 1, "dropped": {HOSTILE: {"count": 1, "examples": [HOSTILE]}}, "domains": [{HOSTILE: HOSTILE}]}
    found = page(run, rows=account)
    assert found.count("script") == 1 and found.count("img") == 0
    assert "alert(1)" in found.text


def test_long_tables_are_cut_and_say_so(run: Path) -> None:
    domains = [{"domain": f"d{n}", "taken": n} for n in range(100)]
    assert "40 more lines" in page(run, rows={"kept": 1, "domains": domains}).text
    [view] = data_views(load_run(run))
    assert len(view.tables[0].lines) == 60
