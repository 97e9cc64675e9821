"""Merging of weights against small tensors worked out by hand."""

import math

import pytest
import torch

from bactrian.model.merging import dropped, elected, merged, slerp, trimmed


def test_slerp_goes_along_the_arc() -> None:
    one, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    half = 2 * math.sqrt(0.5)
    torch.testing.assert_close(slerp(one, other, 0.5), torch.tensor([[half, half]]))
    third = slerp(one, other, 1 / 3)
    torch.testing.assert_close(third, torch.tensor([[2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]]))
    torch.testing.assert_close(slerp(one, 3 * one, 0.5), 2 * one)  # parallel: a line
    assert slerp(one, torch.zeros(1, 2), 0.25).tolist() == [[1.5, 0.0]]


def test_ties_trims_elects_a_sign_and_averages_those_that_agree() -> None:
    start = torch.tensor([1.0, 1.0, 1.0, 1.0])
    changes = [torch.tensor([4.0, -1.0, 3.0, 0.5]), torch.tensor([2.0, 5.0, -1.0, -4.0])]
    assert trimmed(changes[0], 0.5).tolist() == [4.0, 0.0, 3.0, 0.0]
    # kept: [4, 0, 3, 0] and [0, 5, 0, -4]: each number is one model's alone
    told = merged("ties", [start + each for each in changes], [0.5, 0.5], start, density=0.5)
    assert told.tolist() == [5.0, 6.0, 4.0, -3.0]
    # all kept: signs of the sums are + + + -; of them 4 and 2, 5, 3, -4
    told = merged("ties", [start + each for each in changes], [0.5, 0.5], start, density=1.0, scale=2.0)
    assert told.tolist() == [1 + 2 * 3.0, 1 + 2 * 5.0, 1 + 2 * 3.0, 1 - 2 * 4.0]
    torch.testing.assert_close(elected(changes, [0.75, 0.25]), torch.tensor([3.5, 5.0, 3.0, -4.0]))


def test_dare_keeps_the_mean_of_a_change() -> None:
    change, random = torch.ones(20_000), torch.Generator().manual_seed(0)
    kept = dropped(change, 0.25, random)
    assert set(kept.tolist()) == {0.0, 4.0} and float(kept.mean()) == pytest.approx(1.0, abs=0.05)
    start = torch.zeros(20_000)
    told = merged("dare", [change, -change], [0.5, 0.5], start, density=1.0, random=random)
    assert not told.any()
    told = merged("dare_ties", [change, 2 * change], [0.5, 0.5], start, density=1.0, random=random)
    torch.testing.assert_close(told, 1.5 * change)
