"""Verdicts that were reached before: a further model or a killed run costs only those that are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bactrian.evaluate.answer_store import AnswerStore, request_key
from bactrian.verify import Item, Pool, Verdict, verifier, versions

FAILED = ("timed_out", "crashed")
"""Outcomes that say nothing of the answer."""


@dataclass(frozen=True)
class KeptVerdicts:
    """Verdicts of slow verifiers by content: of what is verified, the verifier's code, and the judges where it is one.

    store: under the sandbox's walls and packages, which shape a program's verdict. timeout: seconds for one answer.
    judges: what the verdicts of models depend on, such as the content hashes of their weights.
    """

    store: AnswerStore
    timeout: float
    judges: tuple[str, ...] = ()

    def verify_all(self, items: Sequence[Item], pool: Pool) -> list[Verdict]:
        """Verdicts in the order of `items`. Failures are never kept: what failed is asked anew.

        What models judge is asked for as a whole: in floating point it depends a little on what is asked along.
        """
        keys = [self._key(item) for item in items]
        known = {key: self.store.get(key) for key in keys if key}
        partly = {item.dataset for item, key in zip(items, keys, strict=True) if key and known[key] is None}
        asked = [
            place
            for place, (item, key) in enumerate(zip(items, keys, strict=True))
            if not key or known[key] is None or (item.dataset in partly and _judged(item))
        ]
        fresh = dict(zip(asked, pool.verify_all([items[place] for place in asked]), strict=True))
        for place, verdict in fresh.items():
            if keys[place] and known[keys[place]] is None and verdict.outcome not in FAILED:
                value = [verdict.score, verdict.outcome, verdict.extracted, verdict.reason]
                self.store.put(keys[place], value)
                known[keys[place]] = value
        self.store.flush()
        return [fresh[place] if place in fresh else Verdict(*known[key]) for place, key in enumerate(keys)]  # type: ignore[misc]

    def _key(self, item: Item) -> str:
        """ "" for a verifier that is as quick as looking its verdict up."""
        if verifier(item.dataset).place == "here":
            return ""
        code = versions([{"dataset": item.dataset, "settings": item.settings}])
        judges = self.judges if _judged(item) else ()
        return request_key("verdict", item=item.digest().hex(), verifier=code, timeout=self.timeout, judges=judges)


def _judged(item: Item) -> bool:
    return verifier(item.dataset).place == "judge"
