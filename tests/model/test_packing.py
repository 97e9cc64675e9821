"""Packing: layouts, bins, shared prefixes; and packed = separate for every architecture, gradients too."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from bactrian.model.gpu_attention import BLOCK, DenseAttention, FlexAttention, VarlenAttention, blocks
from bactrian.model.language_model import LanguageModel
from bactrian.model.packed_attention import PackedAttention
from bactrian.model.packing import Forest, Group, Segment, common_prefix, pack, plant
from tests.model.tiny import ARCHITECTURES, write_tiny


def test_the_docstring_s_example() -> None:
    forest = Forest.of([Segment((7, 8)), Segment((1, 2), parent=0), Segment((3,), parent=0)])
    assert forest.ids.tolist() == [7, 8, 1, 2, 3]
    assert forest.positions.tolist() == [0, 1, 2, 3, 2]
    assert forest.previous.tolist() == [-1, 0, 1, 2, 1]
    assert forest.ancestors(2) == [0]


@pytest.mark.parametrize("segments", [[Segment(())], [Segment((1,), parent=0)], [Segment((1,)), Segment((2,), 5)]])
def test_a_bad_forest_is_refused(segments: list[Segment]) -> None:
    with pytest.raises(ValueError, match="segment"):
        Forest.of(segments)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 100))
def test_bins_hold_each_item_once_and_keep_the_budget(sizes: list[int], budget: int) -> None:
    bins = pack(sizes, budget)
    assert sorted(i for b in bins for i in b) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in b) <= budget or len(b) == 1 for b in bins)
    # best fit leaves no two bins that could have been one
    loads = sorted(sum(sizes[i] for i in b) for b in bins)
    assert all(a + b > budget for a, b in pairwise(loads))


@pytest.mark.slow
def test_packing_a_million_lengths_is_quick() -> None:
    import time

    lengths = [(i * 7919) % 2000 + 1 for i in range(1_000_000)]
    start = time.process_time()
    bins = pack(lengths, 4096)
    assert time.process_time() - start < 5
    assert sum(lengths) / (4096 * len(bins)) > 0.99


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=2, max_size=6), st.integers(0, 12))
def test_common_prefix(sequences: list[list[int]], limit: int) -> None:
    n = common_prefix(sequences, limit)
    assert n == 0 or (4 <= n <= limit and all(s[:n] == sequences[0][:n] and len(s) > n for s in sequences))
    if n == 0 and limit >= 4:  # nothing worth sharing was missed
        assert any(s[:4] != sequences[0][:4] or len(s) <= 4 for s in sequences)


def random_tokens(size: int, length: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, size, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("model"), request.param))


def plain_logprobs(model: LanguageModel, ids: tuple[int, ...]) -> torch.Tensor:
    """transformers' own forward on one sequence, with gradient, [len - 1]."""
    from bactrian.model import attention

    model.network.set_attn_implementation("eager")
    logits = model.network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    model.network.set_attn_implementation(attention.IMPLEMENTATION)
    logprobs: torch.Tensor = logits.float().log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
    return logprobs


def tree(size: int) -> tuple[Forest, list[tuple[int, ...]], list[list[int]]]:
    """Three levels and a lone root: the forest, the whole sequence of each leaf, and the leaf's path of segments."""
    parts = [random_tokens(size, n, i) for i, n in enumerate((9, 5, 7, 3, 150, 1, 6))]
    parents = [-1, 0, 0, 1, -1, 1, 2]
    forest = Forest.of([Segment(p, parent) for p, parent in zip(parts, parents, strict=True)])
    paths = [[0, 1, 3], [0, 1, 5], [0, 2, 6], [4]]
    return forest, [tuple(t for i in path for t in parts[i]) for path in paths], paths


def test_a_packed_tree_equals_separate_sequences(model: LanguageModel) -> None:
    forest, sequences, paths = tree(model.head.shape[0])
    for sequence, path in zip(sequences, paths, strict=True):
        places = torch.cat([torch.arange(forest.spans[i].start, forest.spans[i].stop) for i in path])[1:]
        packed, plain = model.logprobs(forest, places), plain_logprobs(model, sequence)
        torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


def test_the_gradient_of_a_packed_tree_equals_that_of_separate_sequences(model: LanguageModel) -> None:
    forest, sequences, paths = tree(model.head.shape[0])
    leaves = [forest.spans[path[-1]] for path in paths[:3]]
    where = torch.cat([torch.arange(s.start, s.stop) for s in leaves])
    coefficients = torch.linspace(-1, 2, len(where))
    torch.autograd.backward((model.logprobs(forest, where) * coefficients).sum())
    packed = {n: p.grad.clone() for n, p in model.network.named_parameters() if p.grad is not None}
    model.network.zero_grad(set_to_none=True)
    at = 0
    for leaf, sequence in zip(leaves, sequences, strict=False):
        own = plain_logprobs(model, sequence)[-leaf.length :]
        torch.autograd.backward((own * coefficients[at : at + leaf.length]).sum())
        at += leaf.length
    largest = max(float(g.abs().max()) for g in packed.values())
    assert packed
    for name, weight in model.network.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(packed[name], weight.grad, atol=1e-5 * largest, rtol=1e-4, msg=name)
    model.network.zero_grad(set_to_none=True)


def test_planting_groups_equals_separate_prompts(model: LanguageModel) -> None:
    size = model.head.shape[0]
    system = random_tokens(size, 6, 50)
    groups = [
        Group((*system, *random_tokens(size, 3 + g, g)), tuple(random_tokens(size, 2 + a, 9 * g + a) for a in range(3)))
        for g in range(3)
    ]
    forest, spans = plant(groups)
    assert forest.tokens == sum(g.tokens for g in groups) - 2 * len(system)  # the system turn is there once, not thrice
    answers = [(g.prompt, a) for g in groups for a in g.answers]
    for (prompt, answer), span in zip(answers, spans, strict=True):
        packed = model.logprobs(forest, torch.arange(span.start, span.stop))
        plain = plain_logprobs(model, (*prompt, *answer))[-len(answer) :]
        torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


def test_a_forward_outside_of_a_layout_is_an_error_and_not_a_wrong_number(model: LanguageModel) -> None:
    with pytest.raises(RuntimeError, match="attention_layout"):
        model.network(input_ids=torch.tensor([[1, 2, 3]]))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(-1, 6)), min_size=1, max_size=8), st.integers(0, 99))
def test_any_tree_equals_its_paths(shape: list[tuple[int, int]], seed: int) -> None:
    model = cached_model()
    size = model.head.shape[0]
    segments = [
        Segment(random_tokens(size, length, seed + i), min(parent, i - 1)) for i, (length, parent) in enumerate(shape)
    ]
    forest = Forest.of(segments)
    for index, span in enumerate(forest.spans):
        path = [*forest.ancestors(index), index]
        sequence = tuple(t for i in path for t in segments[i].ids)
        first = 0 if span.parent >= 0 else 1
        if span.length > first:
            packed = model.logprobs(forest, torch.arange(span.start + first, span.stop))
            plain = plain_logprobs(model, sequence)[-(span.length - first) :]
            torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 5, 40])
def test_the_gpu_s_attention_is_the_cpu_s(window: int | None) -> None:
    """Those for GPUs run on a CPU too, FlexAttention forward only; the masks are what is ours."""
    lengths = ((9, -1), (5, 0), (7, 0), (3, 1), (150, -1), (20, 4))
    forest = Forest.of([Segment(tuple(range(n)), parent) for n, parent in lengths])
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, forest.tokens, 16) for heads in (4, 2, 2))
    ours = PackedAttention(forest).attend(0, q, k, v, 0.25, window)
    flex = FlexAttention(forest, None, torch.device("cpu")).attend(0, q, k, v, 0.25, window)
    torch.testing.assert_close(ours, flex, atol=1e-5, rtol=1e-5)
    dense = DenseAttention(forest, None, torch.device("cpu"))
    torch.testing.assert_close(ours, dense.attend(0, q, k, v, 0.25, window), atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(-1, 4)), min_size=1, max_size=6), st.sampled_from([None, 40])
)
def test_blocks_hold_all_that_is_seen_and_whole_ones_nothing_else(
    shapes: list[tuple[int, int]], window: int | None
) -> None:
    forest = Forest.of([Segment((1,) * length, min(above, i - 1)) for i, (length, above) in enumerate(shapes)])
    rows = torch.arange(forest.tokens)
    seen = DenseAttention(forest, None, torch.device("cpu")).seen(window)(rows[:, None], rows[None, :])
    some, full = blocks(forest, window)
    assert not bool((some & full).any())
    for row in range(len(some)):
        for column in range(len(some)):
            part = seen[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
            assert bool(some[row, column] | full[row, column]) or not bool(part.any())
            assert not bool(full[row, column]) or bool(part.all())


_models: list[LanguageModel] = []


def cached_model() -> LanguageModel:
    if not _models:
        import tempfile

        _models.append(LanguageModel.load(write_tiny(Path(tempfile.mkdtemp()), "qwen3")))
    return _models[0]


@pytest.mark.parametrize("window", [None, 5])
def test_flash_attention_is_asked_for_each_segment(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on GPUs alone; in its place, what its documentation says it does."""
    from torch.nn.attention import varlen

    def stand_in(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor, *_: Any, scale: float, window_size: Any
    ) -> torch.Tensor:
        out = torch.empty_like(q)
        for start, stop in pairwise(starts.tolist()):
            back = torch.arange(stop - start)[:, None] - torch.arange(stop - start)[None]
            seen = (back >= 0) & ((back <= window_size[0]) if window_size[0] >= 0 else True)
            one = [x[start:stop].transpose(0, 1) for x in (q, k, v)]
            out[start:stop] = scaled_dot_product_attention(*one, attn_mask=seen, scale=scale).transpose(0, 1)
        return out

    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    forest = Forest.of([Segment((1,) * length) for length in (9, 17, 3)])
    q, k, v = (torch.randn(1, heads, forest.tokens, 16) for heads in (6, 2, 2))
    found = VarlenAttention(forest, None, torch.device("cpu")).attend(0, q, k, v, 0.3, window)
    expected = PackedAttention(forest).attend(0, q, k, v, 0.3, window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
