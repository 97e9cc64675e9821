"""Judges of pairs behind servers: who they are, and what is kept when something goes wrong."""

import json
import math
from typing import Any

import pytest

from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.judge.demonstrations import Demonstration, DemonstrationPool
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.judge.pair_judges import JudgeMethod
from bactrian.judge.panel import open_pair_judge
from bactrian.store.hardware import Hardware
from tests.generate.chat_server import Handler, completion, serving

PAIRS = [
    AnswerPair(name, ({"role": "user", "content": f"Say {name}."},), f"good {name}", f"poor {name}")
    for name in ("plain", "prose", "refused", "nonsense", "last")
]
POOL = DemonstrationPool("pool", tuple(Demonstration(f"p{n}", PAIRS[n], n % 2) for n in range(2)))


def judge(url: str, **more: Any) -> Any:
    return open_pair_judge(Endpoint(url, "m", backoff=0.01, timeout=1.0, tries=2, concurrency=2), Hardware(), **more)


def listing(handler: Handler, content: str, nth: int) -> None:
    """Prefers what is good, in either place, with probability 0.9 or, placed first, 0.7."""
    if "Say refused" in content:
        handler.give(400, b'{"error": {"message": "not this"}}')
    elif "Say nonsense" in content:
        handler.give(200, b'{"choices": [{"message": {"content": "A"}, "logprobs": {"content": "A"}}]}')
    else:
        first = "good" in content.partition("<answer A")[2].partition("</answer A")[0]
        shares = {"The": 0.9, "I": 0.1} if "Say prose" in content else {"A": 0.7, "B": 0.3} if first else {"B": 0.9}
        top = [{"token": token, "logprob": math.log(p)} for token, p in shares.items()]
        body = json.loads(completion("A"))
        body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
        handler.give(200, json.dumps(body).encode())


def test_opinions_that_came_are_heard_of_before_the_error() -> None:
    heard: dict[int, Opinion] = {}
    with serving(listing) as (url, _), pytest.raises(BactrianError, match="pair nonsense, annotator 1: log-prob"):
        judge(url).compare(PAIRS, heard.__setitem__)
    assert sorted(heard) == [0, 1, 2, 4]
    assert heard[0].probabilities[0] == pytest.approx((0.7 + 0.9) / 2, abs=0.06) and heard[0].order_changed is False
    assert "none of A, B" in heard[1].fault and "not this" in heard[2].fault


def test_an_identity_holds_all_that_an_opinion_depends_on() -> None:
    shown = {"method": JudgeMethod("annotators", 2, 1), "pool": POOL}
    other = DemonstrationPool("pool", POOL.demonstrations[::-1])
    with serving(listing) as (url, handler):
        found = [
            judge(url).identity,
            judge(url, rubric="alpaca_eval").identity,
            judge(url, rubric="Which is the shorter one?").identity,
            judge(url, known_as="another revision").identity,
            judge(url, samples=4).identity,
            judge(url, method=JudgeMethod("verbalised")).identity,
            judge(url, method=JudgeMethod("single", orders="given")).identity,
            judge(url, **shown).identity,
            judge(url, **{**shown, "pool": other}).identity,
            judge(url, **{**shown, "method": JudgeMethod("randomised", 2, 1)}).identity,
            judge(url, **{**shown, "method": JudgeMethod("randomised", 2, 1, seed=1)}).identity,
        ]
        again = judge(url).identity
        assert not any("Say" in body["messages"][-1]["content"] for body in handler.bodies)
    assert len({each.digest for each in found}) == len(found) and again.digest == found[0].digest
    assert "log-probabilities" in found[0].method and "4 samples" in found[4].method


def test_a_word_that_names_no_rubric_is_no_rubric() -> None:
    with pytest.raises(BactrianError, match="found 'helpfullness', expected a text, or one of helpfulness"):
        judge("http://127.0.0.1:1/v1", rubric="helpfullness")
