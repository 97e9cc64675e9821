"""The door from settings to judges: the models behind the verifiers whose place is "judge", ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.responders import open_responder
from bactrian.judge.models import ComplianceJudge, ModelJudge, RewardJudge
from bactrian.model.reward_model import RewardModel
from bactrian.store.hardware import Hardware
from bactrian.verify import Judge

JudgeModel = Path | Endpoint
"""Where a model that judges is: in a folder, or behind a server."""


def open_judges(
    models: Mapping[str, JudgeModel], hardware: Hardware, *, template: str | None = None, rows: int = 64
) -> dict[str, Judge]:
    """The judge of each verifier, for `Pool(judges=…)`.

    Args:
        models: verifier ("judge", "reward_model" or "compliance_model") → the model behind it.
        template: chat template of language models in folders, where not their own.
        rows: judgements that a language model in a folder writes side by side.

    Raises:
        BactrianError: a folder holds no such model, a reward model is behind a server, or a server's key is not set.
    """
    return {
        name: _reward_judge(model, hardware)
        if name == "reward_model"
        else ASKED[name](open_responder(model, hardware, template=template, rows=rows))
        for name, model in models.items()
    }


ASKED: Mapping[str, Callable[..., Judge]] = {"judge": ModelJudge, "compliance_model": ComplianceJudge}
"""Verifiers behind which a language model is asked in words."""


def _reward_judge(model: JudgeModel, hardware: Hardware) -> RewardJudge:
    if isinstance(model, Endpoint):
        raise BactrianError(f"reward_model: found the server {model.url}, expected a model's folder")
    return RewardJudge(RewardModel.load(model, hardware.dtype, None, hardware.device))
