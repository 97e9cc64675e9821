"""Training and sampling on a GPU that is none: nothing mixes the two memories, and the numbers are a CPU's."""

import copy
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.model.ranking import Ask
from bactrian.store.artifact import Workspace
from bactrian.store.processes import Processes
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import train
from bactrian.train.rl.actor_critic import ActorCritic
from tests.model.pretended_gpu import moved, pretended_gpu
from tests.model.tiny import write_tiny
from tests.train.bench import distance, innermost, load, make, trained
from tests.train.gang import together

KINDS = ("sft", "kto", "reward", "kl in the reward", "grpo, two updates", "ppo in parts")
ASKED = [
    Request((4, 5, 6, 7), n=3, seed=1, max_new_tokens=8, temperature=0.7, top_p=0.9, top_k=5),
    Request((4, 5, 6, 9), n=2, seed=1, max_new_tokens=8, temperature=0.0),
]


def weights_after(kind: str, model: LanguageModel) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    task = make(kind, model, batch=3)
    inner = innermost(task)
    given = SimpleNamespace(network=trained(task), masters=inner.masters if isinstance(inner, ActorCritic) else {})
    settings = LoopSettings(learning_rate=1e-3, epsilon=1e-2)
    train("test", given, task, settings, Workspace.temporary(Path(tempfile.mkdtemp())))
    return {name: weight.detach().cpu().clone() for name, weight in given.network.named_parameters()}


def said(model: LanguageModel) -> Any:
    engine = LocalEngine(model, native=False)
    asks = [Ask((4, 5, 6), ((7, 8), (9,)))]
    ranked = [each.logprob for part in engine.likelihoods(asks) for _, found in part for each in found]
    return [[each.ids for each in group] for group in engine.generate(ASKED)], ranked


def on_both(_: Processes, folder: Path) -> dict[str, Any]:
    """By a process of its own: torch knows the device as long as that lives, and must before its first backward."""
    plain = load(folder)
    copies = {kind: copy.deepcopy(plain.network) for kind in (*KINDS, "said")}
    with pretended_gpu() as name:
        for network in copies.values():
            moved(network)
        models = {kind: LanguageModel(n, plain.tokenizer, plain.template) for kind, n in copies.items()}
        assert models["said"].device.type == name
        there = {kind: weights_after(kind, models[kind]) for kind in KINDS}
        also = said(models["said"])
    here = {kind: weights_after(kind, load(folder)) for kind in KINDS}
    return {"apart": {kind: distance(here[kind], there[kind]) for kind in KINDS}, "said": (said(plain), also)}


@pytest.mark.slow
def test_a_gpu_s_numbers_are_a_cpu_s(tmp_path: Path) -> None:
    (found,) = together(1, on_both, write_tiny(tmp_path, "llama-tied"))
    assert all(apart <= 1e-5 for apart in found["apart"].values()), found["apart"]
    (answers, ranked), (also, ranked_also) = found["said"]
    assert answers == also
    assert ranked_also == pytest.approx(ranked, abs=1e-4)
