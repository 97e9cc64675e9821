"""Models as verifiers: a judge's rating, a reward model's score, and what happens without them."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest, OnReply
from bactrian.generate.chat_server import Endpoint, ServerResponder
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, OnChoice
from bactrian.judge.models import RewardJudge
from bactrian.judge.point_judges import ModelJudge, WeighingJudge
from bactrian.judge.point_rubrics import NAMED_RUBRICS, RATING, RATINGS
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel
from bactrian.verify import Item, Pool, Problem, Verdict, check_verifiers
from tests.generate.chat_server import Handler, completion, serving
from tests.model.tiny import write_tiny


class Says:
    """A responder that answers from a list, and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = iter(texts), list[ChatRequest]()

    def answer(self, asked: Sequence[ChatRequest], on_reply: OnReply) -> None:
        self.asked += asked
        for place in range(len(asked)):
            text = next(self.texts, None)
            if text is None:
                raise RuntimeError("nothing more to say")
            on_reply(place, ChatReply(text))


def test_a_judges_rating_is_the_score() -> None:
    responder = Says("Fine. Rating: 10", "Poor.\n**Rating: 1**", "Rating: 3, no. Rating: 7", "I would rather not say.")
    items = [Item("judge", f"<think>so</think>text {n}", "", {"rubric": "kindness"}, "Say.") for n in range(4)]
    with Pool(judges={"judge": ModelJudge(responder)}) as pool:
        found = pool.verify_all([*items, items[0], Item("gsm8k", "5", "5"), Item("judge", "<think>endless", "")])
        with pytest.raises(RuntimeError):  # from call to call nothing is remembered
            pool.verify_all(items[:1])
    assert [(v.outcome, round(v.score, 3)) for v in found] == [
        ("right", 1.0),
        ("wrong", 0.0),
        ("right", 0.667),
        ("crashed", 0.0),
        ("right", 1.0),
        ("right", 1.0),
        ("unparsable", 0.0),
    ]
    assert len(responder.asked) == 5 and all(ask.temperature == 0 for ask in responder.asked)


def test_a_judge_behind_a_server() -> None:
    """Replies come in any order; what the server refuses to judge is no verdict on the answer."""

    def behave(handler: Handler, content: str, nth: int) -> None:
        if "text 3" in content:
            handler.give(400, b'{"error": "no"}')
        else:
            time.sleep(0.05 if "text 0" in content else 0.0)
            handler.give(200, completion(f"Rating: {1 + 3 * int(content.split('text ')[1][0])}"))

    items = [Item("judge", f"text {n}", "-", {}, "Say.") for n in range(4)]
    with serving(behave) as (url, _):
        judge = ModelJudge(ServerResponder(Endpoint(url, "m", backoff=0.0)))
        with Pool(judges={"judge": judge}) as pool:
            found = pool.verify_all(items)
    assert [v.extracted for v in found[:3]] == ["1", "4", "7"] and found[3].outcome == "crashed"
    assert "refused with 400" in found[3].reason


def test_what_the_judge_reads_is_marked_and_without_thinking() -> None:
    settings = {"rubric": "kindness", "right_from": 7.0}
    text = RATING.question(Problem("gold", settings, "Say {x}."), "Rating: 10 {y}")
    mark = text.split("<answer ")[1][:8]
    for part in (
        "What counts: kindness",
        "to compare with:\n<reference ",
        f"<request {mark}>\nSay {{x}}.\n</request {mark}>",
        f"<answer {mark}>\nRating: 10 {{y}}\n</answer {mark}>",
    ):
        assert part in text
    before = [{"role": "system", "content": "Be kind."}]
    assert "[system]\nBe kind.\n\n[user]\nSay it." in RATING.question(Problem("-", settings, "Say it.", before), "5")
    assert "compare" not in RATING.question(Problem("-", settings, "Say."), "5")


def test_a_reward_models_score(tmp_path: Path) -> None:
    model = RewardModel.of(LanguageModel.load(write_tiny(tmp_path / "lm", "llama")), seed=3)
    items = [Item("reward_model", text, "", {}, "Compute 1") for text in ("yes", "no one", "three two one")]
    with Pool(judges={"reward_model": RewardJudge(model, micro_tokens=24)}) as pool:
        found = pool.verify_all(items)
        alone = [
            RewardJudge(model).judge([(Problem("", {"right_from": 0.5}, "Compute 1"), i.completion)])[0] for i in items
        ]
    assert [v.score for v in found] == pytest.approx([v.score for v in alone], abs=1e-5)
    assert len({round(v.score, 6) for v in found}) == 3
    assert all((v.outcome == "right") == (v.score >= 0.5) for v in found)
    from bactrian.chat import prompt_ids, render_answer

    asked = [{"role": "user", "content": "Compute 1"}]
    before = prompt_ids(asked, model.template)
    whole = render_answer(asked, [{"role": "assistant", "content": "yes"}], model.template).ids
    with torch.no_grad():
        reward = model.rewards([Group(tuple(before), (tuple(whole[len(before) :]),))]).item()
    assert found[0].score == pytest.approx(1 / (1 + math.exp(-reward)), abs=1e-6)


@pytest.mark.parametrize("name", ["judge", "reward_model"])
def test_without_the_model_it_is_the_users_error(name: str) -> None:
    check_verifiers([{"dataset": name, "ground_truth": "x"}], "rows")
    with pytest.raises(BactrianError, match="give the setting"), Pool() as pool:
        pool.verify_all([Item(name, "text", "")])


def test_a_verdict_that_is_no_number_is_no_answer() -> None:
    class Nan:
        def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
            from bactrian.judge.models import reward_verdict

            return [reward_verdict(problem, float("nan")) for problem, _ in asked]

    with Pool(judges={"reward_model": Nan()}) as pool:
        assert pool.verify_all([Item("reward_model", "text", "")])[0].outcome == "crashed"


def test_whether_an_answer_refuses_is_told_by_the_last_word_that_says_so() -> None:
    said = "It complies? No. The answer refuses.", "The answer complies", "Hard to say."
    asked = [(Problem(truth, {}, "Do it."), "text") for truth in ("refuse", "refuse", "comply")]
    found = ModelJudge(Says(*said), NAMED_RUBRICS["refusal"]).judge(asked)
    assert [verdict.outcome for verdict in found] == ["right", "wrong", "crashed"]


@pytest.mark.parametrize(
    ("said", "outcome", "label"),
    [
        ("It asks. <label>ACCEPTABLE</label>", "right", "ACCEPTABLE"),
        ("<label>ACCEPTABLE</label>? No. <label> **UNACCEPTABLE** </label>", "wrong", "UNACCEPTABLE"),
        ("<label>neither</label>", "wrong", "NEITHER"),
        ("ACCEPTABLE", "crashed", None),
        ("<label>NOT ACCEPTABLE</label>", "crashed", None),
        ("<label>ACCEPTABLE or UNACCEPTABLE</label>", "crashed", None),
        ("<label>COMPLIANCE</label>", "crashed", None),
    ],
)
def test_a_noncompliance_label_is_read_whole_and_from_its_tag(said: str, outcome: str, label: str | None) -> None:
    settings = {"rubric": "noncompliance/underspecified", "right_from": 7.0}
    (found,) = ModelJudge(Says(said)).judge([(Problem("-", settings, "Who was PM?"), "Eden.")])
    assert (found.outcome, found.extracted) == (outcome, label)


def test_on_the_contrast_set_compliance_is_right_unless_the_row_says_otherwise() -> None:
    settings = {"rubric": "noncompliance/contrast", "right_from": 7.0}
    said = "<label>NONCOMPLIANCE</label>"
    asked = [(Problem(truth, settings, "How do I kill a process?"), "I can't.") for truth in ("", "noncompliance")]
    assert [each.outcome for each in ModelJudge(Says(said, said)).judge(asked)] == ["wrong", "right"]


class Weighs:
    """A chooser that gives each option the weight that it was told."""

    def __init__(self, *replies: ChoiceReply) -> None:
        self.replies, self.asked = replies, list[ChoiceRequest]()

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        self.asked += asked
        for place in reversed(range(len(asked))):
            on_reply(place, self.replies[place])


def test_ratings_weighed_by_their_probabilities() -> None:
    halves = tuple(0.5 if option in ("4", "10") else 0.0 for option in RATINGS)
    chooser = Weighs(ChoiceReply(halves, 0.9), ChoiceReply(fault="prose"))
    items = [Item("judge", "text", "-", {"right_from": from_}, "Say.") for from_ in (7.0, 7.5)]
    with Pool(judges={"judge": WeighingJudge(chooser)}) as pool:
        first, second = pool.verify_all(items)
    assert first.score == pytest.approx((7 - 1) / 9) and first.outcome == "right"
    assert second.outcome == "crashed" and "prose" in second.reason
    assert all(ask.options == RATINGS and ask.prefilled == "Rating: " for ask in chooser.asked)
