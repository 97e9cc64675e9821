"""A reward model: its head, its scores packed and plain, saved and loaded, read by transformers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel
from tests.model.tiny import ARCHITECTURES, write_tiny

PROMPT, ANSWERS = (5, 6, 7, 8, 9), ((10, 11, 2), (12, 2), (13, 14, 15, 16, 2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_transformers_own(architecture: str, tmp_path: Path) -> None:
    model = RewardModel.of(LanguageModel.load(write_tiny(tmp_path / "lm", architecture)), seed=3)
    model.save(tmp_path / "rm")
    packed = RewardModel.load(tmp_path / "rm").rewards([Group(PROMPT, ANSWERS), Group(PROMPT[:3], ANSWERS[:1])])
    assert torch.equal(packed, model.rewards([Group(PROMPT, ANSWERS), Group(PROMPT[:3], ANSWERS[:1])]))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", attn_implementation="eager").eval()
    rows = [PROMPT + a for a in ANSWERS] + [PROMPT[:3] + ANSWERS[0]]
    with torch.no_grad():
        expected = torch.stack([plain(input_ids=torch.tensor([row])).logits[0, 0] for row in rows])
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=1e-5)
    assert packed.std() > 1e-3


def test_the_head_is_drawn_from_its_seed(tmp_path: Path) -> None:
    model = LanguageModel.load(write_tiny(tmp_path))
    one, again, other = (RewardModel.of(model, seed).scalar_head for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    many = torch.cat([RewardModel.of(model, seed).scalar_head for seed in range(50)]).detach()
    assert float(many.std()) == pytest.approx(33**-0.5, rel=0.05) and abs(float(many.mean())) < 0.02


def test_the_language_model_is_left_alone(tmp_path: Path) -> None:
    model = LanguageModel.load(write_tiny(tmp_path, "llama-tied"))
    reward = RewardModel.of(model, 0)
    with torch.no_grad():
        for weight in reward.network.parameters():
            weight.zero_()
    assert all(float(weight.abs().sum()) > 0 for weight in model.network.parameters())


@pytest.mark.parametrize("architecture", ["llama", "llama-tied"])
def test_one_kind_is_not_taken_for_the_other(architecture: str, tmp_path: Path) -> None:
    model = LanguageModel.load(write_tiny(tmp_path / "lm", architecture))
    with pytest.raises(BactrianError, match="expected a reward model"):
        RewardModel.load(tmp_path / "lm")
    RewardModel.of(model, 0).save(tmp_path / "rm")
    with pytest.raises(BactrianError, match="expected a language model"):
        LanguageModel.load(tmp_path / "rm")
