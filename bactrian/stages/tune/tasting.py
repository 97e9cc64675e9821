"""Soups measured on held-out texts: which models to keep, and whether what lies between them is as good."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bactrian.store.artifact import Workspace

TABLE = "soup.json"
WINDOW = 1024  # tokens, where a model's config says no longest sequence


class Tasting:
    """Bits per byte of averages of some models on some texts; each average is measured once."""

    def __init__(self, folders: "Sequence[Path]", texts: "Sequence[str]", workspace: "Workspace") -> None:
        self.folders, self.texts, self.workspace = folders, texts, workspace
        self.known: dict[tuple[float, ...], float] = {}

    def bits(self, shares: "Sequence[float]") -> float:
        """Of the average with these shares, which add up to 1."""
        key = tuple(shares)
        if key not in self.known:
            self.known[key] = self._measured(shares)
        return self.known[key]

    def _measured(self, shares: "Sequence[float]") -> float:
        from bactrian.model.language_model import LanguageModel, context_of
        from bactrian.model.soup import average
        from bactrian.model.text_bits import bits_per_byte

        shutil.rmtree(self.workspace.scratch / "tasted", ignore_errors=True)
        folder, hardware = self.workspace.scratch / "tasted", self.workspace.hardware
        used = [(path, share) for path, share in zip(self.folders, shares, strict=True) if share > 0]
        average([path for path, _ in used], [share for _, share in used], folder)
        model = LanguageModel.load(folder, hardware.dtype, device=hardware.device)
        return bits_per_byte(model, self.texts, context_of(folder) or WINDOW)

    def alone(self, place: int) -> list[float]:
        """The shares of one model by itself."""
        return [float(number == place) for number in range(len(self.folders))]

    def greedy(self) -> list[float]:
        """Shares of the greedy soup [Wortsman et al. 2022]: models from the best to the worst, each kept if the average
        with it is at least as good as without."""
        order = sorted(range(len(self.folders)), key=lambda place: self.bits(self.alone(place)))
        kept = [order[0]]
        for place in order[1:]:
            if self.bits(self._alike([*kept, place])) <= self.bits(self._alike(kept)):
                kept.append(place)
        return self._alike(kept)

    def _alike(self, kept: "Sequence[int]") -> list[float]:
        return [1 / len(kept) if place in kept else 0.0 for place in range(len(self.folders))]

    def report(self, output: Path, shares: "Sequence[float]") -> float:
        """Write `soup.json`; returns the soup's bits per byte.

        Of each model, in the recipe's order: its share, its bits, and those halfway from it to the soup. Where that is
        more than the mean of both ends, there is a barrier between them [Frankle et al. 2020].
        """
        soup, models = self.bits(shares), []
        for place, share in enumerate(shares):
            alone = self.alone(place)
            halfway = self.bits([(a + b) / 2 for a, b in zip(alone, shares, strict=True)])
            own = self.bits(alone)
            models.append({"share": share, "bits": own, "halfway": halfway, "barrier": halfway - (own + soup) / 2})
        (output / TABLE).write_text(json.dumps({"bits": soup, "models": models}, indent=1) + "\n", encoding="utf-8")
        return soup
