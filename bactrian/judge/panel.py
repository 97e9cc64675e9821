"""The door from settings to judges: the models behind the verifiers whose place is "judge", ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.generate.chat_request import Responder
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.responders import open_responder
from bactrian.judge.models import ComplianceJudge, ModelJudge, RewardJudge
from bactrian.model.scorers import open_scorer
from bactrian.store.hardware import Hardware
from bactrian.verify import Judge, Problem

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
    return {name: open_judge(name, model, hardware, template=template, rows=rows) for name, model in models.items()}


def open_judge(
    verifier: str, model: JudgeModel, hardware: Hardware, *, template: str | None = None, rows: int = 64
) -> Judge:
    """The judge of one verifier, as in `open_judges`."""
    if verifier == "reward_model":
        return open_reward_judge(model, hardware)
    return ASKED[verifier](open_responder(model, hardware, template=template, rows=rows))


def open_reward_judge(model: JudgeModel, hardware: Hardware) -> RewardJudge:
    """
    Raises:
        BactrianError: the folder holds no reward model, or the model is behind a server.
    """
    if isinstance(model, Endpoint):
        raise BactrianError(f"reward_model: found the server {model.url}, expected a model's folder")
    return RewardJudge(open_scorer(model, hardware))


ASKED: Mapping[str, Callable[[Responder], Judge]] = {"judge": ModelJudge, "compliance_model": ComplianceJudge}
"""Verifiers behind which a language model is asked in words."""


def reward_of_texts(folder: Path | None, hardware: Hardware) -> Callable[[Mapping[str, Any], str], float]:
    """(problem row, text) → a reward model's σ(reward) of the text as the answer to the last turn; 0 for an empty one.

    The model is loaded when a text is first scored. `folder` is None where that never happens.
    """

    @cache
    def judge() -> RewardJudge:
        if folder is None:
            raise BactrianError("a text is to be scored by a reward model: give the setting reward_model")
        return open_reward_judge(folder, hardware)

    def reward(row: Mapping[str, Any], text: str) -> float:
        problem = Problem(row["ground_truth"], {"right_from": 0.5}, row["messages"][-1]["content"])
        return judge().judge([(problem, text)])[0].score if text.strip() else 0.0

    return reward
