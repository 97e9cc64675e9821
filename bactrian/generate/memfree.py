"""MemFree decoding: no n-gram of the training data is ever completed [Ippolito et al. 2023].

A token that would complete one is taken out, and the next is drawn from what is left. Nothing is trained, and the model
is as it was; a text that says the same with another word passes, as the authors show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bactrian.data.overlap.gram_set import GramSet, token_hashes
from bactrian.data.overlap.words import gram_hashes

Draw = Callable[[list[int]], tuple[torch.Tensor, torch.Tensor]]


class MemFree:
    """The token n-grams that no completion may come to hold."""

    def __init__(self, grams: GramSet) -> None:
        self.grams = grams
        self.avoided = 0
        """Tokens that were taken out so far."""

    def completes(self, context: Sequence[Sequence[int]], tokens: Sequence[int]) -> list[int]:
        """The places of the rows whose token, after their context, completes an n-gram of the set."""
        n = self.grams.n
        long = [place for place, ids in enumerate(context) if len(ids) >= n - 1]
        if not long:
            return []
        last = np.array([[*context[place][len(context[place]) - n + 1 :], tokens[place]] for place in long], np.int64)
        hashes = gram_hashes(token_hashes(last.reshape(-1)), n)[::n]
        return [long[each] for each in np.flatnonzero(self.grams.holds(hashes)).tolist()]

    def redraw(
        self,
        context: Sequence[Sequence[int]],
        logits: torch.Tensor,
        tokens: torch.Tensor,
        logprobs: torch.Tensor,
        draw: Draw,
    ) -> None:
        """Replace the tokens that complete an n-gram, until none does.

        Args:
            context: of each row, all tokens so far. logits: [B, V]; what is taken out becomes -inf in place.
            tokens, logprobs: [B], as first drawn; replaced in place. Log-probabilities are those without what was
                taken out.
            draw: rows by their places → tokens and log-probabilities, of the logits as they are then.
        """
        places = self.completes(context, tokens.tolist())
        while places:
            logits[places, tokens[places]] = -torch.inf
            self.avoided += len(places)
            if bool((logits[places] == -torch.inf).all(1).any()):  # every token completes one: the last must do
                return
            tokens[places], logprobs[places] = draw(places)
            again = self.completes([context[place] for place in places], tokens[places].tolist())
            places = [places[each] for each in again]
