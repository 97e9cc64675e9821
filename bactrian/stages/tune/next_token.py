"""What next-token training says of its rows, and refuses, once they are tokens."""

from collections.abc import Sized
from typing import TYPE_CHECKING

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.data.io.tally import Tally
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace


def take_stock(
    workspace: "Workspace", name: str, model: "LanguageModel", rows: Sized, tally: "Tally", source: str, longest: int
) -> None:
    """Say what became of a stage's rows, in a line and in the metrics.

    Args:
        name: of the stage.
        source, longest: where the rows are from and how many tokens of one were read, for errors.

    Raises:
        BactrianError: no row is left.
    """
    from bactrian.progress import say

    say(f"{name}: {tally}; {model.parameters:,} parameters, vocabulary {len(model.tokenizer):,}")
    if not len(rows):
        raise BactrianError(f"{source}: no row has a trained token within {longest} tokens\n{tally}")
    workspace.metrics.update(tally.counts())
