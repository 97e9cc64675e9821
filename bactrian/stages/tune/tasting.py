"""Soups measured on held-out texts: which models to keep, and whether what lies between them is as good."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bactrian.store.artifact import Workspace

TABLE = "soup.json"


class Tasting:
    """Bits per byte of averages of some models on some texts; each average is measured once."""

    def __init__(self, folders: "Sequence[Path]", texts: "Sequence[str]", workspace: "Workspace") -> None:
        self.folders, self.texts, self.workspace = folders, texts, workspace
        self.known: dict[tuple[float, ...], float] = {}

    def bits(self, shares: "Sequence[float]") -> float:
        """Of the average with these shares, which add up to 1."""
        key = tuple(shares)
        if key not in self.known:
            self.known[key] = self._averaged(shares)
        return self.known[key]

    def _averaged(self, shares: "Sequence[float]") -> float:
        from bactrian.model.averaged_weights import average

        folder = self.workspace.scratch / "tasted"
        shutil.rmtree(folder, ignore_errors=True)
        used = [(path, share) for path, share in zip(self.folders, shares, strict=True) if share > 0]
        average([path for path, _ in used], [share for _, share in used], folder)
        return self._measured(folder)

    def _measured(self, folder: Path) -> float:
        from bactrian.model.language_model import LanguageModel, context_of
        from bactrian.model.text_bits import WINDOW, bits_per_byte

        hardware = self.workspace.hardware
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

    def report(self, output: Path, shares: "Sequence[float]", plain: bool = True, points: int = 0) -> float:
        """Write `soup.json`; returns the soup's bits per byte.

        Of each model, in the recipe's order: its share, its bits, and those halfway from it to the soup. Where that is
        more than the mean of both ends, there is a barrier between them [Frankle et al. 2020].

        Args:
            plain: the soup is the models' average.
            points: measured between the first model and each other.
        """
        soup = self.bits(shares) if plain else self._measured(output)
        models = []
        for place, share in enumerate(shares):
            alone = self.alone(place)
            own = self.bits(alone)
            told = {"share": share, "bits": own}
            if plain:
                halfway = self.bits([(a + b) / 2 for a, b in zip(alone, shares, strict=True)])
                told |= {"halfway": halfway, "barrier": halfway - (own + soup) / 2}
            models.append(told)
        table = {"bits": soup, "models": models} | ({"lines": self.lines(points)} if points else {})
        (output / TABLE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        return soup

    def lines(self, points: int) -> list[dict[str, object]]:
        """From the first model to each other: bits at equal distances on the straight line, both ends included."""
        found: list[dict[str, object]] = []
        for other in range(1, len(self.folders)):
            at = [step / (points + 1) for step in range(points + 2)]
            ends = self.alone(0), self.alone(other)
            bits = [self.bits([(1 - share) * a + share * b for a, b in zip(*ends, strict=True)]) for share in at]
            barrier = max(each - (1 - share) * bits[0] - share * bits[-1] for share, each in zip(at, bits, strict=True))
            found.append({"from": 0, "to": other, "at": at, "bits": bits, "barrier": barrier})
        return found
