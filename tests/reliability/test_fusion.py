"""Soups and fused rewards: the average is the average, and what must not be averaged is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from bactrian.errors import BactrianError
from bactrian.model.adapters import add_adapters, merge_adapters
from bactrian.model.averaged_weights import average, average_adapters, check_alike
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group
from bactrian.model.reward_fusion import FusedPart, FusedReward
from bactrian.model.reward_model import RewardModel, rewards_of
from bactrian.model.weight_files import stored_dtype
from bactrian.stages.rl.reward_settings import FusionSettings, GroupRewardSettings, PPORewardSettings
from bactrian.stages.tune.soup import Soup, ancestors, common_starts
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.train.reward_modelling import MixedReward
from tests.model.tiny import write_tiny

GROUPS = [Group((3, 4, 5), ((6, 7), (8, 9, 10), (11,))), Group((5, 4), ((12, 13), (14,)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def shifted(folder: Path, target: Path, by: float, dtype: str = "float32") -> Path:
    """The model with noise on its weights, as a training would leave it."""
    model = LanguageModel.load(folder)
    generator = torch.Generator().manual_seed(int(1000 * by) + 7)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight += by * torch.randn(weight.shape, generator=generator)
    model.stored = dtype
    model.save(target)
    return target


def workspace(tmp_path: Path, folders: dict[str, Path]) -> Workspace:
    inputs = {name: Input(name, path, Kind.MODEL, f"hash of {name}") for name, path in folders.items()}
    return Workspace.temporary(tmp_path / "soup", inputs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_soup_is_the_average_as_trained(folder: Path, tmp_path: Path, dtype: str) -> None:
    folders = {name: shifted(folder, tmp_path / name, by, dtype) for name, by in (("a", 0.01), ("b", 0.03))}
    exact = [LanguageModel.load(path, exact=True).exact() for path in folders.values()]
    Soup(models=["a", "b"], weights=[3, 1], unrelated=True).run(work := workspace(tmp_path, folders))
    assert stored_dtype(work.output) == dtype
    made = LanguageModel.load(work.output, exact=True).exact()
    for name, weight in made.items():
        assert torch.allclose(weight, 0.75 * exact[0][name] + 0.25 * exact[1][name], atol=1e-7), name
    assert (work.output / "tokenizer.json").is_file() and not (work.output / "manifest.json").exists()
    assert work.metrics["spread"] > 0


def test_a_soup_of_one_is_that_model(folder: Path, tmp_path: Path) -> None:
    Soup(models=["a"]).run(work := workspace(tmp_path, {"a": folder}))
    before, after = LanguageModel.load(folder).exact(), LanguageModel.load(work.output).exact()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert work.metrics["spread"] == 0


def test_adapters_are_averaged_exactly(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from bactrian.model.adapters import merge_folder

    folders = {}
    for number, rank in enumerate((2, 3)):
        model = LanguageModel.load(folder)
        add_adapters(model.network, str(folder), rank=rank, alpha=4.0, seed=number)
        with torch.no_grad():
            for name, weight in model.network.named_parameters():
                if "lora_B" in name:
                    weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
        target = tmp_path / f"adapted-{number}"
        merge_adapters(model.network, target / "adapter")
        model.save(target)
        folders[f"m{number}"] = target
    out = tmp_path / "out"
    average(list(folders.values()), [0.5, 0.5], out)
    assert average_adapters(list(folders.values()), [0.5, 0.5], out) == 5
    merge_folder(out / "adapter", folder, tmp_path / "merged")
    one, other = LanguageModel.load(out).exact(), LanguageModel.load(tmp_path / "merged").exact()
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert average_adapters([folder, folders["m0"]], [0.5, 0.5], tmp_path / "none") is None


def test_strangers_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "wider", intermediate_size=64)
    with pytest.raises(BactrianError, match=r"b: config.json, intermediate_size: found 64, expected 48"):
        check_alike({"a": folder, "b": other})
    with pytest.raises(BactrianError, match=r"found no model that all of a, b were trained from"):
        twin = shifted(folder, tmp_path / "twin", 0.01)
        Soup(models=["a", "b"]).run(workspace(tmp_path, {"a": folder, "b": twin}))
    spoken = tmp_path / "spoken"
    shutil.copytree(folder, spoken)
    tokens = json.loads((spoken / "tokenizer.json").read_text())
    tokens["added_tokens"][0]["special"] = not tokens["added_tokens"][0]["special"]
    (spoken / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(BactrianError, match=r"b: tokenizer.json is another than that of a"):
        check_alike({"a": folder, "b": spoken})
    with pytest.raises(ValidationError, match="found one twice"):
        Soup(models=["a", "a"])
    with pytest.raises(ValidationError, match="not all 0"):
        Soup(models=["a", "b"], weights=[0, 0])
    assert Soup(models=["a", "b", "c"], weights=[1, 2, 3]).keeping([0, 2]).shares() == [0.25, 0.75]


def test_a_common_start_is_read_off_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """base → sft → (dpo, ppo); the reward model beside ppo is no start of it, whatever it was made from."""
    from types import SimpleNamespace as Record

    from bactrian.stages.tune import soup
    from bactrian.store.manifest import MANIFEST

    made = {
        "sft": ("sft", {"model": "base"}, {"base": "base"}),
        "dpo": ("dpo", {"model": "sft"}, {"sft": "sft", "pairs": "pairs"}),
        "ppo": ("ppo", {"model": "sft", "value": "rm"}, {"sft": "sft", "rm": "rm"}),
        "other": ("ppo", {"model": "alone", "value": "rm"}, {"alone": "alone", "rm": "rm"}),
        "mixed": ("soup", {"models": ["dpo", "ppo"]}, {"dpo": "dpo", "ppo": "ppo"}),
    }
    for name in (*made, "base", "rm", "alone", "pairs"):
        (tmp_path / name).mkdir()
        if name in made:
            (tmp_path / name / MANIFEST).write_text("{}")

    def read(folder: Path) -> Record:
        stage, settings, inputs = made[folder.name]
        records = {ref: Record(content_hash=ref, path=str(tmp_path / ref)) for ref in inputs}
        return Record(stage=stage, settings=settings, inputs=records)

    monkeypatch.setattr(soup, "Manifest", Record(read=read))
    assert ancestors("mixed", tmp_path / "mixed") == {"mixed", "dpo", "ppo", "sft", "base"}
    places = {name: (name, tmp_path / name) for name in ("dpo", "ppo", "other")}
    assert common_starts({name: places[name] for name in ("dpo", "ppo")}) == {"sft", "base"}
    assert common_starts(places) == set()


def test_a_fused_reward_is_the_mean_of_standardised_ones(folder: Path) -> None:
    models = [RewardModel.of(LanguageModel.load(folder), seed) for seed in (1, 2)]
    with torch.no_grad():
        models[1].network.score.weight *= 50  # a model of another scale
    fused = FusedReward((FusedPart("a", models[0]), FusedPart("b", models[1], 3.0))).standardised(GROUPS)
    plain = [torch.tensor([r for group in rewards_of(model, GROUPS, 4096) for r in group]) for model in models]
    expected = sum(w * (p - p.mean()) / p.std() for w, p in zip((0.25, 0.75), plain, strict=True))
    assert torch.allclose(fused.rewards(GROUPS), expected, atol=1e-4)
    assert abs(float(fused.rewards(GROUPS).mean())) < 1e-5
    mixed = MixedReward(10.0, fused, 0.5)(GROUPS, [[1.0, 0.0, 0.0], [0.0, 1.0]])
    flat = [value for group in mixed for value in group]
    verified = torch.tensor([10.0, 0, 0, 0, 10])
    assert torch.allclose(torch.tensor(flat), verified + 0.5 * expected, atol=1e-4)
    with torch.no_grad():
        models[0].network.score.weight.zero_()
    with pytest.raises(BactrianError, match="a gives all 5 answers one reward"):
        FusedReward((FusedPart("a", models[0]),)).standardised(GROUPS)


def test_settings_of_a_fused_reward() -> None:
    fusion = {"models": {"clarity": "rm1", "focus": "rm2"}, "weights": {"focus": 2}, "standardise": "held"}
    given = GroupRewardSettings(verifier="reward_model", fusion=FusionSettings(**fusion))
    assert given.fusion is not None and given.fusion.rows == 512
    for wrong, said in (
        ({"fusion": {**fusion, "weights": {"colour": 1}}}, "'colour' is none of the models"),
        ({"fusion": {**fusion, "weights": {"focus": 0}}}, "above 0"),
        ({"fusion": fusion, "reward_model": "rm"}, "found reward_model and fusion"),
        ({"fusion": fusion}, "reward_weight above 0"),
    ):
        with pytest.raises(ValidationError, match=said):
            PPORewardSettings.model_validate(wrong)
