"""What the stages that verify share: the models behind the verifiers `judge` and `reward_model`."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import ModelRef, Stage

if TYPE_CHECKING:
    from bactrian.artifact import Workspace
    from bactrian.verify import Judge


class Judged(Stage):
    """Rows may name any verifier; for those that are models the stage has the models.

    Which verifier scores an answer is its row's to say. All answers to one prompt are scored by the same one, so
    whatever compares them (a pair, a group's advantages) never compares two scales.
    """

    judge: ModelRef | None = Field(None, description="language model that rates the answers to rows of dataset judge")
    reward_model: ModelRef | None = Field(None, description="scores the answers to rows of dataset reward_model")

    def check_judges(self, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Which of the two these rows name. Raises BactrianError for one that is not given."""
        needed = {row["dataset"] for row in rows} & {"judge", "reward_model"}
        for name in sorted(needed):
            if getattr(self, name) is None:
                raise BactrianError(f"{self.name}: rows of dataset {name!r} need a model: give the setting {name}")
        return needed

    def judges(self, workspace: "Workspace", rows: Iterable[Mapping[str, Any]]) -> "dict[str, Judge]":
        """The models that these rows' verifiers need, for `Pool(judges=…)`; those that none needs are not loaded.

        Raises BactrianError for one that is not given.
        """
        needed = self.check_judges(rows)
        found: dict[str, Judge] = {}
        if "judge" in needed and self.judge is not None:
            found["judge"] = _language_judge(workspace, self.judge)
        if "reward_model" in needed and self.reward_model is not None:
            found["reward_model"] = _reward_judge(workspace, self.reward_model)
        return found


def _language_judge(workspace: "Workspace", ref: str) -> "Judge":
    from bactrian.generate.judges import ModelJudge
    from bactrian.generate.local import LocalEngine

    hardware = workspace.hardware
    engine = LocalEngine.load(workspace.input(ref).path, hardware.dtype, device=hardware.device)
    return ModelJudge(engine, engine.template)


def _reward_judge(workspace: "Workspace", ref: str) -> "Judge":
    from bactrian.generate.judges import RewardJudge
    from bactrian.model.reward_model import RewardModel

    hardware = workspace.hardware
    return RewardJudge(RewardModel.load(workspace.input(ref).path, hardware.dtype, None, hardware.device))
