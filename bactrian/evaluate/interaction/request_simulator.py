"""The toy domain: somebody with an underspecified request, who answers by rules; what the best question is, is known.

Nobody is asked twice for the same: a question that is vague, technical, mistaken or about several things at once may
not be understood, by a draw that the case and the question decide. So every attribute matters, and the same
conversation always goes the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bactrian.data.synth.asking.fact_table import ALIKE, FactTable, questions_needed
from bactrian.data.synth.asking.questions import best_plan, written
from bactrian.data.synth.asking.requests import UnderspecifiedRequest, levels_of
from bactrian.evaluate.interaction.dialogue import CANNOT, Decision, Dialogue, Reply
from bactrian.verify.text.question_levels import ATTRIBUTES, HIGH, LOW, MIDDLE, levels, read_question

UNDERSTOOD: Mapping[str, Mapping[int, float]] = {
    "clarity": {HIGH: 1.0, MIDDLE: 0.8, LOW: 0.3},
    "answerability": {HIGH: 1.0, MIDDLE: 0.8, LOW: 0.3},
    "accuracy": {HIGH: 1.0, MIDDLE: 0.9, LOW: 0.3},
    "focus": {HIGH: 1.0, MIDDLE: 0.8, LOW: 0.3},
}
"""How likely a question of each level is to be understood; the chances multiply."""
RequestDialogue = Dialogue[UnderspecifiedRequest]


@dataclass(frozen=True)
class RequestSimulator:
    """Answers and decides by rules alone."""

    def decide(self, dialogues: Sequence[RequestDialogue]) -> list[Decision]:
        """Sure once everything that is still possible has one answer; till then the likeliest, by lot where several."""
        found = []
        for dialogue in dialogues:
            table = left(dialogue)
            most = max(table.answers.values())
            likeliest = sorted(answer for answer, count in table.answers.items() if count == most)
            place = int(share_of(dialogue.id, "decision") * len(likeliest))
            found.append(Decision(likeliest[place], table.decided))
        return found

    def reply(self, dialogues: Sequence[RequestDialogue], questions: Sequence[str]) -> list[Reply]:
        return [self._reply(dialogue, question) for dialogue, question in zip(dialogues, questions, strict=True)]

    def values(self, dialogue: RequestDialogue, question: str) -> dict[str, float]:
        """Each attribute's level as a share from 0 to 1, 0 where nothing is asked; bits lost to the best question."""
        table = left(dialogue)
        found = levels(truth_now(dialogue, table), question)
        asked = read_question(question, table.slots)
        gain = table.gain(asked.slots[0]) if asked else 0.0
        scores = {name: (found[name] - LOW) / (HIGH - LOW) if found else 0.0 for name in ATTRIBUTES}
        return scores | {"gap": table.gain(table.best()) - gain}

    def _reply(self, dialogue: RequestDialogue, question: str) -> Reply:
        table = left(dialogue)
        asked, found = read_question(question, table.slots), levels(truth_now(dialogue, table), question)
        if asked is None:
            return Reply(CANNOT, False)
        chance = 1.0
        for name, by_level in UNDERSTOOD.items():
            chance *= by_level[found[name]]
        if share_of(dialogue.id, dialogue.sample, len(dialogue.exchanges), question) >= chance:
            return Reply(CANNOT, False)
        slot, truth = asked.slots[0], dialogue.case.values[asked.slots[0]]
        if asked.leading and asked.leading != truth:
            return Reply(f"No, the {slot} is not {asked.leading}.", True, excluded=((slot, asked.leading),))
        return Reply(f"The {slot} is {truth}.", True, {slot: truth})


def left(dialogue: RequestDialogue) -> FactTable:
    """What is still possible after what was told."""
    table = dialogue.case.telling(tuple(dialogue.told())).table()
    for slot, value in dialogue.excluded():
        table = table.without(slot, value)
    return table


def truth_now(dialogue: RequestDialogue, table: FactTable) -> dict[str, object]:
    """What `asking` holds a question against, at this point."""
    worth, slots = levels_of(table), dialogue.case.slots
    told = {slot: {"values": list(values), "level": worth[slot]} for slot, values in slots.items()}
    return {"premise": dialogue.case.premise, "slots": told}


def share_of(*parts: object) -> float:
    """A number in [0, 1) that these decide."""
    digest = sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()
    return int(digest[:12], 16) / 16**12


def request_messages(dialogue: RequestDialogue) -> list[dict[str, str]]:
    """What the model under test reads: the request with all that is known by now, as it was trained on."""
    return [{"role": "user", "content": dialogue.case.telling(tuple(dialogue.told())).text()}]


@dataclass(frozen=True)
class BestQuestioner:
    """Asks as well as can be: the top of every scale."""

    def ask(self, dialogues: Sequence[RequestDialogue]) -> list[tuple[str, int]]:
        now = [each.case.telling(tuple(each.told())) for each in dialogues]
        return [(written(best_plan(request), request), 0) for request in now]


def fewest_questions(case: UnderspecifiedRequest) -> float:
    """Questions that the best policy needs, all understood: the expectation over all that the request may mean."""
    return questions_needed(case.table())


def gaps(dialogue: RequestDialogue) -> list[float]:
    """Of each question, bits that the best one would have told more; rounding apart, never negative."""
    return [max(0.0, each.values["gap"]) if abs(each.values["gap"]) > ALIKE else 0.0 for each in dialogue.exchanges]
