"""Responders and choosers whose replies are on disk as they come: a kill loses none, and nothing is asked twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, OnChoice
from bactrian.generate.kept import KeptChooser, KeptResponder, request_key


class Dies:
    """Answers so many requests, the last one first, and is then gone; it counts what it was asked."""

    def __init__(self, after: int) -> None:
        self.after, self.asked = after, Counter[str]()

    def places(self, asked: Sequence[ChatRequest] | Sequence[ChoiceRequest]) -> list[int]:
        return [*reversed(range(len(asked)))][: self.after]

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        for place in self.places(asked):
            text = str(asked[place].messages[0]["content"])
            self.asked[text] += 1
            on_reply(place, ChatReply(text.upper(), "length", 3, "", 7))
        self._end(asked)

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        for place in self.places(asked):
            self.asked[str(asked[place].messages[0]["content"])] += 1
            on_reply(place, ChoiceReply((0.25, 0.75), 0.9, 0, 5, 1))
        self._end(asked)

    def _end(self, asked: Sequence[ChatRequest] | Sequence[ChoiceRequest]) -> None:
        if self.after < len(asked):
            raise BactrianError("gone")


def asking(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": text},)


def chats(*texts: str) -> list[ChatRequest]:
    return [
        ChatRequest(({"role": "user", "content": text},), f"question {n}", 0, 8, 0.0) for n, text in enumerate(texts)
    ]


def choices(*texts: str) -> list[ChoiceRequest]:
    return [
        ChoiceRequest(({"role": "user", "content": text},), ("A", "B"), f"question {n}") for n, text in enumerate(texts)
    ]


def test_a_responder_that_dies_has_lost_nothing(tmp_path: Path) -> None:
    asked, heard = chats("a", "b", "a", "c"), dict[int, ChatReply]()
    first, second = Dies(2), Dies(9)
    with Journal(tmp_path / "j") as journal, pytest.raises(BactrianError, match="gone"):
        KeptResponder(lambda: first, journal).answer(asked, heard.__setitem__)
    assert first.asked == Counter("cb") and sorted(heard) == [1, 3]  # heard of before the error
    heard.clear()
    with Journal(tmp_path / "j") as journal:
        KeptResponder(lambda: second, journal).answer(asked, heard.__setitem__)
    assert second.asked == Counter("a")  # equal questions are one
    assert heard == {n: ChatReply(text, "length", 3, "", 7) for n, text in enumerate("ABAC")}
    with Journal(tmp_path / "j") as journal:  # nobody is opened where nothing is missing
        KeptResponder(lambda: pytest.fail("opened"), journal).answer(asked, heard.__setitem__)


def test_a_chooser_that_dies_has_lost_nothing(tmp_path: Path) -> None:
    asked, heard = choices("a", "b", "c"), dict[int, ChoiceReply]()
    first, second = Dies(1), Dies(9)
    with Journal(tmp_path / "j") as journal, pytest.raises(BactrianError, match="gone"):
        KeptChooser(lambda: first, journal).choose(asked, heard.__setitem__)
    with Journal(tmp_path / "j") as journal:
        KeptChooser(lambda: second, journal).choose(asked, heard.__setitem__)
    assert first.asked + second.asked == Counter("abc")
    assert heard == dict.fromkeys(range(3), ChoiceReply((0.25, 0.75), 0.9, 0, 5, 1))


def test_a_key_holds_all_that_is_asked_but_the_name() -> None:
    plain = chats("a")[0]
    others = [
        ChatRequest(plain.messages, "x", 1, 8, 0.0),
        ChatRequest(plain.messages, "x", 0, 9, 0.0),
        ChatRequest(plain.messages, "x", 0, 8, 0.5),
        chats("b")[0],
        *choices("a"),
    ]
    assert request_key(plain) == request_key(ChatRequest(plain.messages, "another", 0, 8, 0.0))
    assert len({request_key(each) for each in [plain, *others]}) == len(others) + 1
