"""The large recipes say what was published [tables in docs/methods.md]."""

from pathlib import Path
from typing import Any

import pytest

from bactrian.recipe.groups import groups_of
from bactrian.recipe.recipe import load
from bactrian.stages.stage import Stage

RECIPES = Path(__file__).parents[1] / "recipes"
SAID = {  # step: learning rate, then the step's other published settings
    "tulu3-8b": {
        "sft": {"learning_rate": 5e-6, "batch_size": 128, "epochs": 2, "max_length": 4096, "seed": 123},
        "dpo": {
            "learning_rate": 5e-7,
            "batch_size": 128,
            "epochs": 1,
            "loss": "dpo_norm",
            "beta": 5,
            "max_length": 2048,
        },
        "reward": {"learning_rate": 3e-6, "batch_size": 256, "max_length": 2048},
        "rlvr": {"learning_rate": 3e-7, "kl": 0.05, "problems_per_step": 224, "max_new_tokens": 2048, "epochs": 4},
    },
    "tulu3-70b": {
        "sft": {"learning_rate": 2e-6, "batch_size": 128, "seed": 456},
        "dpo": {"learning_rate": 2e-7, "batch_size": 128, "beta": 5},
        "rlvr": {"learning_rate": 1e-7, "kl": 0.07, "problems_per_step": 640, "warmup": 0.1, "value": "reward_8b"},
    },
    "tulu3-405b": {
        "sft": {"learning_rate": 2e-6, "batch_size": 256},
        "dpo": {"learning_rate": 2e-7, "batch_size": 256},
        "rlvr": {
            "learning_rate": 1e-7,
            "kl": 0.05,
            "problems_per_step": 1856,
            "max_new_tokens": 1024,
            "data": "math_train",
        },
    },
    "tulu3.1-8b": {
        "rlvr": {
            "learning_rate": 5e-7,
            "schedule": "constant",
            "kl": 0.01,
            "kl_estimator": "k3",
            "samples": 16,
            "problems_per_step": 48,
            "updates_per_step": 2,
            "no_end_reward": 0,
        },
    },
    "olmo2-13b-instruct": {
        "sft": {"learning_rate": 5e-6, "batch_size": 64, "epochs": 2, "seed": 8},
        "dpo": {"learning_rate": 8e-7, "batch_size": 128, "loss": "dpo_norm", "beta": 5},
        "rlvr_mix": {"learning_rate": 4e-7, "kl": 0.1, "data": "problems", "model": "dpo", "keep": "best"},
        "rlvr_gsm8k": {"kl": 0.03, "data": "gsm8k_train", "model": "rlvr_mix", "keep": "best"},
        "rlvr_math": {"data": "math_train", "model": "rlvr_gsm8k", "keep": "best"},
    },
    "olmo2-7b": {
        "stage1": {
            "learning_rate": 3e-4,
            "batch_size": 1024,
            "data": "pre_tokens",
            "context": 4096,
            "floor": 0.1,
            "horizon": 5e12,
            "weight_decay": 0.1,
            "decay_all": False,
            "betas": (0.9, 0.95),
            "rope_theta": 500_000,
        },
        "stage2_a": {"learning_rate": None, "schedule": "anneal", "seed": 42, "start": "keep"},
        "stage2_b": {"seed": 42069, "model": "stage1"},
        "stage2_c": {"seed": 666, "model": "stage1"},
        "sft": {"learning_rate": 2e-5, "batch_size": 128, "epochs": 2, "seed": 8},
        "dpo": {"learning_rate": 1e-6, "batch_size": 128, "loss": "dpo_norm", "beta": 5},
        "rlvr": {"learning_rate": 3e-7, "problems_per_step": 224, "model": "dpo", "value": "reward"},
    },
    "olmo2-13b": {
        "stage1": {"learning_rate": 9e-4, "batch_size": 2048, "hidden_size": 5120, "layers": 40, "tokens": 5.6e12},
        "stage2_a": {"seed": 1110, "tokens": 1e11, "data": "mid_tokens"},
        "stage2_b": {"seed": 2662, "tokens": 1e11},
        "stage2_c": {"seed": 6209, "tokens": 1e11},
        "stage2_long": {"seed": 2662, "tokens": 3e11, "data": "long_tokens"},
        "base": {"models": ["stage2_a", "stage2_b", "stage2_c", "stage2_long"]},
        "sft": {"learning_rate": 5e-6, "batch_size": 64, "epochs": 2, "model": "base"},
        "rlvr_math": {"data": "math_train", "model": "rlvr_gsm8k"},
    },
    "olmo2-32b": {
        "stage1": {
            "learning_rate": 6e-4,
            "batch_size": 2048,
            "layers": 64,
            "kv_heads": 8,
            "intermediate_size": 27_648,
            "tokens": 6.06e12,
            "horizon": 6.5e12,
            "sigma": 6,
        },
        "stage2_long": {"seed": 2662, "tokens": 3e11},
        "base": {"models": ["stage2_a", "stage2_b", "stage2_long"]},
        "sft": {"learning_rate": 4e-6, "batch_size": 256, "epochs": 2, "model": "base"},
    },
    "olmoe-1b-7b": {
        "stage1": {
            "architecture": "olmoe",
            "learning_rate": 4e-4,
            "batch_size": 1024,
            "experts": 64,
            "active": 8,
            "balance": 0.01,
            "router_z": 0.001,
            "decay_all": True,
            "tokens": 5.1e12,
            "warmup_tokens": 1.049e10,
        },
        "base": {"model": "stage1", "tokens": 1e11, "schedule": "anneal"},
        "sft": {"learning_rate": 2e-5, "batch_size": 128, "epochs": 2},
        "dpo": {"learning_rate": 5e-7, "batch_size": 32, "loss": "dpo", "beta": 0.1, "epochs": 3},
    },
}
PPO = {
    "verifier_weight": 10,
    "reward_weight": 0,
    "no_end_reward": -10,
    "discount": 1,
    "decay": 0.95,
    "clip": 0.2,
    "value_clip": 0.2,
    "value_weight": 0.1,
    "parts": 1,
    "epochs": 4,
}
EPISODES = {"tulu3-8b": 100_000, "tulu3-70b": 400_000, "tulu3-405b": 400_000}


def all_settings(stage: Stage) -> dict[str, Any]:
    """Of a stage, those in groups beside the others."""
    found: dict[str, Any] = stage.model_dump()
    return {**found, **{k: v for group in groups_of(type(stage)) for k, v in (found[group] or {}).items()}}


@pytest.mark.parametrize("name", SAID)
def test_hyper_parameters(name: str) -> None:
    recipe = load(RECIPES / f"{name}.yaml")
    for step, settings in SAID[name].items():
        found = all_settings(recipe.step(step).stage)
        assert {setting: found[setting] for setting in settings} == settings, step
    for each in recipe.steps:
        found = all_settings(each.stage)
        if each.stage.name == "ppo":
            assert {setting: found[setting] for setting in PPO} == PPO
        if each.stage.name in ("sft", "dpo"):
            assert found["schedule"] == "linear" and found["weight_decay"] == 0 and found["betas"] == (0.9, 0.999)
            assert found["warmup"] == {"sft": 0.03, "dpo": 0.1}[each.stage.name]
    if name in EPISODES:
        rlvr = recipe.step("rlvr").stage.model_dump()
        answers = rlvr["problems_per_step"] * rlvr["samples"]
        assert abs(rlvr["steps"] * answers - EPISODES[name]) < answers
