"""A pool of generators: each is asked its own, a budget ends it, and one that fails stops the others."""

import os
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply
from bactrian.generate.generator_pool import Asked, PoolMember, Spending, ask_pool, counted


class Answers:
    """A responder that answers one after another; `then` is called before each answer with its number."""

    def __init__(self, then: Callable[[int], None] = lambda number: None) -> None:
        self.then, self.asked = then, 0

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        for place, ask in enumerate(asked):
            self.then(place)
            self.asked += 1
            on_reply(place, ChatReply(f"to {ask.name}", tokens=10, prompt_tokens=5))


def asked(label: str, count: int) -> list[Asked]:
    return [(f"{label}{n}", ChatRequest(({"role": "user", "content": "So?"},), f"{label}{n}")) for n in range(count)]


def pool(spending: Spending, **responders: Answers) -> tuple[dict[str, str], bool]:
    """Answers by key, and what ask_pool says; labels that begin with s are served."""
    found: dict[str, str] = {}
    members = {
        label: PoolMember(label, lambda each=each: each, served=label[0] == "s", price_in=1e6, price_out=2e6)  # type: ignore[misc]
        for label, each in responders.items()
    }

    def heard(key: str, request: ChatRequest, reply: ChatReply) -> None:
        assert key not in found and request.name == key
        found[key] = reply.text

    return found, ask_pool({label: asked(label, 20) for label in responders}, members, heard, spending)


def test_everybody_is_asked_their_own_and_all_is_counted() -> None:
    spending = Spending()
    found, whole = pool(spending, here=Answers(), s1=Answers(), s2=Answers())
    assert whole and found == {f"{label}{n}": f"to {label}{n}" for label in ("here", "s1", "s2") for n in range(20)}
    assert (spending.answers, spending.read, spending.written) == (60, 300, 600)
    assert spending.money == 60 * (5 + 2 * 10)


@pytest.mark.parametrize("label", ["here", "s1"])
def test_a_budget_ends_it_at_the_answer_that_spends_it(label: str) -> None:
    for spending in (Spending(most_tokens=60), Spending(most_money=100.0)):
        responder = Answers()
        found, whole = pool(spending, **{label: responder})
        assert not whole and responder.asked == len(found) == 4
        again = Answers()
        assert pool(spending, **{label: again}) == ({}, False) and again.asked == 0


def test_one_that_fails_stops_the_others_and_is_told() -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise BactrianError("s1 is gone")

    def slow(number: int) -> None:
        time.sleep(0.05)

    other, late = Answers(slow), Answers()
    with pytest.raises(BactrianError, match="s1 is gone"):
        pool(Spending(), s1=Answers(fail), s2=other)
    assert 0 < other.asked < 20
    with pytest.raises(BactrianError, match="s1 is gone"):
        pool(Spending(), here=Answers(fail), there=late)
    assert late.asked == 0


def test_an_interruption_stops_servers_too() -> None:
    def interrupt(number: int) -> None:
        time.sleep(0.03)
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    responder = Answers(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool(Spending(), s1=responder)
    assert 3 <= responder.asked < 20


def test_what_nobody_counts_is_estimated() -> None:
    request = ChatRequest(({"role": "user", "content": "x" * 9},), "r")
    assert counted(request, ChatReply("y" * 41)) == (3, 11)
    assert counted(request, ChatReply("y" * 41, tokens=7, prompt_tokens=2)) == (2, 7)
