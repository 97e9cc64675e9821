"""Whole models of some of the steps, left in the artifact as training goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from bactrian.model.language_model import Decoder
from bactrian.store.disk import naming_full_disk, sync_folder
from bactrian.train.backend import Backend


class KeptModels:
    """Leaves models of the steps that are multiples of `every`, up to the step `last`, in folders by step."""

    def __init__(self, model: Decoder, folder: Path, every: int, last: int, backend: Backend) -> None:
        self.model, self.folder, self.every, self.last, self.backend = model, folder, every, last, backend

    def rewind(self, step: int) -> None:
        """Remove later steps' models, which may not be made again if time runs out, and what a kill left half."""
        for path in self.folder.glob("*"):
            if not path.name.isdecimal() or int(path.name) > step:
                shutil.rmtree(path)

    def after(self, step: int) -> None:
        """
        Raises:
            BactrianError: the disk is full.
        """
        if step % self.every or step > self.last:
            return
        final = self.folder / str(step)
        draft = final.with_suffix(".partial")
        with naming_full_disk(self.folder):
            self.backend.save(self.model, draft)
            if draft.is_dir():  # in that process of several that writes
                sync_folder(draft)
                draft.rename(final)
