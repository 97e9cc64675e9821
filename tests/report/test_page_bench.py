"""The page's section on questions of two turns: what `mt_bench` left, as it stands there, whatever it is."""

from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run
from test_page_rows import page, sections
from test_report import HOSTILE

from bactrian.judge.winrates.two_turns import BenchQuestion, BenchRating, bench_examples, bench_summary
from bactrian.report import bench_views
from bactrian.report.load import load_run

QUESTIONS = [BenchQuestion(str(n), ("math", "stem")[n % 2], ("Why?", f"And {n}?"), ("a", "b")) for n in range(12)]


def bench(name: str = "strong", text: str = "because") -> dict[str, Any]:
    """What the stage leaves of two models; one rating of the second could not be read."""
    models, shown = {}, []
    for model, level in ((name, 8.0), ("weak", 2.0)):
        ratings = [
            BenchRating(
                q.id, q.category, turn, None if (model, q.id, turn) == ("weak", "3", 2) else level + turn / 2, text
            )
            for q in QUESTIONS
            for turn in (1, 2)
        ]
        models[model] = bench_summary(ratings, resamples=50)
        shown += bench_examples(QUESTIONS, {q.id: [text, text] for q in QUESTIONS}, ratings, model)
    return {"judge": "J", "questions": len(QUESTIONS), "models": models, "examples": shown}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_ratings_by_turn_and_category_and_answers_to_read(run: Path) -> None:
    shown = page(run, mt_bench=bench())
    assert "mtbench" in sections(shown)
    text = shown.text.replace("\u202f", "").replace("\u00a0", " ")
    for part in ("Mean rating from 1 to 10", "turn 1 · 12 answers", "turn 2 · 11 answers", "math", "stem", "strong"):
        assert part in text, part
    for part in ("strong: rated 8.5", "strong: rated 9", "weak: rating not read", "And 3?", "judgement"):
        assert part in text, part
    assert text.index("strong") < text.index("weak: ")


def test_a_run_without_scores_begins_with_the_ratings(run: Path) -> None:
    page(run, mt_bench=bench())
    first, second = bench_views.sentences(load_run(run))
    assert first.startswith("strong is rated <strong>8.75</strong> of 10") and second.startswith("weak is rated")


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[1]",
        {"models": 3, "examples": "x", "judge": []},
        {"models": {"a": {"scores": [{"name": 4, "rating": "x"}, 7], "unread": "many"}, "b": 2}},
        {"models": {"a": {"scores": [{"name": "all", "rating": 1e999, "interval": [None, 2]}]}}, "examples": [3, {}]},
    ],
)
def test_what_is_broken_costs_nothing_else(run: Path, found: Any) -> None:
    assert "scores" in sections(page(run, mt_bench=found))


def test_without_it_there_is_no_section(run: Path) -> None:
    assert "mtbench" not in sections(page(run))


def test_hostile_texts_are_text(run: Path) -> None:
    shown = page(run, mt_bench=bench(HOSTILE, HOSTILE))
    assert shown.count("script") == 1 and shown.count("img") == 0 and "alert(1)" in shown.text
