"""Demonstrations and what is judged share no prompt."""

import pytest

from bactrian.errors import BactrianError
from bactrian.judge.calibration.disjoint import check_disjoint
from bactrian.judge.opinions import AnswerPair


def pair(name: str, prompt: str, first: str = "one", second: str = "two") -> AnswerPair:
    return AnswerPair(name, ({"role": "user", "content": prompt},), first, second)


def test_other_prompts_are_fine() -> None:
    check_disjoint([pair("d1", "Name a bird.")], [pair("c1", "Name a fish."), pair("c2", "Name a bird and a fish.")])


@pytest.mark.parametrize("prompt", ["Name a bird.", "  name a\n BIRD. "])
def test_a_prompt_in_both_is_named_whatever_the_answers(prompt: str) -> None:
    items = [pair("c1", "Name a fish."), pair("c7", prompt, "x", "y")]
    with pytest.raises(BactrianError, match=r"1 of 2 .* among the test items \(d2 is the prompt of c7\)"):
        check_disjoint([pair("d1", "Name a tree."), pair("d2", "Name a bird.")], items, "test items")


def test_only_the_first_few_are_named() -> None:
    pairs = [pair(f"p{number}", f"Prompt {number}") for number in range(5)]
    with pytest.raises(BactrianError, match=r"found 5 of 5 .* p2 is the prompt of p2; and 2 more\)"):
        check_disjoint(pairs, pairs)
