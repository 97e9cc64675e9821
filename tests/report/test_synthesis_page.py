"""The page on rows that models made: kept and dropped with reasons, bounded, harmless, usable by keyboard."""

import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run

from bactrian.data.io.files import write_rows
from bactrian.data.likeness.against import against
from bactrian.data.likeness.bags import text_bag
from bactrian.data.synth.diversity import diversity
from bactrian.report import write_report
from bactrian.report.data_page import write_data_page
from bactrian.report.funnel import funnel
from bactrian.report.synthesis_rows import DROPPED_SHOWN, KEPT_SHOWN, made_rows
from bactrian.stages.synth.vote import Vote
from tests.chromium import CHROMIUM, Chromium
from tests.synth.mock import workspace
from tests.synth.test_voting import ROWS

HOSTILE = (
    '<script>alert("x")</script></article></pre><img src=x onerror=alert(1)> \' " \u202e\x00\x1b[2J {{ 7*7 }} </style>'
)
ACCOUNT = {
    "kept": 40,
    "repaired": {"mended: a fence": {"count": 2, "examples": []}},
    "dropped": {"no JSON": {"count": 30, "examples": ["x"]}, HOSTILE: {"count": 1, "examples": [HOSTILE]}},
    "funnel": {"requests": 80, "answers": 73, "read": 43, "kept": 42},
    "cost": {"answers": 73, "tokens_read": 9000, "tokens_written": 4200, "money": 0.5},
}


class SeenSynthesis(HTMLParser):
    """The articles of the page with their attributes and text, and every tag."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self._articles: list[tuple[dict[str, str | None], list[str]]] = []
        self._options: list[tuple[str | None, list[str]]] = []
        self._text: list[str] = []
        self.feed(source)
        self.text = "".join(self._text)
        self.articles = [(attributes, "".join(parts)) for attributes, parts in self._articles]
        self.options = [(value, "".join(parts).strip()) for value, parts in self._options]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "article":
            self._articles.append((dict(attrs), []))
        if tag == "option":
            self._options.append((dict(attrs)["value"], []))

    def handle_data(self, data: str) -> None:
        self._text.append(data)
        if self._articles:
            self._articles[-1][1].append(data)
        if self._options and self.tags[-1] == "option":
            self._options[-1][1].append(data)


def row(number: int, text: str, **made_by: Any) -> dict[str, Any]:
    by = {"model": "mock", "template": "persona-gsm", "persona": "a judge", "seed": f"p{number}", **made_by}
    asked = [{"role": "user", "content": text}]
    return {"id": f"r{number}", "messages": asked, "source": "s", "license": "MIT", "made_by": by}


def artifact(
    folder: Path, rows: list[dict[str, Any]], dropped: list[dict[str, Any]], account: dict[str, Any] = ACCOUNT
) -> Path:
    write_rows(rows, folder, card="# Made")
    (folder / "dropped.jsonl").write_text("".join(json.dumps(each) + "\n" for each in dropped))
    (folder / "rows.json").write_text(json.dumps(account))
    return folder


def line(number: int, reason: str, text: str = "Hm.", **more: Any) -> dict[str, Any]:
    about = {"model": "mock", "template": "persona-gsm", "prompt": f"Asked {number}"}
    return {"answer": f"{number}/0", "reason": reason, "detail": "", "text": text, **about, **more}


def test_each_row_has_its_prompt_answer_and_verdict_and_can_be_filtered(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a", [row(0, "How many bees?")], [line(1, "no JSON", "Sure!"), line(2, "a refusal")])
    asked = {"answer": "0/0", "mended": ["a fence"], "model": "mock", "prompt": "Make a problem for a judge."}
    (folder / "kept.jsonl").write_text(json.dumps(asked) + "\n")
    seen = SeenSynthesis(write_data_page(folder, tmp_path / "page.html").read_text())
    kept, first, second = seen.articles
    for part in (
        "kept",
        "Make a problem for a judge.",
        "How many bees?",
        "mock",
        "persona-gsm",
        "mended a fence",
        "p0",
    ):
        assert part in " ".join(kept[1].split()), part
    assert "dropped: no JSON" in first[1] and "Asked 1" in first[1] and "Sure!" in first[1]
    options = dict(seen.options[: seen.options.index(("", "all"), 1)])
    assert options["kept"] == "kept (1 of 1)" and options["dropped"] == "dropped (2 of 2)"
    assert (
        options[first[0]["data-reason"]] == "no JSON (1 of 1)"
        and options[second[0]["data-reason"]] == "a refusal (1 of 1)"
    )
    assert kept[0]["data-reason"] == "kept" and "How many came how far" in seen.text and "58.9" in seen.text
    for fact in ("Kept of 100 answers", "Money for 1,000 kept rows", "11.9", "Tokens written for a kept row", "100"):
        assert fact in seen.text, fact


def test_hostile_rows_are_shown_and_do_nothing(tmp_path: Path) -> None:
    rows = [row(0, HOSTILE, model=HOSTILE, template=HOSTILE, persona=HOSTILE), row(1, "x" * 2_000_000)]
    evil = line(1, HOSTILE, HOSTILE, model=HOSTILE, prompt=HOSTILE, detail=HOSTILE)
    several = [{"model": HOSTILE, "text": HOSTILE, "verdict": HOSTILE}, 3]
    folder = artifact(tmp_path / "a", rows, [evil, line(2, "y", "z" * 2_000_000), line(3, HOSTILE, answers=several)])
    with (folder / "dropped.jsonl").open("a") as file:
        file.write('{"answer": "half\n[1]\n')
    told = {"diversity": diversity([HOSTILE, "b"]), "against": against(text_bag([HOSTILE] * 2), text_bag([HOSTILE]))}
    likeness = {"of": "prompts", "names": {"a": HOSTILE, "b": HOSTILE}, **told}
    source = write_data_page(folder, tmp_path / "page.html", likeness=likeness).read_text()
    seen = SeenSynthesis(source)
    assert len(source) < 200_000 and len(seen.articles) == 7
    assert seen.tags.count("script") == 1 and seen.tags.count("style") == 1 and "img" not in seen.tags
    assert seen.text.count('<script>alert("x")</script>') > 12 and "{{ 7*7 }}" in seen.text
    assert "⟨U+202E⟩⟨U+0000⟩⟨U+001B⟩" in seen.text and not set(source) & set("\u202e\x00\x1b")
    assert "1,998,000 more characters" in seen.text and seen.text.count("(a damaged line)") >= 2
    assert all(
        set(attributes) == {"class", "tabindex", "data-reason", "data-model", "data-template"}
        for attributes, _ in seen.articles
    )


def test_a_large_set_is_a_small_page_and_rare_reasons_are_on_it(tmp_path: Path) -> None:
    rows = [row(number, f"How many bees are {number}? " + "Well. " * 100) for number in range(4 * KEPT_SHOWN)]
    dropped = [line(number, f"reason {number % 30}", "Hm. " * 400) for number in range(9_000)]
    folder = artifact(tmp_path / "a", rows, [*dropped, line(9_000, "once")])
    started = time.process_time()
    source = write_data_page(folder, tmp_path / "page.html").read_text()
    assert time.process_time() - started < 10 and len(source) < 6_000_000
    assert f"Shown are {KEPT_SHOWN} of 1,200 kept rows" in source and "of 9,001 dropped answers" in source
    seen = SeenSynthesis(source)
    assert len(seen.articles) <= KEPT_SHOWN + DROPPED_SHOWN
    assert sum("dropped: once" in text for _, text in seen.articles) == 1
    assert write_data_page(folder, tmp_path / "again.html").read_text() == source


def test_rows_of_a_vote_show_every_answer(tmp_path: Path) -> None:
    work = workspace(tmp_path, ROWS)
    Vote(data="seeds.jsonl").run(work)
    made = made_rows(work.output)
    assert made is not None and (made.kept_shown, made.dropped_shown) == (2, 5)
    verdicts = {entry.name: entry.verdict for entry in made.entries}
    assert verdicts["equal"] == "kept: 2 of 3 answers agree" and verdicts["few"] == "dropped: fewer than 3 answers"
    tie = next(entry for entry in made.entries if entry.name == "tie")
    assert tie.prompt is not None and tie.prompt.text == "Question tie?"
    assert [each.verdict for each in tie.answers] == ["read as 1", "read as 1", "read as 2", "read as 2"]
    seen = SeenSynthesis(write_data_page(work.output, tmp_path / "page.html").read_text())
    assert "with an answer that can be read" in seen.text and "no strict majority" in seen.text


def test_other_data_have_no_funnel_and_no_such_rows(tmp_path: Path) -> None:
    write_rows([{**row(0, "Hello?"), "made_by": None}], tmp_path / "plain")
    assert made_rows(tmp_path / "plain") is None and funnel({"kept": 3, "dropped": {"x": {"count": 2}}}) is None
    seen = SeenSynthesis(write_data_page(tmp_path / "plain", tmp_path / "page.html").read_text())
    assert not seen.articles and "How many came how far" not in seen.text


@pytest.mark.parametrize(
    "account",
    [
        {"funnel": [1], "cost": 7},
        {"funnel": {"a": "x", "b": -1, "c": None}, "cost": {"money": "much"}, "dropped": {"x": 3}, "repaired": [2]},
        {
            "funnel": {"a": 0, "b": 0},
            "cost": {},
            "dropped": {"x": {"count": 1e400}},
            "diversity": {"topics": {"clusters": 3}},
        },
        {
            "funnel": {str(number): number for number in range(200)},
            "diversity": {"topics": {"clusters": [{}]}, "texts": "x"},
        },
    ],
)
def test_a_damaged_account_never_breaks_the_page(tmp_path: Path, account: dict[str, Any]) -> None:
    folder = artifact(tmp_path / "a", [row(0, "a")], [], account)
    assert SeenSynthesis(write_data_page(folder, tmp_path / "page.html").read_text()).articles


def test_the_report_of_a_run_holds_the_funnel(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    steps = json.loads((run / "run.json").read_text())["steps"]
    folder = tmp_path / next(step["path"] for step in steps if step["kind"] == "data")
    (folder / "rows.json").write_text(json.dumps({**ACCOUNT, "diversity": diversity(["a bee", "a ship", "bread"])}))
    source = write_report(run).read_text()
    seen = SeenSynthesis(source)
    for part in (
        "How many came how far",
        "Why the rest was dropped",
        "58.9",
        "bactrian data problems --run",
        "dispersion",
    ):
        assert part in seen.text, part
    assert seen.tags.count("script") == 1 and "img" not in seen.tags


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to show the page in")
def test_filters_pages_and_keys(tmp_path: Path) -> None:
    rows = [row(number, f"How many bees are {number}?") for number in range(45)]
    dropped = [line(0, "no JSON", "unicorn"), line(1, "a refusal", model="other"), line(2, "no JSON")]
    page = write_data_page(artifact(tmp_path / "a", rows, dropped), tmp_path / "page.html")
    shown = "[...document.querySelectorAll('article.made')].filter((each) => !each.hidden).length"
    with Chromium(tmp_path / "profile") as browser:
        tab = browser.tab()
        tab.open(page.as_uri())
        tab.wait("document.querySelector('.pager output')?.textContent.startsWith('1 to 20 of 48')")
        assert tab.run(shown) == 20
        tab.press("n")
        tab.press("n")
        assert tab.run(shown) == 8 and "41 to 48" in tab.run("document.querySelector('.pager output').textContent")
        tab.press("j")
        assert tab.run("document.activeElement.textContent.includes('How many bees are 40?')")
        tab.press("k")
        tab.press("/")
        tab.type("UNICORN")
        assert tab.run(shown) == 1 and tab.run("document.activeElement.type") == "search"
        choose = "(select, value) => { select.value = value; select.dispatchEvent(new Event('change')); }"
        tab.run("document.querySelector('.browse input').value = ''")
        for by, value, count in (("reason", "dropped", 3), ("reason", "0", 2), ("model", "1", 0), ("reason", "", 1)):
            tab.run(f"({choose})(document.querySelector('[data-by={by}]'), '{value}')")
            assert tab.run(shown) == count, (by, value)
