"""What the stages that verify share: the models behind the verifiers `judge` and `reward_model`."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.members import Server, local_responder
from bactrian.stages.stage import ModelRef, Stage

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge


class Judged(Stage):
    """Rows may name any verifier; for those that are models the stage has the models.

    Which verifier scores an answer is its row's to say. All answers to one prompt are scored by the same one, so
    whatever compares them (a pair, a group's advantages) never compares two scales.
    """

    judge: ModelRef | None = Field(None, description="language model that rates the answers to rows of dataset judge")
    judge_server: Server | None = Field(None, description="a judge behind a server, in place of `judge`")
    reward_model: ModelRef | None = Field(None, description="scores the answers to rows of dataset reward_model")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if self.judge is not None and self.judge_server is not None:
            raise ValueError("found judge and judge_server, expected one of them")
        return self

    def check_judges(self, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Which of the two these rows name. Raises BactrianError for one that is not given."""
        needed = {row["dataset"] for row in rows} & {"judge", "reward_model"}
        given = {"judge": self.judge or self.judge_server, "reward_model": self.reward_model}
        for name in sorted(needed):
            if given[name] is None:
                raise BactrianError(f"{self.name}: rows of dataset {name!r} need a model: give the setting {name}")
        return needed

    def judges(self, workspace: "Workspace", rows: Iterable[Mapping[str, Any]]) -> "dict[str, Judge]":
        """The models that these rows' verifiers need, for `Pool(judges=…)`; those that none needs are not loaded.

        Raises BactrianError for one that is not given.
        """
        needed = self.check_judges(rows)
        found: dict[str, Judge] = {}
        if "judge" in needed:
            found["judge"] = self.language_judge(workspace)
        if "reward_model" in needed and self.reward_model is not None:
            found["reward_model"] = _reward_judge(workspace, self.reward_model)
        return found

    def judges_known_as(self, workspace: "Workspace") -> list[str]:
        """What a verdict by these models depends on; of a server all that is known."""
        found = [workspace.input(ref).content_hash for ref in (self.judge, self.reward_model) if ref]
        server = self.judge_server
        return [*found, *([f"{server.url} {server.model} {server.revision}"] if server else [])]

    def language_judge(self, workspace: "Workspace") -> "Judge":
        from bactrian.judge.models import ModelJudge

        local = str(self.judge)
        return ModelJudge(self.judge_server.responder() if self.judge_server else local_responder(workspace, local))


def _reward_judge(workspace: "Workspace", ref: str) -> "Judge":
    from bactrian.judge.models import RewardJudge
    from bactrian.model.scorers import open_scorer

    return RewardJudge(open_scorer(workspace.input(ref).path, workspace.hardware))
