"""The one door to models that score answers."""

from pathlib import Path

from bactrian.model.reward_model import RewardModel
from bactrian.store.hardware import Hardware


def open_scorer(
    folder: Path, hardware: Hardware, *, template: str | None = None, quantised: bool = False
) -> RewardModel:
    """A reward model as the hardware has it. `template`, `quantised`: as of `LanguageModel.load`.

    Raises:
        BactrianError: the folder holds no reward model.
    """
    return RewardModel.load(folder, hardware.dtype, template, hardware.device, quantised=quantised)
