"""Pieces of work side by side: each is done once, with the same result to the bit; nobody else's threads change."""

import os
from collections.abc import Iterator
from itertools import pairwise
from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bactrian.model.packed_attention import PackedAttention
from bactrian.model.packing import Forest, Segment
from bactrian.model.thread_pool import WORTH_IT, run_in_threads, shared_out


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(2, 5))
def test_each_piece_goes_to_one_and_nobody_has_much_more(costs: list[float], parts: int) -> None:
    chosen = shared_out(costs, parts)
    assert sorted(i for mine in chosen for i in mine) == list(range(len(costs)))
    assert all(a < b for mine in chosen for a, b in pairwise(mine))
    loads = [sum(costs[i] for i in mine) for mine in chosen] + [0.0] * (parts - len(chosen))
    assert max(loads) <= min(loads) + max(costs, default=0) + 1e-6


def test_all_threads_keep_their_number_and_gradients_are_off() -> None:
    torch.set_num_threads(3)
    seen: dict[int, tuple[int, bool]] = {}
    pieces = [lambda i=i: seen.update({i: (torch.get_num_threads(), torch.is_grad_enabled())}) for i in range(7)]
    run_in_threads(pieces, [WORTH_IT] * 7)  # type: ignore[arg-type]
    assert seen == dict.fromkeys(range(7), (1, False))
    assert torch.get_num_threads() == 3 and torch.is_grad_enabled()
    later: list[int] = []
    thread = Thread(target=lambda: later.append(torch.get_num_threads()))  # as the one that runs a backward
    thread.start()
    thread.join()
    assert later == [3]


def test_a_piece_that_fails_is_heard_of_after_the_others_are_done() -> None:
    torch.set_num_threads(2)
    done: list[int] = []

    def fails() -> None:
        raise RuntimeError("this piece")

    with pytest.raises(RuntimeError, match="this piece"):
        run_in_threads([fails, lambda: done.append(1)], [WORTH_IT, WORTH_IT])
    assert done == [1]


def test_a_fork_works_too() -> None:
    torch.set_num_threads(2)
    run_in_threads([lambda: None] * 2, [WORTH_IT] * 2)
    child = os.fork()
    if not child:
        done: list[int] = []
        run_in_threads([lambda: done.append(1)] * 2, [WORTH_IT] * 2)
        os._exit(len(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    """A tree of prefixes, whose children add up in their parents' gradients; and short rows in batches."""
    shape = [(140, -1), (150, 0), (90, 0), (30, 1), (33, 1), (200, 1), (40, -1), (41, -1), (44, -1)]
    forest = Forest.of([Segment(tuple(range(n)), parent) for n, parent in shape])
    total = len(forest.ids)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, total, 16, generator=draw).to(dtype) for heads in (6, 2, 2))
    upstream = torch.randn(1, total, 6, 16, generator=draw).to(dtype)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        layout = PackedAttention(forest)
        assert sum(group.cost for group in layout.groups) > WORTH_IT
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = layout.attend(0, *inputs, 0.25, None)
        found.append([out, *torch.autograd.grad(out, inputs, upstream)])
        with torch.inference_mode():  # as a prefill does
            assert torch.equal(layout.attend(0, q, k, v, 0.25, None), out)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
