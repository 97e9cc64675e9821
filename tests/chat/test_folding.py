"""Where the question begins in a prompt: golds and hard negatives."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import folding
from bactrian.chat.folding import bare, question_starts

SHOTS = "Question: 3 apples and 2?\nAnswer: 5\n\nQuestion: 4 pears less 1?\nAnswer: 3\n\n"
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
TURNS = "<|im_start|>system\nBe brief.<|im_end|>\n" + CHATML.format("1+1?") + "2<|im_end|>\n"
TULU = "<|user|>\n1+1?\n<|assistant|>\n2</s>\n<|user|>\n{}\n<|assistant|>\n"
LLAMA = "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
ASKED = ["How many are 4 and 4?", "How many are 9 less 2?", "What is left?\n\nThink of Ann: she ate two."]


def folded(prompts: list[str]) -> list[str]:
    return [bare(prompt[start:]) for prompt, start in zip(prompts, question_starts(prompts), strict=True)]


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(folding).failed == 0


@pytest.mark.parametrize("form", [TURNS + CHATML, TULU, LLAMA], ids=["chatml", "tulu", "llama"])
def test_of_a_chat_the_last_users_turn(form: str) -> None:
    assert folded([form.replace("{}", each) for each in ASKED]) == ASKED


def test_of_a_chat_with_the_shots_in_one_message_the_question_alone() -> None:
    prompts = [CHATML.format(SHOTS + "Question: " + each) for each in ASKED]
    assert folded(prompts) == ["Question: " + each for each in ASKED]


def test_of_plain_text_what_comes_after_the_shots() -> None:
    prompts = [f"{SHOTS}Question: {each}\nAnswer:" for each in ASKED]
    assert folded(prompts) == [f"Question: {each}\nAnswer:" for each in ASKED]


def test_shots_that_differ_from_question_to_question() -> None:
    prompts = [f"Question: {n}+{n}?\nAnswer: {2 * n}\n\nQuestion: {each}\nAnswer:" for n, each in enumerate(ASKED)]
    assert folded(prompts) == [f"Question: {each}\nAnswer:" for each in ASKED]


def test_a_question_alone_and_the_same_question_twice_stay_whole() -> None:
    for prompts in ([ASKED[2]], [ASKED[2]] * 2, [ASKED[0], ASKED[1]], ["", ""], []):
        assert question_starts(prompts) == [0] * len(prompts)


def test_one_prompt_of_a_chat_is_not_folded_to_nothing() -> None:
    assert folded([CHATML.format("Only one?")] * 3) == ["Only one?"] * 3


@given(st.lists(st.text(alphabet="ab<|>\n: Q", max_size=40), max_size=6))
def test_every_start_is_in_its_prompt_and_something_is_left(prompts: list[str]) -> None:
    for prompt, start in zip(prompts, question_starts(prompts), strict=True):
        assert start == 0 or (0 < start < len(prompt) and bare(prompt[start:]))
