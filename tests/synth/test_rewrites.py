"""Rewrites by hostile generators: the seed again, an answer in place of a request, too short, too long, a quotation."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.io.files import read_rows
from bactrian.data.synth.prompt_templates import shipped_prompts
from bactrian.data.synth.rewrites import REWRITES, RewriteGuard, rewrite_flaw
from bactrian.errors import BactrianError
from bactrian.stages.synth.synthesise import Synthesise
from tests.synth.mock import dropped, generator, workspace

QUESTION = "How many days does a letter from Lisbon take to reach Oslo by sea, if the ship leaves on Monday?"
ANSWER = "A letter that leaves Lisbon on Monday is in Oslo on Saturday, five days later."
TEXT = (
    "The lighthouse on the northern cape was built in 1887 by two brothers who had never seen the sea before. They "
    "carried every stone up the cliff by hand, and when the lamp was lit for the first time half the village wept."
)
SEED = {
    "id": "q",
    "messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}],
    "license": "MIT",
}
AGAIN, ANSWERS = "a rewrite that is its seed again", "an answer in place of a request"
SHORT, LONG = "a rewrite that is too short", "a rewrite that is too long"
QUESTIONS = {
    QUESTION: AGAIN,
    QUESTION.upper().replace(",", " ,"): AGAIN,
    ANSWER: ANSWERS,
    f"The question is hard. {ANSWER}": ANSWERS,
    "Sure! It needs about five days, if no storm keeps the ship in port?": ANSWERS,
    "The answer: it will be in Oslo after five days at sea, with luck.": ANSWERS,
    "Letters from Lisbon are five days on their way and reach Oslo on Saturdays.": ANSWERS,
    "How long does it take?": SHORT,
    "How many days? " * 40: LONG,
}
GOOD = {
    "paraphrase": "A ship sails from Lisbon on Monday: after how many days will a letter aboard be in Oslo?",
    "evolve-deeper": "How many days does a letter from Lisbon take to Oslo by sea if the ship leaves on Monday and "
    "stops in Hamburg for two days?",
    "evolve-broader": "How many tides pass while a raft of logs drifts from the upper lakes to the mill?",
}


@pytest.mark.parametrize("template", sorted(GOOD))
def test_hostile_rewrites_of_a_question_are_each_dropped(template: str, tmp_path: Path) -> None:
    told = {text: reason for text, reason in QUESTIONS.items() if (template, reason) != ("evolve-broader", SHORT)}
    said = [*told, GOOD[template]]

    def answer(body: dict[str, Any]) -> str:
        return f"Request: {said[body['seed'] % len(said)]}"

    work = workspace(tmp_path, [SEED])
    with generator(answer) as (settings, _):
        stage = Synthesise(
            seeds="seeds.jsonl",
            template=template,
            label="Request:",
            generators=[settings],
            per_seed=len(said),
            gates={"decontaminate": False, "novelty": None},
        )
        stage.resolved().run(work)
    found = {each["text"].removeprefix("Request: ").strip(): each["reason"] for each in dropped(work)}
    wanted = {text.strip(): reason for text, reason in told.items()}
    hidden = {text: reason for text, reason in found.items() if wanted[text] != reason}
    assert not {text for text, reason in hidden.items() if reason != "an answer that repeats the prompt"}
    assert set(found) == set(wanted), "every one is dropped, once"
    assert [row["messages"][0]["content"] for row in read_rows(work.output)] == [GOOD[template]]


def test_a_request_for_a_text_is_neither_the_text_nor_a_quotation_of_it(tmp_path: Path) -> None:
    said = {
        TEXT: None,
        "Tell how the lighthouse on the northern cape was built in 1887 by two brothers who had never seen the sea": (
            "a rewrite that quotes its seed"
        ),
        "A village weeps when a lamp is lit, which was carried up by brothers.": ANSWERS,
        "Here is the request you wanted: tell a tale of a lighthouse.": ANSWERS,
        "Write two sentences on how a remote lighthouse came to be built.": "",
    }
    rows = [{"id": f"t{n}", "text": f"{TEXT} Nobody says why {n}.", "license": "MIT"} for n in range(len(said))]
    work = workspace(tmp_path, rows)
    with generator(lambda body: f"Request: {list(said)[body['seed'] // 1_000_003 % 5]}") as (settings, _):
        stage = Synthesise(
            seeds="seeds.jsonl",
            template="instruction-for-text",
            label="Request:",
            generators=[settings],
            gates={"decontaminate": False},
        )
        stage.resolved().run(work)
    found = {list(said)[int(each["answer"].split("/")[0])]: each["reason"] for each in dropped(work)}
    assert TEXT in found and {text: reason for text, reason in found.items() if text != TEXT} == {
        text: reason for text, reason in said.items() if reason
    }
    assert [row["messages"][0]["content"] for row in read_rows(work.output)] == list(said)[-1:]


def test_every_shipped_template_that_rewrites_is_guarded() -> None:
    assert set(REWRITES) <= set(shipped_prompts())
    solves = {"solve-math", "solve-gsm", "solve-python", "solve-by-program", "rationale"}
    others = {name for name in shipped_prompts() if name.startswith(("persona", "related"))} | solves
    assert set(shipped_prompts()) - others == set(REWRITES)


LETTERS = st.text("ab Zé?.\n", max_size=20)


@given(LETTERS, LETTERS)
def test_a_rewrite_is_never_its_seed(made: str, seed: str) -> None:
    guard = RewriteGuard("question", 0.0, 1e9, asks=False)
    same = rewrite_flaw(seed, seed, "", guard)
    assert same is not None and same.reason == AGAIN
    spaced = rewrite_flaw(f"  {seed}\n", seed, "", guard)
    assert spaced is not None and spaced.reason == AGAIN
    other = rewrite_flaw(made, f"{seed} and one more word", "", guard)
    assert (other is None) or other.reason == AGAIN


@pytest.mark.parametrize(
    "made",
    [
        "Please list three rivers of Asia.",
        "I need a name for my boat.",
        "Given two numbers, find their sum.",
        "You have nine eggs. Work out how many are left, then tell me why.",
        "Is it late?",
        "Consider a queue of ten people. Compute the number of orders.",
    ],
)
def test_requests_are_not_taken_for_answers(made: str) -> None:
    guard = RewriteGuard("question", 0.0, 100.0)
    assert rewrite_flaw(made, "What is the sum of two and three?", "five", guard) is None


def test_a_seed_without_what_is_rewritten_is_named(tmp_path: Path) -> None:
    stage = Synthesise(
        seeds="seeds.jsonl",
        prompt="{{ text }}",
        rewrites={"of": "question"},
        generators=[{"server": {"url": "http://localhost:1/v1", "model": "m"}}],
        gates={"decontaminate": False},
    )
    with pytest.raises(BactrianError, match="row t: no 'question', which is to be rewritten"):
        stage.run(workspace(tmp_path, [{"id": "t", "text": TEXT, "license": "MIT"}]))
