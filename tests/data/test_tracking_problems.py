"""Tracking problems: the answer is that of a plain interpreter, and the traces are what they say they are."""

import operator
import re

import pytest

from bactrian.data.io.problem_rows import split_of
from bactrian.data.synth.digit_chains import tracking
from bactrian.errors import BactrianError
from bactrian.verify import verify

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
ROWS = list(tracking(3, 300, steps=(1, 9)))


def lines_of(row: dict[str, str]) -> list[list[str]]:
    return [part.split("\n") for part in re.split(r"\nWait\n", row["reasoning"])]


def test_answers_are_a_plain_interpreter_s() -> None:
    for row in ROWS:
        question = row["messages"][0]["content"]
        start, told = re.fullmatch(r"Start with (\d)\. (.*) Which digit is left\?", question).groups()  # type: ignore[union-attr]
        digit = int(start)
        for sign, number in re.findall(r"[a-z]: ([-+*]) (\d)\.", told):
            digit = OPERATIONS[sign](digit, int(number)) % 10
        assert row["ground_truth"] == str(digit)
        assert verify("gsm8k", row["solution"], row["ground_truth"]).outcome == "right"
        assert lines_of(row)[-1][-1].endswith(f"= {digit}") and split_of(question) == "train"


def test_the_last_pass_is_right_and_slips_are_as_many_as_asked() -> None:
    again = [row for row in ROWS if len(lines_of(row)) == 2]
    slipped = [row for row in again if lines_of(row)[0] != lines_of(row)[1]]
    assert 60 <= len(again) <= 120 and 0.35 <= len(slipped) / len(again) <= 0.65
    for row in ROWS:
        assert not any(map(wrong, lines_of(row)[-1]))
        assert sum(map(wrong, lines_of(row)[0])) == (row in slipped)


def wrong(line: str) -> bool:
    parts = re.fullmatch(r"[a-z]: (\d) ([-+*]) (\d) = (\d)", line)
    assert parts
    left, sign, right, result = parts.groups()
    return OPERATIONS[sign](int(left), int(right)) % 10 != int(result)


def test_settings() -> None:
    small = list(tracking(1, 50, steps=(3, 3), signs="+", largest=2, again=0.0))
    assert not any(re.search(r"[-*]|\+ [3-9]|Wait", row["reasoning"]) for row in small)
    for bad in ({"signs": "/"}, {"steps": (3, 2)}, {"steps": (1, 27)}, {"again": 2.0}, {"largest": 0}):
        with pytest.raises(BactrianError, match="tracking"):
            list(tracking(0, 1, **bad))  # type: ignore[arg-type]


def test_a_worked_row_is_trained_with_its_thinking() -> None:
    from bactrian.chat import ChatTemplate, render
    from bactrian.data.io.problem_rows import worked_turn
    from bactrian.model.blank import spoken_text, word_tokenizer

    tokenizer = word_tokenizer([spoken_text(row) for row in ROWS], 512)
    template = ChatTemplate.load(tokenizer, "tulu-think")
    row = ROWS[0]
    rendered = render([*row["messages"], worked_turn(row)], template)
    trained = [i for i, weight in zip(rendered.ids, rendered.weights, strict=True) if weight]
    assert tokenizer.decode(trained) == f"<think>{row['reasoning']}</think>\n{row['solution']}</s>"
    assert tokenizer.unk_token_id not in rendered.ids
