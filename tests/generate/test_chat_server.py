"""A server that misbehaves in every way we know of: no finished row is lost, and the key is in no message."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest
from bactrian.generate.chat_server import Endpoint, ServerResponder, Unanswered, error_message, read_completion
from tests.generate.chat_server import Clock, Handler, completion, serving

KEY = "sk-very-secret-0123456789"


def asks(*contents: str) -> list[ChatRequest]:
    turns = [({"role": "user", "content": content},) for content in contents]
    return [ChatRequest(turn, f"row {turn[0]['content']}", seed=n) for n, turn in enumerate(turns)]


def replies(url: str, asked: list[ChatRequest], **how: Any) -> dict[str, ChatReply]:
    found: dict[str, ChatReply] = {}
    settings = {"backoff": 0.01, "timeout": 0.4, "tries": 5, "concurrency": 4} | how
    ServerResponder(Endpoint(url, "m", **settings)).answer(
        asked, lambda place, reply: found.__setitem__(asked[place].messages[-1]["content"], reply)
    )
    return found


def reset(handler: Handler) -> None:
    """Close the connection in the reader's face."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    handler.connection.close()
    handler.close_connection = True


def break_off(handler: Handler, body: bytes) -> None:
    """Promise more bytes than are sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 50))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


MISCHIEF: dict[str, Callable[[Handler], None]] = {
    "429": lambda h: h.give(429, Retry_After="0"),
    "429 without a word": lambda h: h.give(429),
    "500": lambda h: h.give(500, b"<html>oops</html>"),
    "502": lambda h: h.give(502),
    "503": lambda h: h.give(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "529": lambda h: h.give(529),
    "silence": lambda h: time.sleep(0.8),
    "reset": reset,
    "broken off": lambda h: break_off(h, completion("half a")[:30]),
    "not JSON": lambda h: h.give(200, b"<html>please log in</html>"),
    "half of JSON": lambda h: h.give(200, completion("half")[:40]),
    "no choices": lambda h: h.give(200, b'{"choices": []}'),
    "a content that is no text": lambda h: h.give(200, b'{"choices": [{"message": {"content": 5}}]}'),
}


def test_every_kind_of_mischief_is_outlasted() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        if nth <= 2 and content in MISCHIEF:
            MISCHIEF[content](handler)
        else:
            handler.give(200, completion(f"answer to {content}"))

    with serving(behave) as (url, handler):
        found = replies(url, asks(*MISCHIEF, "nothing amiss"), concurrency=8)
    assert {content: reply.text for content, reply in found.items()} == {
        content: f"answer to {content}" for content in (*MISCHIEF, "nothing amiss")
    }
    assert all(handler.seen[content] == 3 for content in MISCHIEF) and handler.seen["nothing amiss"] == 1


def test_what_is_asked_is_what_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    with serving(lambda handler, *_: handler.give(200, completion("Yes.", "length"))) as (url, handler):
        ask = ChatRequest(
            ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}), "row", 7, 9, 0.5, 0.9
        )
        found = replies(url + "/", [ask], key_name="THE_KEY")
    (body,) = handler.bodies
    assert body.pop("authorization") == f"Bearer {KEY}" and body.pop("path") == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": list(ask.messages),
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
    }
    assert found["?"] == ChatReply("Yes.", "length", 1)


def test_retry_after_is_waited_for() -> None:
    times: list[float] = []

    def behave(handler: Handler, content: str, nth: int) -> None:
        times.append(time.monotonic())
        handler.give(429, Retry_After="1") if nth == 1 else handler.give(200, completion("so"))

    with serving(behave) as (url, _):
        assert replies(url, asks("a"))["a"].text == "so"
    assert times[1] - times[0] >= 0.95


@pytest.mark.parametrize("told", [{}, {"Retry_After": "1"}, {"Retry_After": "soon"}, {"Retry_After": "90"}])
def test_a_minute_of_429s_is_outlasted_whatever_the_server_asks_for(
    told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries and backoff as they are by default, and the clock moved on by whoever sleeps."""
    clock, default = Clock(monkeypatch), Endpoint("", "")

    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(429, **told) if clock.now < 60 else handler.give(200, completion("so"))

    with serving(behave) as (url, handler):
        found = replies(url, asks("a", "b"), concurrency=1, tries=default.tries, backoff=default.backoff)
    assert found["a"].text == found["b"].text == "so" and 60 <= clock.now < 95
    assert 2 <= handler.seen["a"] <= default.tries and handler.seen["b"] == 1


def test_a_row_that_is_refused_is_a_fault_and_the_others_go_on() -> None:
    def behave(handler: Handler, content: str, nth: int) -> None:
        refusal = json.dumps({"error": {"message": "too long for me"}}).encode()
        handler.give(400, refusal) if content == "long" else handler.give(200, completion("fine"))

    with serving(behave) as (url, handler):
        found = replies(url, asks("a", "long", "b"))
    assert found["long"].fault == "refused with 400: too long for me" and handler.seen["long"] == 1
    assert found["a"].text == found["b"].text == "fine"


def test_a_wrong_key_ends_it_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)

    def behave(handler: Handler, *_: Any) -> None:
        handler.give(401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode())

    with serving(behave) as (url, handler), pytest.raises(BactrianError, match="answered 401: Incorrect") as raised:
        replies(url, asks(*"abcdefgh"), key_name="THE_KEY")
    assert KEY not in str(raised.value) and "…" in str(raised.value)
    assert sum(handler.seen.values()) <= 8, "nothing is tried again"
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(BactrianError, match="the environment variable THE_KEY, for its key, is not set"):
        ServerResponder(Endpoint("http://127.0.0.1:9/v1", "m", "THE_KEY"))


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could carry the key elsewhere."""
    monkeypatch.setenv("THE_KEY", KEY)
    with serving(lambda handler, *_: handler.give(200, completion("caught"))) as (elsewhere, thief):
        target = elsewhere + "/chat/completions"
        with (
            serving(lambda handler, *_: handler.give(307, Location=target)) as (url, _),
            pytest.raises(BactrianError, match="answered 307"),
        ):
            replies(url, asks("a"), key_name="THE_KEY")
    assert not thief.bodies


def test_a_server_that_goes_away_loses_no_finished_row() -> None:
    served = iter(range(6))

    def behave(handler: Handler, content: str, nth: int) -> None:
        handler.give(200, completion("so")) if next(served, None) is not None else handler.give(503)

    asked, found = asks(*(str(n) for n in range(60))), dict[int, ChatReply]()
    with serving(behave) as (url, handler):
        server = Endpoint(url, "m", tries=2, backoff=0.0, concurrency=4)
        with pytest.raises(BactrianError, match=r"got no answer in 2 tries each \(row .*run again to ask for the rest"):
            ServerResponder(server).answer(asked, found.__setitem__)
    assert len(found) == 6 and sum(handler.seen.values()) < 40, "it gives up before all rows were tried in vain"


def test_nobody_there_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses connections
        with pytest.raises(BactrianError, match="got no answer in 2 tries each"):
            replies(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", asks("a"), tries=2)


@given(
    st.one_of(
        st.text(max_size=80),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["choices", "message", "content", "finish_reason", "usage", "error"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=8,
        ).map(json.dumps),
    )
)
def test_any_answer_is_a_reply_or_no_completion(text: str) -> None:
    assert isinstance(error_message(text), str)
    try:
        assert isinstance(read_completion(text), ChatReply)
    except ValueError as error:
        assert "no chat completion" in str(error) or "no text" in str(error)


def test_a_lone_surrogate_and_a_null_content() -> None:
    assert read_completion('{"choices": [{"message": {"content": "a\\ud800b"}}]}').text == "a?b"
    assert read_completion('{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}').fault
    assert issubclass(Unanswered, Exception)


def test_tools_are_offered_and_what_is_called_is_the_answer() -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": "é", "b": 3}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, call]}
    told = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    with serving(lambda handler, *_: handler.give(200, told)) as (url, handler):
        (plain,) = asks("?")
        found = replies(url, [replace(plain, tools=json.dumps(tools))])
        replies(url, [plain])
    written = '<tool_call>\n{"name": "add", "arguments": {"a": "é", "b": 3}}\n</tool_call>'
    assert found["?"] == ChatReply(f"{written}\n{written}")
    assert handler.bodies[0]["tools"] == tools and "tools" not in handler.bodies[1]
    said = json.dumps({"choices": [{"message": {**message, "content": "So:", "tool_calls": [call]}}]})
    assert read_completion(said).text == f"So:\n{written}"
    for broken in ({"function": {"name": "add", "arguments": "[1]"}}, {"function": {}}, 3):
        with pytest.raises(ValueError):
            read_completion(json.dumps({"choices": [{"message": {"content": "", "tool_calls": [broken]}}]}))
