"""A value is told in the unit of its metric: a share in percent, bits per byte as they are, a count as a count."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bactrian.cli import main as cli
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.estimates import bootstrap_ratio
from bactrian.evaluate.records import Record, write_records
from bactrian.evaluate.score_tables import also_text, difference_lines
from bactrian.evaluate.scoring import BITS, Averaging

BYTES = [100, 400, 50, 250]
BEFORE, AFTER = [120.0, 300.0, 60.0, 200.0], [110.0, 310.0, 40.0, 190.0]


def texts(bits: list[float]) -> list[Record]:
    return [
        Record(
            f"t{n}",
            0,
            "Some text.",
            "",
            "",
            None,
            all_bits / size,
            "right",
            0,
            "stop",
            group="ab"[n % 2],
            values={"bits": all_bits, "bytes": float(size), "tokens": 9.0},
        )
        for n, (all_bits, size) in enumerate(zip(bits, BYTES, strict=True))
    ]


def test_bits_per_byte_are_compared_as_they_are_scored_and_less_is_better() -> None:
    how = Averaging.of_results({"metric": BITS})
    found = compare_task("wiki", how, texts(BEFORE), texts(AFTER))
    assert (found.before, found.after) == pytest.approx((680 / 800, 650 / 800))
    assert (found.before, found.after) == pytest.approx(tuple(bootstrap_ratio(b, BYTES)[0] for b in (BEFORE, AFTER)))
    assert found.comparison.difference == pytest.approx(-30 / 800)
    assert (found.comparison.gained, found.comparison.lost, found.flips) == (3, 1, [])
    assert found.groups["a"] == pytest.approx((180 / 150, 150 / 150, 2))
    low, high = found.comparison.interval
    assert low < found.comparison.difference < high and 0 < found.comparison.p < 1
    alone = compare_task("wiki", how, texts(BEFORE)[:1], texts(AFTER)[:1]).comparison
    assert (alone.p, alone.test) == (1.0, "none: a single text")


def results_folder(place: Path) -> str:
    place.mkdir()
    sides = {"base": texts(BEFORE), "tuned": texts(AFTER)}
    write_records(
        place / "questions.parquet",
        (({"model": m, "task": "wiki", "mode": "greedy"}, each) for m, mine in sides.items() for each in mine),
    )
    (place / "results.json").write_text(json.dumps({"tasks": {"wiki": {"metric": BITS}}, "scores": []}))
    return str(place)


def test_compare_and_scores_print_bits_per_byte_as_they_are(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "results")

    def invoke(*arguments: str) -> str:
        return CliRunner().invoke(cli.commands, list(arguments), catch_exceptions=False).output

    told = invoke("compare", f"{folder}:base", f"{folder}:tuned", "--groups")
    assert all(text in told for text in ("0.850", "0.812", "-0.037", "less is better", "1.200", "-0.200")), told
    assert "3 of 4 texts take fewer bits, 1 more" in told and "85.0" not in told and "gained" not in told
    spread = invoke("scores", f"{folder}:base", f"{folder}:tuned")
    assert "0.850, 0.812" in spread and "0.831" in spread and "85.0" not in spread


def test_counts_and_differences_have_their_own_units() -> None:
    lengths = {"metric": "recited", "numbers": {"lcs_word_p50": 30.0, "neither": 0.25}}
    assert also_text(lengths) == "lcs word p50 30, neither 25.0"
    assert also_text({"metric": BITS, "numbers": {"mean over questions": 1.25, "tokens": 9.0}}) == (
        "mean over questions 1.250"
    )
    each = {"task": "wiki", "mode": "greedy", "before": "a", "after": "b", "difference": -0.03, "p": 0.5}
    each |= {"interval": [-0.05, 0.01], "gained": 1, "lost": 2, "test": "ratio z"}
    heads, (line,) = difference_lines({"comparisons": [each], "tasks": {"wiki": {"metric": BITS}}})
    assert line[heads.index("difference")] == "-0.030" and line[heads.index("95 % interval")] == "-0.050 to +0.010"
    _, (line,) = difference_lines({"comparisons": [each], "tasks": {}})
    assert "-3.0" in line
