"""What `compare` prints of a flipped question: the question itself, the right answer, and both answers."""

import pytest

from bactrian.cli.score_commands import show_flips
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging

OUTCOME = {True: "right", False: "wrong"}
SHOTS = "Q: 1+1?\nA: 2\n\n" * 60


def records(*right: bool) -> list[Record]:
    return [
        Record(
            f"q{n}",
            0,
            f"{SHOTS}Q: how many are {n} and {n}?\nA:",
            f"So {n}.",
            f"gold-{n}",
            f"{n}",
            float(ok),
            OUTCOME[ok],
            3,
            "stop",
        )
        for n, ok in enumerate(right)
    ]


def test_flips_show_the_question_without_its_shots_and_the_gold(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = records(True, False, True), records(True, True, False)
    show_flips(compare_task("sums", Averaging.of_results({}), before, after), 3)
    out = capsys.readouterr().out
    assert "gained q1" in out and "lost q2" in out and "1+1?" not in out and "q0" not in out
    for line in ("question: Q: how many are 1 and 1? A:", "gold:     gold-1", "before:   So 1.", "gold:     gold-2"):
        assert line in out
