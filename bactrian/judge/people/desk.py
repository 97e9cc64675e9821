"""What one annotator is shown next, and what becomes of the answer: all that the page of `annotate-by-hand` asks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

from bactrian.errors import BactrianError
from bactrian.judge.people.agreement import AgreementBeyondChance, cohen_kappa, krippendorff_alpha
from bactrian.judge.people.pairs_by_hand import PairByHand, is_swapped, order_for
from bactrian.judge.people.record import Choice, HandRecord, HandVerdict, labels_of

Shown = dict[str, Any]
SHOWN_CHOICES = ("left", "right", "tie", "both_bad", "skip")
LONGEST_COMMENT = 4000
DAY = 86_400.0


class Desk:
    """Annotators at work on one record. The browser learns texts and a place in the annotator's own order, and no
    more: no ids, no models, no file names, and not which answer the file has first."""

    def __init__(self, pairs: Sequence[PairByHand], record: HandRecord, seed: int, acceptability: bool) -> None:
        """
        Args:
            acceptability: ask of each answer by itself whether it would do, too.
        """
        self.pairs, self.record, self.acceptability = pairs, record, acceptability
        self.seed = int(record.setting("seed", str(seed)))
        self._orders = {name: order_for(name, pairs, self.seed) for name in record.annotators()}

    def state(self, annotator: str) -> Shown:
        """The pair that is next, how many are done, and what was said of it before it was taken back."""
        verdicts = {each.pair: each for each in self.record.standing(annotator)}
        order = self._orders[annotator]
        told: Shown = {"done": len(verdicts), "total": len(order), "acceptability": self.acceptability}
        place = next((place for place, each in enumerate(order) if each.pair.id not in verdicts), None)
        if place is None:
            return told | {"place": None}
        pair = order[place].pair
        swapped = is_swapped(annotator, pair.id, self.seed)
        left, right = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        prompt = [{"role": turn["role"], "content": turn.get("content") or ""} for turn in pair.prompt]
        before = self.record.undone(annotator, pair.id)
        earlier = before and {
            "comment": before.comment,
            "acceptable": before.acceptable and list(_turned(before.acceptable, swapped)),
            "seconds": before.seconds,
        }
        return told | {"place": place, "prompt": prompt, "left": left, "right": right, "earlier": earlier}

    def answer(self, annotator: str, said: Mapping[str, Any]) -> Shown:
        """Write down {place, choice, comment, acceptable, seconds, sent}, and give the next state.

        `choice` is "left", "right", "tie", "both_bad" or "skip"; `acceptable` [left, right]; `sent` names the
        message. What is sent again, or was answered in another window already, changes nothing.

        Raises:
            BactrianError: a field is missing or is none of these.
        """
        pair, choice = _place(said, self._orders[annotator]).pair.id, _choice(said)
        swapped = is_swapped(annotator, pair, self.seed)
        acceptable = self._acceptable(said.get("acceptable"), choice)
        kept = HandVerdict(
            annotator,
            pair,
            _in_file(choice, swapped),
            acceptable and _turned(acceptable, swapped),
            _comment(said),
            _seconds(said),
            swapped,
        )
        self.record.add(kept, _sent(said))
        return self.state(annotator)

    def _acceptable(self, found: Any, choice: str) -> tuple[bool, bool] | None:
        if not self.acceptability or choice == "skip":
            return None
        if not isinstance(found, list) or len(found) != 2 or not all(isinstance(each, bool) for each in found):
            raise BactrianError("acceptable: expected true or false for each of the two answers")
        return found[0], found[1]

    def undo(self, annotator: str, said: Mapping[str, Any]) -> Shown:
        """Take back the annotator's last verdict, and give the state, which is that pair again.

        Raises:
            BactrianError: `sent` is missing.
        """
        self.record.take_back(annotator, _sent(said))
        return self.state(annotator)

    def progress(self) -> Shown:
        """How far each annotator is and how far they agree, for whoever leads the work; no models here either."""
        verdicts = self.record.standing()
        return {
            "total": len(self.pairs),
            "annotators": [annotator_facts(name, verdicts, self.pairs) for name in self.record.annotators()],
            "agreement": agreements(verdicts, self.pairs),
            "comments": [[each.annotator, each.comment] for each in verdicts if each.comment][-20:],
        }


def annotator_facts(name: str, verdicts: Iterable[HandVerdict], pairs: Sequence[PairByHand]) -> Shown:
    """{name, done, skipped, ties, both_bad, left, seconds, right, attention}.

    left: the share of their preferences for the answer on the left: far from ½ over many pairs, sides are judged.
    seconds: the median of a pair. right of attention: items whose known answer they gave, of those that they saw.
    """
    own = [each for each in verdicts if each.annotator == name]
    known = {each.pair.id: each.attention for each in pairs if each.attention}
    choices = [each.choice for each in own]
    sides = [(each.choice == "second") == each.swapped for each in own if each.choice in ("first", "second")]
    seen = [each for each in own if each.pair in known]
    seconds = sorted(each.seconds for each in own)
    return {
        "name": name,
        "done": len(own),
        "skipped": choices.count("skip"),
        "ties": choices.count("tie"),
        "both_bad": choices.count("both_bad"),
        "left": sum(sides) / len(sides) if sides else None,
        "seconds": seconds[len(seconds) // 2] if seconds else None,
        "right": sum(each.choice == known[each.pair] for each in seen),
        "attention": len(seen),
    }


def agreements(verdicts: Iterable[HandVerdict], pairs: Sequence[PairByHand]) -> list[tuple[str, AgreementBeyondChance]]:
    """Krippendorff's alpha of all annotators, and Cohen's kappa of every two; attention items do not count."""
    groups = {each.pair.id: each.pair.group for each in pairs if not each.attention}
    ratings = labels_of(each for each in verdicts if each.pair in groups)
    found = [("alpha, all", krippendorff_alpha(ratings, groups))] if len(ratings) > 1 else []
    for one, other in combinations(ratings, 2):
        found.append((f"kappa, {one} and {other}", cohen_kappa(ratings[one], ratings[other], groups)))
    return found


def _in_file(choice: str, swapped: bool) -> Choice:
    """What was chosen on the screen, in the file's order of the answers."""
    sides = ("second", "first") if swapped else ("first", "second")
    return cast(Choice, {"left": sides[0], "right": sides[1]}.get(choice, choice))


def _turned(both: tuple[bool, bool], swapped: bool) -> tuple[bool, bool]:
    return (both[1], both[0]) if swapped else both


def _place(said: Mapping[str, Any], order: Sequence[PairByHand]) -> PairByHand:
    place = said.get("place")
    if type(place) is not int or not 0 <= place < len(order):
        raise BactrianError(f"place: found {place!r:.40}, expected a number from 0 to {len(order) - 1}")
    return order[place]


def _choice(said: Mapping[str, Any]) -> str:
    choice = said.get("choice")
    if choice not in SHOWN_CHOICES:
        raise BactrianError(f"choice: found {choice!r:.40}, expected one of {', '.join(SHOWN_CHOICES)}")
    return str(choice)


def _seconds(said: Mapping[str, Any]) -> float:
    seconds = said.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise BactrianError(f"seconds: found {seconds!r:.40}, expected a number from 0")
    return float(min(seconds, DAY))


def _comment(said: Mapping[str, Any]) -> str:
    """Without lone surrogates, which JSON may hold and no file."""
    comment = said.get("comment", "")
    if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
        raise BactrianError(f"comment: expected a text of at most {LONGEST_COMMENT} characters")
    return comment.encode("utf-8", "replace").decode()


def _sent(said: Mapping[str, Any]) -> str:
    sent = said.get("sent")
    if not isinstance(sent, str) or not 8 <= len(sent) <= 80 or not sent.isascii():
        raise BactrianError("sent: expected 8 to 80 characters that name the message")
    return sent
