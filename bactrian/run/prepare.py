"""What is set up before a step is made: device, memory, threads, determinism and seeds."""

import random
from collections.abc import Mapping

from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import Step
from bactrian.run.remedies import remedy
from bactrian.store.artifact import Input
from bactrian.store.hardware import Hardware, device_memory
from bactrian.train.heap import give_back


def prepare(hardware: Hardware, seed: int) -> None:
    """Threads, determinism and every global random stream, so that a step depends on nothing that
    ran before it.

    Nor does its memory: what earlier steps needed is given back.

    Raises:
        BactrianError: for a device that is not there.
    """
    import numpy
    import torch

    give_back()
    check_device(hardware)
    torch.set_num_threads(hardware.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # a debugging aid that costs a pass over each new tensor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def check_device(hardware: Hardware) -> None:
    """
    Raises:
        BactrianError: if a GPU is asked for and torch finds none.
    """
    import torch

    if hardware.device == "cuda" and not torch.cuda.is_available():
        raise BactrianError('hardware, field "device": found "cuda", and no GPU that torch can use; expected "cpu"')


def warn_of_memory(step: Step, inputs: Mapping[str, Input], hardware: Hardware) -> None:
    """Say so if the step's forecast needs more memory than there is, and which settings would make it fit."""
    known = {ref: facts_of(item.path, item.kind) for ref, item in inputs.items()}
    needed, there = step.stage.forecast(known).peak_memory, device_memory(hardware.device)
    if 0 < there < needed:
        helps = remedy(step.stage, known, hardware, there)
        way = f"; {helps.settings} brings {helps.peak_memory / 2**30:.1f} GiB" if helps else ""
        say(
            f"{step.name}: warning: may need {needed / 2**30:.1f} GiB of memory, and this machine has "
            f"{there / 2**30:.1f} GiB{way}"
        )
