"""AdamW over float32 masters: small updates are not lost, and it is torch's AdamW where there is nothing to lose."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.model.fused import layers
from bactrian.model.language_model import LanguageModel
from bactrian.train import checkpoints
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import TrainingTask
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.states import SLICE, EightBitStates
from tests.model.tiny import write_tiny
from tests.train.bench import SETTINGS, Cut, gradient, load, make, run, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "llama-tied")


def linear(dtype: torch.dtype) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(8, 4, dtype=dtype)


def loss_of(layer: torch.nn.Linear, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    out: torch.Tensor = layer(torch.randn(5, 8, generator=generator).to(layer.weight.dtype))
    return out.float().square().mean()


def test_in_float32_it_is_torch_s_adamw() -> None:
    ours, theirs = linear(torch.float32), linear(torch.float32)
    optimiser = MasterAdamW(ours, (0.9, 0.95), 1e-8, 0.1)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))
    for seed in range(20):
        torch.autograd.backward(loss_of(ours, seed))
        norm = optimiser.step(1e-2, 0.5)
        torch.autograd.backward(loss_of(theirs, seed))
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        reference.step()
        reference.zero_grad()
        assert norm == pytest.approx(float(expected))
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("states", ["float32", "8bit"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_part_with_a_rate_of_its_own_moves_as_if_it_were_alone(dtype: torch.dtype, states: Any) -> None:
    if states == "8bit":
        pytest.importorskip("bitsandbytes")
    both = torch.nn.ModuleDict({"policy": linear(dtype), "value": linear(dtype)})
    alone = {"policy": linear(dtype), "value": linear(dtype)}
    rates = {"policy": 1e-3, "value": 5e-3}
    together = MasterAdamW(both, weight_decay=0.1, states=states, rates={"value.": 5.0})
    apart = {name: MasterAdamW(layer, weight_decay=0.1, states=states) for name, layer in alone.items()}
    for seed in range(5):
        for optimiser in (together, *apart.values()):
            optimiser.expect(1)
        for name, layer in alone.items():
            torch.autograd.backward(loss_of(layer, seed))
            torch.autograd.backward(loss_of(both[name], seed))
            apart[name].step(rates[name], None)
        together.step(1e-3, None)
        for name, layer in alone.items():
            for found, expected in zip(both[name].parameters(), layer.parameters(), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=0 if dtype == torch.bfloat16 else 1e-7)


def test_updates_below_the_resolution_of_bfloat16_add_up() -> None:
    """One step of 1e-5 is less than half a step of bfloat16 at these weights (about 2e-3); many are not."""
    ours, pure, exact = linear(torch.bfloat16), linear(torch.bfloat16), linear(torch.bfloat16).float()
    optimiser = MasterAdamW(ours)
    plain = torch.optim.AdamW(pure.parameters(), lr=1e-5, weight_decay=0.0)
    truth = torch.optim.AdamW(exact.parameters(), lr=1e-5, weight_decay=0.0)
    start = ours.weight.detach().float().clone()
    large = start.abs() > 0.05
    for _ in range(200):
        for layer in (ours, pure, exact):
            torch.autograd.backward(loss_of(layer, 1))
        optimiser.step(1e-5, None)
        plain.step()
        truth.step()
        plain.zero_grad()
        truth.zero_grad()
    assert torch.equal(pure.weight.float()[large], start[large])
    master = optimiser.masters[optimiser.names.index("weight")]
    assert master.dtype == torch.float32
    assert bool(((master - start).abs() > 1e-3).all())
    torch.testing.assert_close(master.detach(), exact.weight.detach(), atol=2e-4, rtol=0)
    assert bool((ours.weight.float()[large] != start[large]).float().mean() > 0.5)
    torch.testing.assert_close(ours.weight, master.bfloat16())


def test_a_small_learning_rate_moves_a_bfloat16_model(folder: Path, tmp_path: Path) -> None:
    model = load(folder, "bfloat16")
    before = {name: weight.detach().clone() for name, weight in model.network.named_parameters()}
    after = run(make("sft", model, batch=1, epochs=20), tmp_path, LoopSettings(2e-5, "constant"))
    moved = sum(int((after[name] != before[name]).sum()) for name in before) / model.parameters
    assert moved > 0.2


def test_micro_batches_of_a_bfloat16_model_add_up_in_float32(folder: Path) -> None:
    model = load(folder, "bfloat16")
    whole = gradient(make("sft", model, micro_tokens=10_000))
    parts = MasterAdamW(model.network)
    (update,) = make("sft", model, micro_tokens=1).updates(0)
    assert len(update.micro_batches) == 5
    for share in update.micro_batches:
        torch.autograd.backward(share()[0])
    assert all(weight.grad is None for weight in model.network.parameters())
    for name, master in zip(parts.names, parts.masters, strict=True):
        assert master.grad is not None and master.grad.dtype == torch.float32
        scale = float(whole[name].abs().max())
        assert float((master.grad.double() - whole[name]).abs().max()) <= 0.03 * scale, name


@pytest.mark.skipif(layers() is None, reason="no C compiler here")
@pytest.mark.parametrize("clip", [None, 0.05])
def test_one_micro_batch_s_gradient_moves_the_masters_in_one_pass(clip: float | None) -> None:
    ours, theirs = linear(torch.bfloat16), linear(torch.bfloat16)
    fast = MasterAdamW(ours, (0.9, 0.95), 1e-8, 0.1)
    plain = MasterAdamW(theirs, (0.9, 0.95), 1e-8, 0.1)
    for seed in range(20):
        fast.expect(1)
        torch.autograd.backward(loss_of(ours, seed))
        torch.autograd.backward(loss_of(theirs, seed))  # is not told, so adds up in float32
        assert ours.weight.grad is None and all(master.grad is None for master in fast.masters)
        assert fast.step(1e-2, clip) == pytest.approx(plain.step(1e-2, clip), rel=1e-5)
        for name, found, expected in zip(fast.names, fast.masters, plain.masters, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=f"{name} after {seed}")
        assert torch.equal(ours.weight, fast.masters[0].bfloat16())
        plain.restore({name: tensor.clone() for name, tensor in fast.state().items()})  # roundings would part them
    moved = linear(torch.bfloat16)
    again = MasterAdamW(moved, (0.9, 0.95), 1e-8, 0.1)
    again.restore({name: tensor.clone() for name, tensor in fast.state().items()})
    for optimiser, layer in ((fast, ours), (again, moved)):  # a step of either kind follows a step of either kind
        optimiser.expect(2)
        torch.autograd.backward(loss_of(layer, 99))
        torch.autograd.backward(loss_of(layer, 98))
        optimiser.step(1e-2, clip)
    assert all(torch.equal(a, b) for a, b in zip(fast.masters, again.masters, strict=True))


def test_a_gradient_of_a_bfloat16_model_that_is_not_finite_changes_nothing() -> None:
    layer = linear(torch.bfloat16)
    optimiser = MasterAdamW(layer)
    before = layer.weight.detach().clone()
    optimiser.expect(1)
    torch.autograd.backward(loss_of(layer, 1) * float("inf"))
    with pytest.raises(FloatingPointError, match="norm"):
        optimiser.step(0.1, 1.0)
    assert torch.equal(layer.weight, before) and not optimiser.state().keys() - set(optimiser.names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("offload", [False, True])
def test_what_was_trained_does_not_keep_itself_alive(dtype: torch.dtype, offload: bool) -> None:
    """A hook that knows its own weight would: several stages of a recipe run in one process."""
    layer = linear(dtype)
    optimiser = MasterAdamW(layer, offload=offload)
    for micro_batches in (1, 2):
        optimiser.expect(micro_batches)
        for seed in range(micro_batches):
            torch.autograd.backward(loss_of(layer, seed))
        optimiser.step(1e-3, 1.0)
    left = [weakref.ref(tensor) for tensor in (layer.weight, optimiser.masters[0], optimiser)]
    del layer, optimiser
    gc.collect()
    assert [each() for each in left] == [None] * 3


@pytest.mark.parametrize("decay_all", [False, True])
def test_weight_decay_touches_matrices_only_unless_all(folder: Path, decay_all: bool) -> None:
    network = load(folder).network
    optimiser = MasterAdamW(network, weight_decay=0.5, decay_all=decay_all)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step(0.1, None)
    for name, weight in network.named_parameters():
        matrix = decay_all or (weight.ndim == 2 and "embed" not in name)
        torch.testing.assert_close(weight.detach(), before[name] * (0.95 if matrix else 1.0), msg=name)


@pytest.mark.parametrize("states", ["float32", "8bit"])
def test_offloaded_it_takes_the_same_steps(folder: Path, tmp_path: Path, states: Any) -> None:
    """On a CPU main memory is where all is anyway: what is tested is that the way there and back loses nothing."""
    for dtype in ("float32", "bfloat16"):
        after = []
        for offload in (False, True):
            settings = LoopSettings(1e-3, states=states, offload=offload, weight_decay=0.1)
            model = LanguageModel.load(folder, dtype, masters=True)
            after.append(run(make("sft", model, batch=2), tmp_path / f"{dtype} {offload}", settings))
        assert same(*after)


def test_states_in_8_bits_take_nearly_the_same_steps_in_a_quarter_of_the_memory() -> None:
    torch.manual_seed(0)
    start = torch.randn(3, SLICE // 2) * 0.02
    optimisers, layers = {}, {}
    for states in ("float32", "8bit"):
        layer = torch.nn.Linear(SLICE // 2, 3, bias=False)
        layer.weight.data = start.clone()
        layers[states], optimisers[states] = layer, MasterAdamW(layer, states=states)
        for step in range(4):
            generator = torch.Generator().manual_seed(step)
            layer.weight.grad = torch.randn(start.shape, generator=generator)
            optimisers[states].step(1e-3, None)
    moved = (layers["float32"].weight - start).norm()
    assert 0 < (layers["8bit"].weight - layers["float32"].weight).norm() < 0.05 * moved
    kept = {states: sum(t.nbytes for n, t in o.state().items() if "#" in n) for states, o in optimisers.items()}
    assert kept["8bit"] < 0.27 * kept["float32"]
    eight = optimisers["8bit"].states
    assert isinstance(eight, EightBitStates) and len(eight.slices[layers["8bit"].weight]) == 2


@pytest.mark.parametrize("kind", ["sft", "ppo in parts"])
def test_states_in_8_bits_resume_to_the_bit(tmp_path: Path, kind: str) -> None:
    folder = write_tiny(tmp_path / "model", hidden_size=64, intermediate_size=128)  # matrices of more than 4,096

    def fresh() -> TrainingTask:
        return make(kind, load(folder, "bfloat16"), items=range(4), batch=2, epochs=2)

    settings = replace(SETTINGS, states="8bit")
    expected = run(fresh(), tmp_path / "whole", settings)
    with pytest.raises(Cut.Killed):
        run(Cut(fresh(), 3 if kind == "sft" else 10), tmp_path / "cut", settings)
    newest = checkpoints.load_newest(tmp_path / "cut" / "scratch" / "checkpoints")
    assert newest is not None and any(t.dtype == torch.uint8 for t in newest.tensors.values())
    assert same(run(fresh(), tmp_path / "cut", settings), expected)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    layer = linear(torch.float32)
    optimiser = MasterAdamW(layer)
    before = layer.weight.detach().clone()
    torch.autograd.backward(loss_of(layer, 1) * float("inf"))
    with pytest.raises(FloatingPointError, match="norm"):
        optimiser.step(0.1, 1.0)
    assert torch.equal(layer.weight, before)
