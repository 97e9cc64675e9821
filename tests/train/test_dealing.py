"""Micro-batches: each is one process's, all make equally many, and none has much more to do than another."""

from hypothesis import given
from hypothesis import strategies as st

from bactrian.store.processes import Processes, joint
from bactrian.train.dealing import cut, deal, even

SIZES = st.lists(st.integers(1, 5000), max_size=60)
HANDS = st.integers(1, 9)


@given(SIZES, HANDS)
def test_each_micro_batch_is_computed_once_and_all_compute_equally_many(sizes: list[int], hands: int) -> None:
    dealt = deal(sizes, hands)
    assert len(dealt) == hands
    assert sorted(number for hand in dealt for number in hand.own) == list(range(len(sizes)))
    most = max(len(hand.own) for hand in dealt)
    assert sum(most - len(hand.own) for hand in dealt) < hands
    assert all(sizes[hand.filler] == min(sizes) for hand in dealt if sizes)
    assert dealt == deal(sizes, hands)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), HANDS)
def test_no_process_has_more_than_the_least_has_and_one_micro_batch(sizes: list[int], hands: int) -> None:
    dealt = deal(sizes, hands)
    most = max(len(hand.own) for hand in dealt)
    loads = [sum(sizes[i] for i in hand.own) for hand in dealt if len(hand.own) == most]
    assert max(loads) - min(loads) <= max(sizes)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=60), HANDS, st.integers(1, 2000))
def test_a_cut_for_several_holds_every_item_once_within_the_budget(sizes: list[int], hands: int, budget: int) -> None:
    with joint(Processes(0, hands)):
        bins = cut(sizes, budget)
    assert sorted(item for each in bins for item in each) == list(range(len(sizes)))
    assert all(len(each) == 1 or sum(sizes[i] for i in each) <= budget for each in bins)
    assert len(bins) >= min(hands, len(sizes))  # none is without work while another has two items


def test_one_process_cuts_as_it_always_did() -> None:
    assert cut([3, 9, 4, 4], 10) == [[1], [2, 3], [0]]
    with joint(Processes(1, 2)):
        assert cut([3, 9, 4, 4], 100) == [[1], [2, 3, 0]]


def test_items_in_bins_are_as_even_as_their_sizes_let_them() -> None:
    assert even([5, 5, 5, 5], 2) == [[0, 2], [1, 3]]
    assert even([7], 3) == [[0]]


def test_those_without_work_go_along_with_the_smallest() -> None:
    dealt = deal([9, 2, 5], 4)
    assert [hand.own for hand in dealt] == [(0,), (2,), (1,), ()]
    assert dealt[3].filler == 1
    assert [hand.own for hand in deal([], 2)] == [(), ()]
