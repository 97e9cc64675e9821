"""The human pairwise study, on people's published verdicts and on made ones whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from bactrian.errors import BactrianError
from bactrian.judge.opinions import AnswerPair
from bactrian.judge.people.pairs_by_hand import PairByHand, read_pairs
from bactrian.judge.people.record import Choice, HandVerdict
from bactrian.judge.people.study import hand_study

DATA = Path(__file__).parents[4] / "shared" / "data"
WORDS: dict[str, Choice] = {"a-is": "first", "b-is": "second", "tie": "tie"}


def made(n: int, share: float, judges: int, seed: int) -> tuple[list[PairByHand], list[HandVerdict]]:
    """n prompts with answers of two models; the first model's is better with this chance, and all judges say so."""
    draw = np.random.default_rng(seed)
    pairs, verdicts = [], []
    for number in range(n):
        prompt = ({"role": "user", "content": f"Q{number}"},)
        turned = number % 2 == 1
        models = ("weak", "strong") if turned else ("strong", "weak")
        pairs.append(PairByHand(AnswerPair(str(number), prompt, "a", "b"), models, None, "", ""))
        better = draw.random() < share
        choice: Choice = "first" if better != turned else "second"
        verdicts += [
            HandVerdict(f"j{judge}", str(number), choice, (not turned, turned), swapped=bool(draw.random() < 0.5))
            for judge in range(judges)
        ]
    return pairs, verdicts


def test_the_better_model_leads_and_three_judges_of_one_mind_are_one() -> None:
    one, three = (hand_study(*made(60, 0.7, judges, 1)) for judges in (1, 3))
    for found in (one, three):
        assert [each.model for each in found.ratings.ratings] == ["strong", "weak"]
        (met,) = found.pairs
        assert met.first == "strong" and met.prompts == 60 and met.separation.share > 0.5
        assert [(each.model, each.share) for each in found.acceptable] == [("strong", 1.0), ("weak", 0.0)]
    assert one.pairs[0].design == pytest.approx(1, abs=0.05) and three.pairs[0].design == pytest.approx(3, abs=0.15)

    def width(found: object) -> float:
        low, high = found.ratings.ratings[0].interval  # type: ignore[attr-defined]
        return float(high - low)

    assert width(three) == pytest.approx(width(one), rel=0.25)
    assert one.acceptable == tuple(
        type(each)(each.model, each.answers // 3, each.share, each.interval) for each in three.acceptable
    )


def test_the_comparisons_that_it_asks_for_do_separate_them() -> None:
    """Of many studies as large as the first one said, four in five or more find the difference."""
    first = hand_study(*made(40, 0.62, 1, 12)).pairs[0]
    assert first.separation.needed is not None and first.separation.share > 0.55
    draw = np.random.default_rng(0)
    shares = draw.binomial(first.separation.needed, first.separation.share, 4000) / first.separation.needed
    found = np.abs(shares - 0.5) / (0.5 / np.sqrt(first.separation.needed)) > 1.96
    assert 0.75 < found.mean() < 0.86


def test_what_does_not_count_and_what_is_no_study() -> None:
    pairs, verdicts = made(10, 0.9, 1, 3)
    skipped = [HandVerdict("j0", each.pair.id, "skip") for each in pairs]
    with pytest.raises(BactrianError, match="found 0 verdicts"):
        hand_study(pairs, skipped)
    blind = [PairByHand(each.pair, ("", ""), None, "", "") for each in pairs]
    with pytest.raises(BactrianError, match="'first_model' and 'second_model'"):
        hand_study(blind, verdicts)
    assert hand_study([*pairs[:9], blind[9]], verdicts).unnamed == 1
    watched = [PairByHand(each.pair, each.models, "first", "", "") for each in pairs[:3]]
    assert sum(each.games for each in hand_study([*watched, *pairs[3:]], verdicts).ratings.ratings) == 14


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here")
def test_people_s_published_verdicts(tmp_path: Path) -> None:
    """Tülu 1's human evaluation (dev half): the order of the models, and what 581 verdicts cannot tell apart."""
    rows = [json.loads(line) for line in (DATA / "tulu1_human_eval.dev.jsonl").open()]
    unique = {str(row["id"]): row for row in rows}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unique.values()))
    verdicts = [
        HandVerdict(
            row["evaluator"],
            name,
            WORDS[row["preference"][:4].rstrip("-")],
            (row["completion_a_is_acceptable"] == "yes", row["completion_b_is_acceptable"] == "yes"),
        )
        for name, row in unique.items()
    ]
    found = hand_study(read_pairs(tmp_path / "pairs.jsonl"), verdicts)
    assert [each.model for each in found.ratings.ratings] == ["chatgpt", "tulu_65B", "tulu_7B", "tulu_human_only_65B"]
    assert [round(each.rating) for each in found.ratings.ratings] == [1094, 1029, 958, 919]
    met = {(each.first, each.second): each for each in found.pairs}
    against = met["tulu_65B", "tulu_7B"]
    sides = {"model_a": "a-is", "model_b": "b-is"}
    duels = [row for row in rows if "tulu_7B" in (row["model_a"], row["model_b"])]
    counted = sum(
        row[side] == "tulu_65B" and row["preference"].startswith(word) for row in duels for side, word in sides.items()
    )
    assert against.wins == counted and against.wins + against.losses + against.ties == len(duels) == 208
    shares = {each.model: each.share for each in found.acceptable}
    assert max(shares, key=lambda name: shares[name]) == "chatgpt"
    assert [each.separation.further for each in found.pairs] == [0, 0, 0]
    assert all(1 <= each.design < 1.15 for each in found.pairs)
