"""What `sft` and `pretrain` do once their rows are tokens."""

from typing import TYPE_CHECKING

from bactrian.errors import BactrianError
from bactrian.stages.tune.training import TrainingStage, train_model

if TYPE_CHECKING:
    from bactrian.chat import Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace


def train_on_rows(
    workspace: "Workspace",
    stage: TrainingStage,
    model: "LanguageModel",
    rendered: "list[Rendered]",
    tally: "Tally",
    *,
    source: str,
    longest: int,
    batch_size: int,
    epochs: float,
    floor: float = 0.0,
) -> None:
    """Next-token training on rows, and what became of them in the metrics. `source`, `longest`: where they are from and
    how many tokens of one were read, for errors.

    Raises:
        BactrianError: no row is left.
    """
    from bactrian.progress import say
    from bactrian.train.supervised import Supervised

    say(f"{stage.name}: {tally}; {model.parameters:,} parameters, vocabulary {len(model.tokenizer):,}")
    if not rendered:
        raise BactrianError(f"{source}: no row has a trained token within {longest} tokens\n{tally}")
    workspace.metrics.update(tally.counts())
    task = Supervised(
        model,
        rendered,
        batch_rows=batch_size,
        epochs=epochs,
        seed=workspace.seed,
        micro_tokens=stage.memory.micro_tokens,
    )
    train_model(workspace, stage, model, task, floor=floor)
