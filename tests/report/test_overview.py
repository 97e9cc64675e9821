"""A suite of many tasks: one chart of all scores, flags in words, metrics that are no shares."""

from pathlib import Path
from typing import Any

from bactrian.report.card import _scores
from bactrian.report.model_facts import Evaluated, ModelFacts
from bactrian.report.overview import overview, sentences
from bactrian.report.run_record import ReportedStep, ResultsRecord, StepRecord
from bactrian.report.scores import BITS, _verdict, task_views
from bactrian.report.transcripts import task_transcripts


def results(tasks: int = 5, **changes: Any) -> ResultsRecord:
    scores: list[dict[str, Any]] = [
        {
            "model": model,
            "task": f"t{i}",
            "questions": 100,
            "score": 0.2 + 0.1 * i + 0.3 * (model == "sft"),
            "interval": [0.1, 0.9],
            "metric": "exact match",
            "flags": [],
        }
        for i in range(tasks)
        for model in ("base", "sft")
    ]
    scores[1]["flags"] = [{"name": "gold answers", "text": "look <shuffled>"}]
    scores[1]["clean"] = {"held": 40, "questions": 60, "score": 0.25, "interval": [0.2, 0.3]}
    scores += [{"model": "base", "task": "bits_c4", "score": 1.25, "interval": [1.1, 1.4], "metric": "bits per byte"}]
    comparisons = [
        {
            "task": f"t{i}",
            "before": "base",
            "after": "sft",
            "difference": 0.3,
            "interval": [0.1, 0.5],
            "p": 0.01,
            "p_holm": 0.2 if i == 4 else 0.03,
        }
        for i in range(tasks)
    ]
    return ResultsRecord.model_validate(
        {"tasks": {}, "models": ["base", "sft"], "scores": scores, "comparisons": comparisons} | changes
    )


def test_all_scores_on_one_ruler_with_what_is_flagged() -> None:
    found = overview(results())
    assert found is not None
    assert [row.label for row in found.chart.rows] == ["t0", "", "t1", "", "t2", "", "t3", "", "t4", ""]
    assert found.flags == [("t0, sft", "gold answers", "look <shuffled>")]
    assert [row.tone for row in found.chart.rows[:3]] == ["", "worse", ""]
    assert overview(results(tasks=2)) is None  # few tasks need none


def test_a_suite_in_three_sentences() -> None:
    first, second, third = map(str, sentences(results()))
    assert first.startswith("6 tasks were asked") and "base <strong>40.0" in first and "sft <strong>70.0" in first
    assert "4 of 5 tasks went up and 0 down" in second  # the fifth is not told from chance once all are corrected
    assert "1 of 11 scores are flagged" in third


def test_texts_whose_bits_are_counted_have_no_answers_to_tell_of() -> None:
    assert [view.name for view in task_views(results()) if not view.answered] == ["bits_c4"]


def test_each_metric_by_its_own_name_and_scale() -> None:
    views = {view.name: view for view in task_views(results())}
    facts = dict(views["t0"].facts)
    assert facts["found in what sft was trained on"].startswith("40 of its questions; without them 25.0")
    assert facts["look out, sft: gold answers"] == "look <shuffled>"
    bits = views["bits_c4"]
    assert bits.chart.title == "Bits per byte" and bits.lines[0].score == "1.250"
    assert bits.chart.rows[0].value == "1.250" and bits.chart.rows[0].aside == "1.100 to 1.400"


def test_a_change_of_bits_per_byte_is_told_in_bits_and_less_is_better() -> None:
    change = {"task": "bits", "before": "base", "after": "sft", "difference": -0.1, "interval": [-0.15, -0.05]}
    scores = [
        {"model": model, "task": "bits", "questions": 9, "score": score, "interval": [0.5, 1], "metric": BITS}
        for model, score in (("base", 0.9), ("sft", 0.8))
    ]
    found = ResultsRecord.model_validate(
        {"tasks": {}, "models": ["base", "sft"], "scores": scores, "comparisons": [change | {"p": 0.001}]}
    )
    (view,) = task_views(found)
    assert view.steps is not None
    (row,) = view.steps.rows
    assert (row.value, row.tone) == ("−0.100 bits per byte", "better")
    assert row.aside.startswith("−0.150 to −0.050") and "points" not in row.aside
    headline = str(_verdict(found).sentences[0])
    assert "9 evaluation texts" in headline and "0.900" in headline and "−0.100 bits per byte" in headline
    about = ModelFacts(
        "sft", None, evaluations=(Evaluated("e", "", "sft", tuple(found.scores[1:]), tuple(found.comparisons)),)
    )
    step = ReportedStep(StepRecord(name="scores", stage="evaluate"), Path("nowhere"), results=found)
    assert task_transcripts(step) == [], "texts are no answers"
    told = _scores(about)
    assert "0.800" in told and "80.0" not in told and "−0.100 bits per byte" in told
