"""The door from settings to judges: the models behind the verifiers whose place is "judge", ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.generate.chat_server import Endpoint
from bactrian.generate.choice_server import ServerChooser
from bactrian.generate.choosers import EngineChooser, open_chooser
from bactrian.generate.kept import KeptChooser, KeptResponder
from bactrian.generate.responders import EngineResponder, open_responder
from bactrian.judge.demonstrations import DemonstrationPool, shown
from bactrian.judge.fences import FENCE
from bactrian.judge.models import RewardJudge
from bactrian.judge.opinions import JudgeIdentity, PairJudge
from bactrian.judge.pair_judges import (
    Annotators,
    ChoicePairJudge,
    JudgeMethod,
    VerbalPairJudge,
    demonstration_messages,
)
from bactrian.judge.point_judges import ModelJudge, WeighingJudge
from bactrian.judge.point_rubrics import NAMED_RUBRICS
from bactrian.judge.reward_pairs import RewardPairJudge
from bactrian.judge.rubrics import ASKED, ASKED_IN_WORDS, pair_rubric
from bactrian.model.reward_model import RewardModel, open_scorer
from bactrian.store.hardware import Hardware
from bactrian.store.hashes import hash_path
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
    verifier: str,
    model: JudgeModel,
    hardware: Hardware,
    *,
    template: str | None = None,
    rows: int = 64,
    weighed: bool = False,
    journal: Journal | None = None,
) -> Judge:
    """The judge of one verifier, as in `open_judges`.

    Args:
        weighed: a language model's options are weighed by their probabilities; by default it writes its verdict.
        journal: keeps what a language model says as it comes; it is loaded only if something is missing there.

    Raises:
        BactrianError: as `open_judges`.
    """
    if verifier == "reward_model":
        return open_reward_judge(model, hardware)
    rubric = NAMED_RUBRICS["refusal"] if verifier == "compliance_model" else None
    if weighed:
        choose = partial(open_chooser, model, hardware, template=template, rows=rows)
        return WeighingJudge(choose() if journal is None else KeptChooser(choose, journal), rubric)
    respond = partial(open_responder, model, hardware, template=template, rows=rows)
    return ModelJudge(respond() if journal is None else KeptResponder(respond, journal), rubric)


def open_weigher(model: JudgeModel, hardware: Hardware, journal: Journal, rows: int = 64) -> WeighingJudge:
    """A language model whose options are weighed, as `open_judge` opens it; what it says is kept in the journal."""
    return WeighingJudge(KeptChooser(partial(open_chooser, model, hardware, rows=rows), journal))


def open_reward_judge(model: JudgeModel, hardware: Hardware) -> RewardJudge:
    """
    Raises:
        BactrianError: the folder holds no reward model, or the model is behind a server.
    """
    return RewardJudge(open_reward_model(model, hardware))


def open_reward_model(model: JudgeModel, hardware: Hardware) -> RewardModel:
    """
    Raises:
        BactrianError: the folder holds no reward model, or the model is behind a server.
    """
    if isinstance(model, Endpoint):
        raise BactrianError(f"reward_model: found the server {model.url}, expected a model's folder")
    return open_scorer(model, hardware)


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


def open_pair_judge(
    model: JudgeModel,
    hardware: Hardware,
    *,
    rubric: str = "helpfulness",
    method: JudgeMethod | None = None,
    pool: DemonstrationPool | None = None,
    known_as: str = "",
    template: str | None = None,
    rows: int = 64,
    samples: int | None = None,
) -> PairJudge:
    """A judge of pairs, whatever it is made of.

    Args:
        model: a language model's folder, or where one is served; for the method "reward" a reward model's folder.
        rubric: a shipped rubric's name or a text (rubrics.py); a reward model has none.
        method: how it comes to a probability; by default from a single prompt.
        pool: the demonstrations, for the methods that show them.
        known_as: what identifies the model: its content hash, or of a server what is known of it. By default the
            folder's files are hashed here.
        template: chat template of a model in a folder, where not its own.
        rows: of the engine.
        samples: of a server, as in `open_chooser`.

    Raises:
        BactrianError: the model cannot be loaded; there is no such rubric; demonstrations are missing, too few, or take
            too much of the model's context; a server that has to be asked does not answer.
    """
    method = method or JudgeMethod()
    if method.shows != (pool is not None):
        found = "no demonstrations" if pool is None else f"demonstrations ({pool.name})"
        raise BactrianError(f"judge by {method}: found {found}, expected {'some' if method.shows else 'none'}")
    known_as = known_as or model_known_as(model)
    if method.kind == "reward":
        scorer = open_reward_model(model, hardware)
        return RewardPairJudge(scorer, JudgeIdentity(known_as, "", scorer.template.digest, str(method)))
    text = pair_rubric(rubric)
    both = method.orders == "both"
    if method.kind == "verbalised":
        responder = open_responder(model, hardware, template=template, rows=rows)
        digest = responder.engine.template.digest if isinstance(responder, EngineResponder) else ""
        asked = f"{text}\n\n{FENCE}\n\n{ASKED_IN_WORDS}"
        return VerbalPairJudge(responder, JudgeIdentity(known_as, asked, digest, str(method)), text, both)
    annotators: Annotators = _annotators(method, pool)
    chooser = open_chooser(model, hardware, template=template, rows=rows, samples=samples)
    way, digest = "likelihoods", ""
    if isinstance(chooser, EngineChooser):
        check_demonstrations_fit(chooser, text, annotators)
        digest = chooser.engine.template.digest
    elif isinstance(chooser, ServerChooser):
        way = f"{chooser.samples} samples" if chooser.samples else "log-probabilities"
    asked = f"{text}\n\n{FENCE}\n\n{ASKED}"
    identity = JudgeIdentity(known_as, asked, digest, f"{method}, {way}", pool.digest if pool else "")
    return ChoicePairJudge(chooser, identity, text, annotators, both)


def _annotators(method: JudgeMethod, pool: DemonstrationPool | None) -> Annotators:
    if pool is None:
        return [()]
    if method.kind == "annotators":
        return pool.own(method.annotators, method.demonstrations)
    return pool.mixed(method.annotators, method.demonstrations, method.seed)


def model_known_as(model: JudgeModel) -> str:
    """The content hash of a model's folder; of a server its address and the model's name there."""
    if isinstance(model, Endpoint):
        return f"{model.url} {model.model}"
    return hash_path(model)


LEFT_FOR_A_PAIR = 256
"""Tokens of a model's context that demonstrations have to leave."""


def check_demonstrations_fit(chooser: EngineChooser, rubric: str, annotators: Annotators) -> None:
    """
    Raises:
        BactrianError: the demonstrations of an annotator leave too little of the model's context for a pair.
    """
    longest = chooser.engine.longest
    for number, demonstrations in enumerate(annotators, 1):
        messages = demonstration_messages(rubric, demonstrations)
        tokens = chooser.tokens(messages, f"annotator {number}")
        if tokens + LEFT_FOR_A_PAIR > longest:
            fits = sum(
                chooser.tokens(demonstration_messages(rubric, demonstrations[:count]), "") + LEFT_FOR_A_PAIR <= longest
                for count in range(1, len(demonstrations) + 1)
            )
            raise BactrianError(
                f"annotator {number} ({shown(demonstrations)}): {len(demonstrations)} demonstrations take {tokens:,} "
                f"tokens and have to leave {LEFT_FOR_A_PAIR} of the model's context of {longest:,} for a pair: the "
                f"first {fits} fit; ask for fewer demonstrations, or give shorter ones"
            )
