"""Thinking and answer of a completion are told apart by its tokens: counted, verified and shown apart."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chain import thinker
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import FORMATS, TAGS, ChatTemplate, ThinkingFormat, ThinkingReader, literal_ids
from bactrian.cli.chat_console import _print_stream
from bactrian.evaluate.answering import Answered, kept, written
from bactrian.evaluate.grading import grade
from bactrian.evaluate.problem_task import Asking, problem_tasks
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import score
from bactrian.generate.engine import Completion, Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
from bactrian.think.thought import Budget
from bactrian.verify import Pool

PROMPT = [{"role": "user", "content": "ab?"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return thinker(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def template(model: LanguageModel) -> ChatTemplate:
    return model.template


@dataclass(frozen=True)
class SaidThinking:
    ids: tuple[int, ...]
    text: str
    finish: str = "stop"


def said(template: ChatTemplate, *pieces: str) -> SaidThinking:
    """A completion of these pieces, control tokens among them as tokens; its end token is not in its text."""
    ids = [id for piece in pieces for id in literal_ids(template, piece)]
    text = template.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return SaidThinking((*ids, template.end_ids[0]), text)


def graded(
    template: ChatTemplate,
    rows: list[dict[str, Any]],
    prompt: str,
    completions: list[SaidThinking],
    form: ThinkingFormat,
) -> list[Record]:
    """The records of one completion of each problem row, which all continue the same prompt."""
    whole = [{"messages": PROMPT, **row} for row in rows]
    (loaded,) = problem_tasks("t", whole, "here", Asking())
    reader, request = ThinkingReader(template, form), Request(literal_ids(template, prompt))
    answered = Answered(loaded, "multiturn", prompts=[prompt] * len(rows))
    for question, each in zip(loaded.questions, completions, strict=True):
        said = Completion(each.ids, each.text, (), "stop")
        answered.written.append([written(kept(said, request, reader, question.settings.get("thinking", TAGS)), ())])
    with Pool() as pool:
        return grade(answered, pool)


PLAIN = st.text("ab 7\n", max_size=12)


@given(thinking=PLAIN, answer=PLAIN, name=st.sampled_from(sorted(FORMATS)), opens=st.booleans())
def test_every_token_before_and_after_the_delimiter_is_counted(
    template: ChatTemplate, thinking: str, answer: str, name: str, opens: bool
) -> None:
    form = FORMATS[name]
    first = form.opening if opens else ""
    completion = said(template, first, thinking + form.before, form.delimiter, form.header + answer)
    counts = [len(literal_ids(template, piece)) for piece in (first, thinking + form.before, form.header + answer)]
    parts = ThinkingReader(template, form).parts(completion.ids, completion.text, opened=not opens)
    assert (parts.thinking_tokens, parts.answer_tokens) == (counts[0] + counts[1], counts[2] + 1)
    assert parts.thinking.strip().removeprefix(TAGS[0]).removesuffix(TAGS[1]).strip() == thinking.strip()
    assert parts.answer.strip().removeprefix("<answer>").strip() == answer.strip()


@given(text=PLAIN, name=st.sampled_from(sorted(FORMATS)))
def test_without_thinking_nothing_changes(template: ChatTemplate, text: str, name: str) -> None:
    completion = said(template, text)
    parts = ThinkingReader(template, FORMATS[name]).parts(completion.ids, completion.text)
    assert (parts.text, parts.answer_at, parts.thinking_tokens) == (completion.text, 0, 0)
    assert parts.answer_tokens == len(completion.ids)
    whole = ThinkingReader(template, FORMATS[name]).parts(completion.ids, completion.text, opened=True)
    assert (whole.answer, whole.thinking_tokens, whole.answer_tokens) == ("", len(completion.ids), 0)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_counts_are_those_of_forcing(model: LanguageModel, name: str) -> None:
    form, engine = FORMATS[name], LocalEngine(model)
    prompt = opened_prompt(PROMPT, engine.template, form)
    thoughts = think(engine, [ThinkingQuestion(prompt, 40, 3, 1.0)], form, Budget(30, answer=6, greedy_answer=False))[0]
    reader = ThinkingReader(engine.template, form)
    own = [each for each in thoughts if each.ended == "itself" and form.delimiter not in each.answer]
    assert len(own) > 5
    for thought in own:
        parts = reader.parts(thought.ids, engine.text(thought.ids), opened=True)
        assert parts.thinking_tokens == thought.thinking_tokens
        header = len(thought.ids) - parts.answer_tokens
        assert thought.thinking_tokens <= header <= len(thought.ids) - thought.answer_tokens


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_only_the_answer_is_verified_whatever_ends_the_thinking(template: ChatTemplate, name: str) -> None:
    form = FORMATS[name]
    rows = [{"id": str(i), "dataset": "gsm8k", "ground_truth": "7"} for i in range(5)]
    opening, closing = form.opening, form.closing
    pieces = [
        (opening, "7 or 3", closing, "Answer: 7"),
        (opening, "7 or 3", closing, "Answer: 3"),
        (opening, "3, no, 7"),
        ("Answer: 7",),
        (opening, "Answer: 7", closing),
    ]
    completions = [said(template, *each) for each in pieces]
    records = graded(template, rows, "ab", completions, form)
    assert [each.outcome for each in records] == ["right", "wrong", "unparsable", "right", "unparsable"]
    assert all(each.completion.startswith(TAGS[0]) == (each.answer_at > 0) for each in records)
    assert [each.tokens for each in records] == [len(each.ids) for each in completions]
    found = score("m", "t", "greedy", records)
    assert found.mean_thinking_tokens == sum(each.thinking_tokens for each in records) / 5 > 0
    assert found.mean_answer_tokens == sum(each.answer_tokens for each in records) / 5
    own = [{**rows[0], "settings": {"thinking": ("[[", "]]")}}]
    (record,) = graded(template, own, "ab", completions[:1], form)  # a verifier that looks for other tags finds them
    assert record.outcome == "right" and record.completion.startswith("[[") and record.thinking_tokens


def test_a_suite_keeps_thinking_apart_and_stops_answers_only(template: ChatTemplate) -> None:
    completion = said(template, "<think>\n", "Q: a\nQ: b", "</think>", "\n\n7\nQ: more")
    request = Request((*literal_ids(template, "ab"),), stop=("\nQ:",))
    whole = Completion(completion.ids, completion.text, (), "stop")
    found = written(kept(whole, request, ThinkingReader(template)), request.stop)
    assert found.text == "<think>\nQ: a\nQ: b</think>\n\n7"
    assert found.text[found.answer_at :].strip() == "7"
    counts = [len(literal_ids(template, piece)) for piece in ("<think>\n", "Q: a\nQ: b", "\n\n7\nQ: more")]
    assert (found.thinking_tokens, found.answer_tokens) == (counts[0] + counts[1], counts[2] + 1)


def test_a_prompt_that_opened_the_thinking_leaves_no_answer_to_a_cut_thought(template: ChatTemplate) -> None:
    rows = [{"id": "0", "dataset": "gsm8k", "ground_truth": "7"}]
    cut = said(template, "so it may be 7")
    (opened,) = graded(template, rows, "ab\n<think>\n", [cut], FORMATS["tags"])
    (plain,) = graded(template, rows, "ab\n", [cut], FORMATS["tags"])
    assert (opened.outcome, opened.answer_tokens, opened.thinking_tokens) == ("unparsable", 0, len(cut.ids))
    assert (plain.outcome, plain.thinking_tokens) == ("right", 0)


@pytest.mark.parametrize("name", ["tags", "s1", "think"])
def test_a_conversation_shows_thinking_apart(model: LanguageModel, name: str) -> None:
    engine, form = LocalEngine(model), FORMATS[name]
    reader, seen = ThinkingReader(engine.template, form), set()
    prompt = opened_prompt(PROMPT, engine.template, form)
    for seed in range(12):
        out = io.StringIO()
        parts = _print_stream(engine, Request(prompt, 1, seed, 24), reader, True, out)
        shown = out.getvalue()
        assert shown.startswith("┌ thinking\n") and shown.count("┌") == 1 and "\x1b" not in shown
        thinking, _, answer = shown.removeprefix("┌ thinking\n").partition("\n└\n")
        inner = parts.thinking.strip().removeprefix(TAGS[0]).partition(TAGS[1])[0].strip()
        said = (parts.thinking.partition(TAGS[1])[2] + parts.answer).strip()  # what ends it again was answer by then
        assert (thinking, answer.strip()) == (inner, said)
        seen.add(bool(parts.answer_tokens))
    assert seen == {True, False}


def test_a_conversation_without_thinking_is_as_it_was(model: LanguageModel, tmp_path: Path) -> None:
    engine = LocalEngine(model)
    prompt = opened_prompt(PROMPT, engine.template, FORMATS["tags"])
    for seed in range(6):
        out = io.StringIO()
        parts = _print_stream(engine, Request(prompt, 1, seed, 9), ThinkingReader(engine.template), False, out)
        if not parts.answer_at:
            assert out.getvalue() == f"{parts.text}\n" == "".join(engine.stream(Request(prompt, 1, seed, 9))) + "\n"
