"""Underspecified requests, coding and maths: what they say, what they leave open, and the answer by program.

"Sort the books. The limit is two." leaves open by what, and in which order. A request's answer follows from the values
of all its slots, so what a question about it is worth can be computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from random import Random
from typing import Any

from bactrian.data.synth.asking.fact_table import ALIKE, FactTable

_THINGS = """
books songs films games plants phones boats lamps chairs tables shirts shoes coats hats rings clocks maps
cards coins stamps trees flowers fields houses rooms walls doors windows roofs bridges cars bikes trains
planes letters parcels photos recipes tickets tools
"""
THINGS = tuple(_THINGS.split())
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "nine": 9}
SAMPLE = (("ash", 3, 40), ("oak", 9, 15), ("elm", 5, 60), ("fir", 1, 25), ("yew", 7, 5))
"""What the coding requests are about: (name, age, price) of five things."""
FIELDS = {"name": 0, "age": 1, "price": 2}


@dataclass(frozen=True)
class RequestKind:
    """words: with {things}. slots: name → values. solve: the values → the answer."""

    words: str
    slots: Mapping[str, tuple[str, ...]]
    solve: Callable[[Mapping[str, str]], str]


def _sort(v: Mapping[str, str]) -> str:
    rows = sorted(SAMPLE, key=lambda row: row[FIELDS[v["key"]]], reverse=v["order"] == "down")
    names = [str(row[0]) for row in rows[: NUMBERS[v["limit"]]]]
    return " ".join(name.upper() if v["case"] == "upper" else name for name in names)


def _pick(v: Mapping[str, str]) -> str:
    bound, place = {"low": 4, "high": 6} if v["field"] == "age" else {"low": 20, "high": 30}, FIELDS[v["field"]]
    over = v["side"] == "above"
    found = [str(row[0]) for row in SAMPLE if (int(row[place]) > bound[v["bound"]]) == over]
    return str(len(found)) if v["output"] == "count" else " ".join(found) if v["output"] == "list" else found[0]


def _cost(v: Mapping[str, str]) -> str:
    whole = NUMBERS[v["number"]] * NUMBERS[v["price"]] * (0.5 if v["discount"] == "half" else 1)
    return f"{whole + (4 if v['delivery'] == 'extra' else 0):g}"


def _time(v: Mapping[str, str]) -> str:
    hours = NUMBERS[v["number"]] * NUMBERS[v["hours"]] / (2 if v["helper"] == "yes" else 1)
    return f"{hours * (60 if v['unit'] == 'minutes' else 1):g}"


KINDS: Mapping[str, RequestKind] = {
    "sort": RequestKind(
        "sort the {things}",
        {
            "key": ("name", "age", "price"),
            "order": ("up", "down"),
            "limit": ("one", "two", "four", "five"),
            "case": ("upper", "lower"),
        },
        _sort,
    ),
    "pick": RequestKind(
        "pick the {things}",
        {
            "field": ("age", "price"),
            "side": ("above", "below"),
            "bound": ("low", "high"),
            "output": ("list", "count", "first"),
        },
        _pick,
    ),
    "cost": RequestKind(
        "compute the cost of the {things}",
        {
            "number": ("two", "three", "five", "six"),
            "price": ("four", "six", "nine"),
            "discount": ("none", "half"),
            "delivery": ("free", "extra"),
        },
        _cost,
    ),
    "time": RequestKind(
        "compute the time for the {things}",
        {
            "number": ("two", "three", "five"),
            "hours": ("one", "two", "four", "nine"),
            "helper": ("yes", "no"),
            "unit": ("hours", "minutes"),
        },
        _time,
    ),
}


@cache
def whole_table(kind: str) -> FactTable:
    """Every way in which a request of this kind may be meant."""
    slots = KINDS[kind].slots
    rows = tuple(
        (values, KINDS[kind].solve(dict(zip(slots, values, strict=True)))) for values in product(*slots.values())
    )
    return FactTable(tuple(slots), rows)


@dataclass(frozen=True)
class UnderspecifiedRequest:
    """kind, things: what is asked. values: how it is meant. known: the slots that it says."""

    kind: str
    things: str
    values: Mapping[str, str]
    known: tuple[str, ...] = ()

    @classmethod
    def drawn(cls, random: Random, said: tuple[int, int]) -> UnderspecifiedRequest:
        """A request of which from said[0] to said[1] slots are known."""
        kind = random.choice(list(KINDS))
        slots = KINDS[kind].slots
        values = {slot: random.choice(values) for slot, values in slots.items()}
        known = random.sample(list(slots), random.randint(said[0], min(said[1], len(slots))))
        return cls(kind, random.choice(THINGS), values, tuple(sorted(known)))

    @classmethod
    def read(cls, text: str) -> UnderspecifiedRequest:
        """From the JSON of `json`.

        Raises:
            ValueError: it is none, or of an unknown kind.
        """
        try:
            found = json.loads(text)
            made = cls(str(found["kind"]), str(found["things"]), dict(found["values"]), tuple(found["known"]))
            if set(made.values) != set(KINDS[made.kind].slots) or not set(made.known) <= set(made.values):
                raise ValueError("slots that are not the kind's")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no request: {error!r}") from None
        return made

    def json(self) -> str:
        return json.dumps(
            {"kind": self.kind, "things": self.things, "values": dict(self.values), "known": list(self.known)}
        )

    @property
    def premise(self) -> str:
        """ "sort the books"."""
        return KINDS[self.kind].words.format(things=self.things)

    @property
    def slots(self) -> Mapping[str, tuple[str, ...]]:
        return KINDS[self.kind].slots

    @property
    def answer(self) -> str:
        return KINDS[self.kind].solve(self.values)

    def telling(self, slots: tuple[str, ...]) -> UnderspecifiedRequest:
        """The request once these slots are known too."""
        return replace(self, known=tuple(sorted({*self.known, *slots})))

    def text(self) -> str:
        """What it says: "Sort the books. The limit is two."."""
        facts = "".join(f" The {slot} is {self.values[slot]}." for slot in self.known)
        return f"{self.premise.capitalize()}.{facts}"

    def table(self) -> FactTable:
        """What is still possible."""
        return _table(self.kind, tuple((slot, self.values[slot]) for slot in self.known))

    def slot_levels(self) -> dict[str, int]:
        """Slot → 5 where no other tells more, 3 where it tells something, 1 where it tells nothing."""
        return levels_of(self.table())

    def truth(self) -> dict[str, Any]:
        """What the verifier `asking` holds a question against."""
        levels = self.slot_levels()
        slots = {slot: {"values": list(values), "level": levels[slot]} for slot, values in self.slots.items()}
        return {"premise": self.premise, "slots": slots}


@cache
def _table(kind: str, known: tuple[tuple[str, str], ...]) -> FactTable:
    return whole_table(kind).given(dict(known))


def levels_of(table: FactTable) -> dict[str, int]:
    """Slot → 5 where no other tells more, 3 where it tells something, 1 where it tells nothing."""
    gains = table.gains
    most = max(gains.values())
    if most <= ALIKE and not table.decided:  # only two together tell anything: one has to be the first
        return {slot: 5 if len(table.values(slot)) > 1 else 1 for slot in table.slots}
    return {slot: 1 if gain <= ALIKE else 5 if gain >= most - ALIKE else 3 for slot, gain in gains.items()}
