"""The forward of a decoding step over a paged cache, by transformers' modules; on a GPU compiled, if that is asked for.

Compiled as a whole and replayed as a CUDA graph, a step costs one launch in place of some forty a layer. Each shape is
compiled by itself, so the numbers of rows are rounded up to a few, and what is compiled is compared with what it stands
for before it is trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bactrian.generate.pages import Pages, kept, pages_for
from bactrian.model.language_model import LanguageModel
from bactrian.model.paged_attention import PAGE, SHAPES, Kind, PagedAttention, kind_for
from bactrian.progress import say

ROWS = (1, 8, 32, 128, 256, 512, 1024)  # up to a hundred or so a GPU's step takes as long as its weights take to read
COMPARED = 3  # of each shape, steps: the one that compiles, the one that records the graph, one that replays it
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2}  # of states, relative to their norm


class DecodeStep:
    """Hidden states of new tokens whose earlier keys and values lie in pages."""

    def __init__(self, model: LanguageModel, compiled: bool = False, backend: str = "inductor"):
        """
        Args:
            compiled: compile the step. What cannot be compiled, or differs then, is said once and left alone.
            backend: torch.compile's. "inductor" uses CUDA graphs.
        """
        self.model = model
        self.compared: Counter[tuple[int, ...]] = Counter()  # steps of each shape that were compared
        self.groups: list[tuple[torch.Tensor, int]] = []  # rows of like length, where pages are gathered
        self.compiled: Any = None
        if compiled:
            how: dict[str, Any] = {"mode": "reduce-overhead"} if backend == "inductor" else {}
            self.compiled = torch.compile(forward, fullgraph=True, dynamic=False, backend=backend, **how)

    def __call__(
        self, pages: Pages, ids: np.ndarray, places: np.ndarray, slots: np.ndarray, table: np.ndarray
    ) -> torch.Tensor:
        """Forward N tokens.

        Args:
            ids, places: [N], tokens and their positions.
            slots: [N], where their keys and values are written.
            table: [N, W], their rows' pages.

        Returns:
            Last hidden states [N, d].
        """
        count, width = table.shape
        fixed = self.compiled is not None or self._kind(pages) == "flex"
        rows = rounded(count) if fixed else count
        width = width if fixed else pages_for(int(places.max()) + 1)
        given = np.zeros((rows, 3 + width), dtype=np.int64)
        given[:count, 0], given[:count, 1], given[:count, 2], given[:count, 3:] = ids, places, slots, table[:, :width]
        with kept():
            step = torch.from_numpy(given).to(self.model.device)
            self.groups = [] if fixed else by_length(places, self.model.device)
            return self._states(step, pages, count)

    def _states(self, step: torch.Tensor, pages: Pages, count: int) -> torch.Tensor:
        """Of the first `count` tokens; the others fill the step up."""
        if self.compiled is None:
            return self._plain(step, pages)[:count]
        shape = (*step.shape, pages.count)
        try:
            states = self._fast(step, pages)[:count]
        except Exception as error:  # whatever a compiler may raise: the step is still there without it
            said = " ".join(str(error).split()[:40])
            self._give_up(f"{type(error).__name__}: {said}")
            return self._plain(step, pages)[:count]
        if self.compared[shape] >= COMPARED:
            return states
        self.compared[shape] += 1
        states = states.clone()  # a graph writes its next result to the same place
        plain = self._plain(step, pages)[:count]
        apart = float((states.float() - plain.float()).norm() / plain.float().norm())
        if not apart <= TOLERANCE[self.model.dtype]:
            self._give_up(f"its hidden states differ from the model's own by {apart:.2g}, relatively")
            return plain
        return states  # as later, when nothing is compared: a run that goes on samples what it would have

    def _fast(self, step: torch.Tensor, pages: Pages) -> torch.Tensor:
        for each in (*pages.keys, *pages.values):
            torch._dynamo.mark_static_address(each)  # a graph writes to the cache itself, not to a copy of it
        if step.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with torch._dynamo.config.patch(recompile_limit=SHAPES):
            states: torch.Tensor = self.compiled(self.model.network, step, pages.keys, pages.values, self._kind(pages))
        return states

    def _plain(self, step: torch.Tensor, pages: Pages) -> torch.Tensor:
        layout = layout_of(step, pages.keys, pages.values, self._kind(pages), self.groups)
        return self.model.hidden(step[:, :1], step[:, 1:2], layout)[:, 0]

    def _kind(self, pages: Pages) -> Kind:
        """Of attention over pages."""
        shared, _, dim = pages.keys[0].shape
        heads = int(self.model.network.config.num_attention_heads)
        return kind_for(self.model.device, self.model.dtype, (heads, shared, dim))

    def _give_up(self, reason: str) -> None:
        say(f"sampling goes on without a compiled step: {reason}")
        self.compiled = None


def layout_of(
    step: torch.Tensor,
    keys: list[torch.Tensor],
    values: list[torch.Tensor],
    kind: Kind,
    groups: Sequence[tuple[torch.Tensor, int]] = (),
) -> PagedAttention:
    """Of a step, long [N, 3 + W]: of each token its id, its position, where its keys and values are written, and the
    pages of its row.
    """
    return PagedAttention(keys, values, step[:, 2], step[:, 1] + 1, step[:, 3:], kind, groups)


def forward(
    network: Any, step: torch.Tensor, keys: list[torch.Tensor], values: list[torch.Tensor], kind: Kind
) -> torch.Tensor:
    """Last hidden states of a step, [N, d]. The layout is given by name, as compiled code reads no context variable."""
    layout = layout_of(step, keys, values, kind)
    found = network.base_model(input_ids=step[:, :1], position_ids=step[:, 1:2], use_cache=False, layout=layout)
    states: torch.Tensor = found.last_hidden_state[:, 0]
    return states


def rounded(rows: int) -> int:
    """The next number of rows for which a step is compiled."""
    return next((each for each in ROWS if rows <= each), -(-rows // ROWS[-1]) * ROWS[-1])


def by_length(places: np.ndarray, device: torch.device) -> list[tuple[torch.Tensor, int]]:
    """Rows at these positions in groups whose pages are at most twice as many as those of any of them.

    For each its rows and its pages; none where all are of like length. Attention of 32 rows of 20 to 460 tokens took
    3.0 ms a layer so, and 17.7 ms with as many pages for each as the longest has (9 heads of 64, 3 of keys, one core).
    """
    pages = places // PAGE + 1
    classes = np.ceil(np.log2(pages)).astype(np.int64)
    if (classes == classes[0]).all():
        return []
    found = [np.flatnonzero(classes == each) for each in np.unique(classes)]
    return [(torch.from_numpy(rows).to(device), int(pages[rows].max())) for rows in found]
