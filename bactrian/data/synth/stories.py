"""The engine that chains the sentences of `themes.py` into worked word problems.

A story is about somebody (or something) who holds a number of things. It opens with a number, or with two that make
one; then events change it, each by one operation; then comes the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from bactrian.data.synth.themes import CONTAINERS, FOODS, NAMES, PLACES, PRONOUNS, THEMES, TOGETHER, TOYS, Event, Theme

OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


@dataclass(frozen=True)
class StoryPart:
    """One event as told: the sentence ("" if there is none) and its worked step ("" if nothing is to work out)."""

    text: str
    step: str


@dataclass(frozen=True)
class Story:
    """A whole problem: what is told, what is asked, and the number that answers it."""

    parts: tuple[StoryPart, ...]
    ask: str
    answer: int

    @property
    def question(self) -> str:
        return " ".join([part.text for part in self.parts if part.text] + [self.ask])

    @property
    def steps(self) -> list[str]:
        return [part.step for part in self.parts if part.step]


@dataclass(frozen=True)
class Cast:
    """Who and what the story is about, and the words for them."""

    name: str
    other: str
    before: str
    people: tuple[tuple[str, str], ...]
    thing: str
    good: str
    container: str
    place: str

    def words(self, a: int, op: str, b: int, c: int) -> dict[str, str]:
        he, his, him = PRONOUNS[dict(self.people)[self.name]]
        article = "an" if self.good[0] in "aeiou" else "a"
        counts = {f"{k}_things": counted(n, self.thing) for k, n in (("a", a), ("b", b), ("c", c))}
        return counts | {
            "name": self.name,
            "other": self.other,
            "before": self.before,
            "he": he,
            "He": he.capitalize(),
            "his": his,
            "him": him,
            "a": str(a),
            "b": str(b),
            "c": str(c),
            "op": op,
            "things": self.thing + "s",
            "good": self.good,
            "goods": self.good + "s",
            "a_good": f"{article} {self.good}",
            "container": self.container,
            "containers": self.container + "s",
            "place": self.place,
            "b_more": counted(b, self.thing, "more "),
            "b_dollars": counted(b, "dollar"),
            "c_dollars": counted(c, "dollar"),
            "c_goods": counted(c, self.good),
        }


def counted(number: int, noun: str, between: str = "") -> str:
    """`counted(3, "pear", "more ")` = "3 more pears"."""
    return f"{number} {between}{noun}{'' if number == 1 else 's'}"


def cast(random: Random, theme: Theme) -> Cast:
    people = tuple(random.sample([(name, he) for he, names in NAMES.items() for name in names], 4))
    thing, good = random.sample(FOODS + TOYS, 2)
    return Cast(
        name=people[0][0],
        other=people[1][0],
        before="",
        people=people,
        thing=theme.noun or thing,
        good=good,
        container=random.choice(CONTAINERS),
        place=random.choice(PLACES),
    )


def operands(event: Event, a: int, largest: int) -> Sequence[int]:
    """The second operands that keep the story sane: results positive, whole and at most 5 × largest."""
    ceiling = 5 * largest
    if event.op == "+":
        choices = range(1, min(largest, ceiling - a) + 1)
    elif event.op == "-":
        choices = range(1, min(largest, a - 1) + 1)
    elif event.op == "*":
        choices = range(2, min(largest, 10, ceiling // a) + 1)
    else:
        choices = range(2, min(largest, 10) + 1)
    fitting = [event.fixed] if event.fixed in choices else [] if event.fixed else choices
    return [b for b in fitting if a % b == 0] if event.op == "/" else fitting


def tell(random: Random, operations: int, largest: int) -> Story:
    """A random story whose answer takes exactly this many operations on stated numbers from 1 to `largest`."""
    theme = random.choice(THEMES)
    who, parts, number, before = cast(random, theme), [], 0, 0
    opening = random.choice([event for event in theme.openings if len(event.op) <= operations])
    event, left = opening, operations
    while True:
        number, b, c = step_numbers(random, event, number, before, largest)
        words = who.words(number, event.op, b, c)
        parts.append(StoryPart(event.text.format(**words), event.step.format(**words)))
        before, number, left = number, c, left - len(event.op)
        if event.ask:
            return Story(tuple(parts), event.ask.format(**words), number)
        if event.passes:
            unused = next(name for name, _ in who.people if name not in (who.name, who.other, who.before))
            who = replace(who, name=who.other, other=unused, before=who.name)
        if left == 0:
            ask = random.choice(theme.asks.get(event.op, theme.asks[""]))
            return Story(tuple(parts), ask.format(**who.words(number, "", 0, 0)), number)
        event = next_event(random, theme, event, who, before, number, left, largest)


def step_numbers(random: Random, event: Event, number: int, before: int, largest: int) -> tuple[int, int, int]:
    """(a, b, c) of an event. An opening draws its own a; TOGETHER adds the number before; others draw b."""
    if event is TOGETHER:
        return number, before, number + before
    if number == 0:
        number = random.randint(2, largest)
        if not event.op:
            return number, 0, number
    b = random.choice(operands(event, number, largest))
    return number, b, OPERATIONS[event.op](number, b)


def next_event(
    random: Random, theme: Theme, last: Event, who: Cast, before: int, number: int, left: int, largest: int
) -> Event:
    """Any event that is possible now: first the operation is drawn, then the sentence, so none crowds out others."""
    possible = [
        event
        for event in theme.events
        if (not event.ask or left == 1) and (not event.food or who.thing in FOODS) and operands(event, number, largest)
    ]
    if last.passes and left == 1 and before + number <= 5 * largest:
        possible += [TOGETHER] * 2
    op = random.choice(sorted({event.op for event in possible}))
    return random.choice([event for event in possible if event.op == op])
