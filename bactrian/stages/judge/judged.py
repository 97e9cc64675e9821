"""The settings of `JudgeRefs` as a base class, for stages that do not have them in a record of their own yet."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from bactrian.stages.judge import settings
from bactrian.stages.judge.settings import JudgeField, JudgeServerField, RewardModelField
from bactrian.stages.stage import Stage

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge


class Judged(Stage):
    """Rows may name any verifier; for those that are models the stage has the models."""

    judge: JudgeField = None
    judge_server: JudgeServerField = None
    reward_model: RewardModelField = None

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        settings.check_one_judge(self)
        return self

    def check_judges(self, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        return settings.check_judges(rows, self, self.name)

    def judges(self, workspace: "Workspace", rows: Iterable[Mapping[str, Any]]) -> "dict[str, Judge]":
        return settings.judges(workspace, self, rows, self.name)

    def judges_known_as(self, workspace: "Workspace") -> list[str]:
        return settings.judges_known_as(workspace, self)
