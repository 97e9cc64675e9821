"""Choices: options of several tokens against a plain sum, and servers that misbehave in every way we know of."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.choice_server import Listed, ServerChooser, listed_reply, option_said, read_listed
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, Chooser
from bactrian.generate.choosers import EngineChooser, common_length, reply_of
from bactrian.generate.local import LocalEngine
from bactrian.model.ranking import Ask
from tests.generate.chat_server import Handler, completion, serving
from tests.model.tiny import write_tiny

LETTERS = ("A", "B")


def ask(text: str, options: tuple[str, ...] = LETTERS, **more: Any) -> ChoiceRequest:
    return ChoiceRequest(({"role": "user", "content": text},), options, f"pair {text}", **more)


def replies(chooser: Chooser, asked: Sequence[ChoiceRequest]) -> list[ChoiceReply]:
    found: dict[int, ChoiceReply] = {}
    chooser.choose(asked, found.__setitem__)
    assert sorted(found) == list(range(len(asked)))
    return [found[place] for place in range(len(asked))]


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> EngineChooser:
    return EngineChooser(LocalEngine.load(write_tiny(tmp_path_factory.mktemp("tiny")), template="tulu"))


def test_options_are_as_likely_as_a_plain_forward_says(chooser: EngineChooser) -> None:
    options = ("yes", "no one", "one two three")
    engine = chooser.engine
    assert isinstance(engine, LocalEngine)
    (found,) = replies(chooser, [ask("the cat sat", options, prefilled="what is ")])
    before = tuple(prompt_ids([{"role": "user", "content": "the cat sat"}], engine.template))
    begins = engine.template.encoder.text("what is")  # the space after it is the option's in most vocabularies
    sums = []
    for option in options:
        ids = tuple(engine.template.encoder.text("what is " + option))
        rest = len(ids) - len(begins)
        sums.append(math.exp(float(engine.model._plain_logprobs(before + ids)[-rest:].sum())))
    given_prefix = [each / sum(sums) for each in sums]
    assert found.probabilities == pytest.approx(given_prefix, abs=1e-4)
    assert found.mass == pytest.approx(sum(sums), rel=1e-3)


def test_an_option_that_another_goes_on_from_is_counted_without_it() -> None:
    asked = Ask((1,), ((5,), (5, 6), (5, 6, 7), (8,)))
    logprobs = {(5,): math.log(0.6), (5, 6): math.log(0.3), (5, 6, 7): math.log(0.1), (8,): math.log(0.2)}
    found = reply_of(asked, logprobs)
    assert found.probabilities == pytest.approx([0.3 / 0.8, 0.2 / 0.8, 0.1 / 0.8, 0.2 / 0.8])
    assert found.mass == pytest.approx(0.8)


def test_a_request_that_does_not_fit_is_its_own_fault(chooser: EngineChooser) -> None:
    found = replies(chooser, [ask("the " * 400), ask("the cat")])
    assert "the model's context is 256" in found[0].fault and not found[1].fault


def test_options_that_are_the_same_are_refused(chooser: EngineChooser) -> None:
    with pytest.raises(BactrianError, match="all different"):
        replies(chooser, [ask("the", ("A", "A"))])


@given(st.lists(st.lists(st.integers(0, 2), max_size=5).map(tuple), min_size=1, max_size=4))
def test_what_texts_begin_with(texts: list[tuple[int, ...]]) -> None:
    length = common_length(texts)
    assert len({text[:length] for text in texts}) == 1
    assert length == min(map(len, texts)) or len({text[: length + 1] for text in texts}) > 1


# Servers.


def listed(*places: dict[str, float], text: str = "A") -> bytes:
    """A completion whose tokens have these likeliest alternatives, the first of them the token itself."""
    content = [
        {
            "token": next(iter(place)),
            "logprob": math.log(next(iter(place.values()))),
            "top_logprobs": [{"token": token, "logprob": math.log(p)} for token, p in place.items()],
        }
        for place in places
    ]
    choice = {"message": {"content": text}, "finish_reason": "length", "logprobs": {"content": content}}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 1}}).encode()


def server_chooser(url: str, samples: int | None = None, **more: Any) -> ServerChooser:
    settings = {"backoff": 0.01, "timeout": 0.5, "tries": 4, "concurrency": 4} | more
    return ServerChooser(Endpoint(url, "m", **settings), samples)


def test_log_probabilities_are_read_and_what_is_not_listed_is_bounded() -> None:
    shown = {
        "both": {"A": 0.6, " B": 0.2, "**B": 0.1, "The": 0.05},
        "variants": {"A": 0.5, " A": 0.3, "B": 0.1, "x": 0.01},
        "one absent": {"A": 0.7, "Sure": 0.1, "I": 0.08},
        "certain": {"A": 1.0},
        "none": {"Sure": 0.9, "I": 0.1},
    }

    def behave(handler: Handler, content: str, nth: int) -> None:
        assert handler.body["top_logprobs"] == 20 and handler.body["max_tokens"] == 1
        handler.give(200, listed(shown.get(content, {"A": 0.9, "B": 0.1})))

    with serving(behave) as (url, _):
        found = dict(zip(shown, replies(server_chooser(url), [ask(name) for name in shown]), strict=True))
    assert found["both"].probabilities == pytest.approx([0.75, 0.25])
    assert found["both"].mass == pytest.approx(0.8) and found["both"].tokens_in == 90
    assert found["variants"].probabilities == pytest.approx([8 / 9, 1 / 9])
    least = 0.08  # of what is listed; what is left over, 0.12, would be more
    assert found["one absent"].probabilities == pytest.approx([0.7 / 0.78, least / 0.78])
    assert found["one absent"].mass == pytest.approx(0.7)
    assert found["certain"].probabilities == (1.0, 0.0)
    assert "none of A, B is among the likeliest tokens ('Sure', 'I', …)" in found["none"].fault


def test_an_answer_that_begins_as_asked_is_read_where_the_option_stands() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        places = [{"Ver": 1.0}, {"dict": 1.0}, {":": 1.0}, {" B": 0.8, " A": 0.2}]
        handler.give(200, listed(*(places if content == "good" else places[:2])))

    with serving(behave) as (url, _):
        good, bad = replies(server_chooser(url, 0), [ask(text, prefilled="Verdict: ") for text in ("good", "bad")])
    assert good.probabilities == pytest.approx([0.2, 0.8])
    assert "does not begin with 'Verdict:'" in bad.fault


WITHOUT: dict[str, Callable[[Handler], None]] = {
    "left out": lambda h: h.give(200, completion("A")),
    "null": lambda h: h.give(200, b'{"choices": [{"message": {"content": "A"}, "logprobs": null}]}'),
    "empty": lambda h: h.give(200, b'{"choices": [{"message": {"content": "A"}, "logprobs": {"content": []}}]}'),
    "refused": lambda h: h.give(400, b'{"error": {"message": "logprobs are not supported"}}'),
}


@pytest.mark.parametrize("how", WITHOUT)
def test_of_a_server_without_log_probabilities_answers_are_counted(how: str) -> None:
    """Prose, both labels and neither lower the mass; nothing but those is a fault."""
    said = {
        "agree": ["A"] * 8,
        "split": ["A", "B", "**B**", "A.", "B", '"B"', "B.", "B\n\nIt is shorter."],
        "prose": ["A", "A better answer is hard to name.", "B", "A or B", "A", "A\nB", "", "I cannot tell."],
        "unreadable": ["Both are fine."] * 8,
    }

    def behave(handler: Handler, content: str, nth: int) -> None:
        if handler.body.get("logprobs"):
            WITHOUT[how](handler)
        else:
            assert handler.body["temperature"] == 1.0
            handler.give(200, completion(said[content][nth - 1]))

    with serving(behave) as (url, handler):
        chooser = server_chooser(url)
        assert chooser.samples == 8
        found = dict(zip(said, replies(chooser, [ask(name) for name in said]), strict=True))
        seeds = {body["seed"] for body in handler.bodies if body["messages"][-1]["content"] == "agree"}
    assert found["agree"].probabilities == (1.0, 0.0) and found["agree"].samples == 8 and len(seeds) == 8
    assert found["split"].probabilities == pytest.approx([2 / 8, 6 / 8]) and found["split"].mass == 1.0
    assert found["prose"].probabilities == pytest.approx([2 / 3, 1 / 3])
    assert found["prose"].mass == pytest.approx(3 / 8)
    assert (
        "none of 8 answers is one of A, B" in found["unreadable"].fault
        and "Both are fine." in found["unreadable"].fault
    )


def test_a_reply_without_what_the_first_one_had_is_a_fault_and_never_another_method() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(200, completion("A") if content == "later" else listed({"A": 0.9, "B": 0.1}))

    with serving(behave) as (url, _):
        first, later = replies(server_chooser(url), [ask("first"), ask("later")])
    assert first.probabilities == pytest.approx([0.9, 0.1]) and first.samples == 0
    assert "gave no log-probabilities" in later.fault


def test_labels_that_begin_alike_are_counted_where_one_token_cannot_tell_them() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(200, completion("10") if "logprobs" not in handler.body else listed({"1": 0.9}))

    with serving(behave) as (url, _):
        (found,) = replies(server_chooser(url), [ask("rate", ("1", "2", "10"))])
    assert found.probabilities == (0.0, 0.0, 1.0) and found.samples == 8


SHAPES: dict[str, Any] = {
    "a list": [1],
    "a text": "high",
    "content is a text": {"content": "A"},
    "no likeliest": {"content": [{"token": "A", "logprob": -0.1}]},
    "a text for a number": {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": "-0.1"}]}]},
    "above zero": {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": 2.0}]}]},
    "not a number": {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": float("nan")}]}]},
    "an endless one": {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": 10**400}]}]},
    "true": {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": True}]}]},
    "a number for a token": {"content": [{"token": "A", "top_logprobs": [{"token": 5, "logprob": -1.0}]}]},
    "not pairs": {"content": [{"token": "A", "top_logprobs": ["A"]}]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_of_another_form_are_told(shape: str) -> None:
    body = json.dumps({"choices": [{"message": {"content": "A"}, "logprobs": SHAPES[shape]}]})
    with pytest.raises(ValueError, match="log-probabilit"):
        read_listed(body)


def test_what_was_answered_is_kept_when_a_server_is_gone_or_talks_nonsense() -> None:
    """One request's log-probabilities never come in a form that can be read: the others are heard of first."""

    def behave(handler: Handler, content: str, nth: int) -> None:
        if content == "nonsense":
            handler.give(200, json.dumps({"choices": [{"message": {"content": "A"}, "logprobs": [1]}]}).encode())
        else:
            handler.give(200, listed({"A": 0.9, "B": 0.1}))

    heard: dict[int, ChoiceReply] = {}
    with serving(behave) as (url, _), pytest.raises(BactrianError, match="pair nonsense: log-probabilities of another"):
        server_chooser(url, tries=2).choose([ask("x"), ask("nonsense"), ask("y")], heard.__setitem__)
    assert sorted(heard) == [0, 2]


def cut(handler: Handler) -> None:
    body = listed({"A": 0.9, "B": 0.1})
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:40])
    handler.close_connection = True


def test_429s_and_cut_streams_are_outlasted_and_a_refusal_is_the_rows_fault() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        if content == "refused":
            handler.give(400, b'{"error": {"message": "too long"}}')
        elif nth <= 2 and content == "busy":
            handler.give(429, Retry_After="0")
        elif nth <= 2 and content == "cut":
            cut(handler)
        else:
            handler.give(200, listed({"A": 0.9, "B": 0.1}))

    with serving(behave) as (url, handler):
        found = replies(server_chooser(url), [ask(name) for name in ("busy", "cut", "refused", "well")])
        assert handler.seen["busy"] == handler.seen["cut"] == 3 and handler.seen["refused"] == 1
    assert [bool(each.fault) for each in found] == [False, False, True, False] and "too long" in found[2].fault


@given(st.text(max_size=40))
def test_an_answer_says_one_option_or_none(text: str) -> None:
    assert option_said(text, LETTERS) in (*LETTERS, None)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", "A"),
        (" B\n", "B"),
        ("(B)", "B"),
        ("Answer\n\n**A**", "A"),
        ("A. It is complete.", "A"),
        ("A. It is more complete than B.", None),
        ("A is better", None),
        ("a", None),
        ("AB", None),
        ("", None),
    ],
)
def test_which_option_an_answer_says(text: str, option: str | None) -> None:
    assert option_said(text, LETTERS) == option


@given(
    st.dictionaries(st.sampled_from(["A", " A", "B", "x", "ACC", "\n"]), st.floats(1e-6, 1.0), min_size=1),
)
def test_listed_probabilities_sum_to_one_whatever_is_listed(weights: dict[str, float]) -> None:
    whole = sum(weights.values()) * 1.1
    found = listed_reply(Listed(("A",), ({token: w / whole for token, w in weights.items()},), 1, 1), LETTERS, "")
    assert found.fault or (sum(found.probabilities) == pytest.approx(1.0) and 0 < found.mass <= 1.0)
