"""Opinions that a kill does not undo: each is on disk as soon as it is there, and no pair is put to a judge twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.judge.labelled import pair_digest
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, Opinion, PairJudge
from bactrian.progress import progress


def kept_opinions(
    open_judge: Callable[[], PairJudge],
    identity: JudgeIdentity,
    pairs: Sequence[AnswerPair],
    journal: Journal,
    title: str,
) -> list[Opinion]:
    """What a judge says of each pair; only those that the journal lacks are put to it, the same pair once.

    Args:
        open_judge: called only if something is missing.
        identity: of that judge: another one's opinions in the journal are not its own.
        title: of the progress bar.

    Raises:
        BactrianError: the judge cannot be opened, or stopped answering; what it said is kept.
    """
    keys = [f"{identity.digest[:32]}/{pair_digest(pair)}" for pair in pairs]
    missing = list({key: pair for key, pair in zip(keys, pairs, strict=True) if key not in journal.found}.items())
    if missing:
        judge = open_judge()
        with progress(title, total=len(set(keys)), unit="pair", done=len(set(keys)) - len(missing)) as bar:

            def keep(place: int, opinion: Opinion) -> None:
                journal.put(missing[place][0], asdict(opinion))
                bar.advance()

            judge.compare([pair for _, pair in missing], keep)
    return [opinion_of(journal.found[key]) for key in keys]


def opinion_of(kept: dict[str, Any]) -> Opinion:
    """An opinion as JSON keeps it."""
    return Opinion(**{**kept, "probabilities": tuple(kept["probabilities"])})
