"""What the stories of `stories.py` can say: sentences and words in tables, off which the vocabulary is read."""

from dataclasses import dataclass

NAMES = {
    "he": ("Tom", "Ben", "Sam", "Max", "Leo", "Dan", "Jack", "Paul", "Omar", "Ravi", "Ivan", "Hugo", "Kofi", "Juan"),
    "she": ("Ann", "Eva", "Mia", "Zoe", "Lily", "Rosa", "Nina", "Sara", "Aisha", "Mei", "Olga", "Emma", "Ada", "Ines"),
}
PRONOUNS = {"he": ("he", "his", "him"), "she": ("she", "her", "her")}
FOODS = ("apple", "pear", "plum", "orange", "cookie", "carrot", "nut", "egg")
TOYS = (
    "ball",
    "book",
    "pen",
    "pencil",
    "card",
    "coin",
    "stone",
    "shell",
    "flower",
    "stamp",
    "marble",
    "button",
    "kite",
)
CONTAINERS = ("bag", "basket", "jar", "bowl", "bucket")
PLACES = ("park", "garden", "school", "house", "shop", "street", "forest", "kitchen")


@dataclass(frozen=True)
class Event:
    """One sentence that changes the number held, from `a` to `c = a op b`.

    `op` is "+", "-", "*", "/", or "" for an opening that only states a number. `text` and `step` are the sentence and
    its line of the worked solution. `ask` replaces the theme's questions, and with it the story ends. With `fixed` the
    sentence itself says b ("twice"). With `passes` the other person now holds the number.
    """

    op: str
    text: str
    step: str = ""
    ask: str = ""
    fixed: int = 0
    passes: bool = False
    food: bool = False


@dataclass(frozen=True)
class Theme:
    """A kind of story. `asks[op]` are its closing questions after an event of that operation; "" serves all others."""

    noun: str
    openings: tuple[Event, ...]
    events: tuple[Event, ...]
    asks: dict[str, tuple[str, ...]]


HAS = "{name} has {a} {op} {b} = {c_things}."
OTHER_HAS = "{other} has {a} {op} {b} = {c_things}."
HOLDS = "The {container} has {a} {op} {b} = {c_things}."
TOGETHER = Event(
    "+", "", "Together they have {b} + {a} = {c_things}.", "How many {things} do {name} and {before} have together?"
)
"""The only ending that needs two holders, right after an event that passes on; b is the first one's number."""

OWNER = Theme(
    noun="",
    openings=(
        Event("", "{name} has {a_things}."),
        Event("", "{name} finds {a_things} in the {place}."),
        Event("", "{name} gets {a_things} from {other}."),
        Event("*", "{name} has {a} {containers}. There are {b_things} in each {container}.", HAS),
        Event("*", "{name} buys {a} {containers} with {b_things} in each.", HAS),
        Event("*", "Each day {name} finds {a_things}. {He} does this for {b} days.", HAS),
        Event("+", "{name} has {a} big {things} and {b} small {things}.", HAS),
        Event("+", "{name} buys {a_things} on Monday and {b_things} on Friday.", HAS),
    ),
    events=(
        Event("+", "{He} buys {b_more}.", HAS),
        Event("+", "{He} finds {b_more} in the {place}.", HAS),
        Event("+", "{other} gives {him} {b_more}.", HAS),
        Event("+", "{He} gets {b_more} from {his} mother.", HAS),
        Event("-", "{He} gives {b_things} to {other}.", HAS),
        Event("-", "{He} loses {b_things} in the {place}.", HAS),
        Event("-", "{He} sells {b_things} to {other}.", HAS),
        Event("-", "{other} takes {b_things} from {him}.", HAS),
        Event("-", "{He} eats {b_things}.", HAS, food=True),
        Event("/", "{He} gives half of the {things} to {other}.", HAS, fixed=2),
        Event("+", "{other} has {b_more} than {name}.", OTHER_HAS, passes=True),
        Event("-", "{other} has {b} fewer {things} than {name}.", OTHER_HAS, passes=True),
        Event("*", "{other} has {b} times as many {things} as {name}.", OTHER_HAS, passes=True),
        Event("*", "{other} has twice as many {things} as {name}.", OTHER_HAS, fixed=2, passes=True),
        Event("/", "{other} has half as many {things} as {name}.", OTHER_HAS, fixed=2, passes=True),
        Event(
            "*",
            "{He} sells all the {things} for {b_dollars} each.",
            "{name} gets {a} * {b} = {c_dollars}.",
            "How many dollars does {he} get?",
        ),
        Event(
            "/",
            "{He} puts the {things} into {b} {containers}, the same number in each.",
            "Each {container} has {a} / {b} = {c_things}.",
            "How many {things} are in each {container}?",
        ),
        Event(
            "/",
            "{He} shares all the {things} equally among {b} friends.",
            "Each friend gets {a} / {b} = {c_things}.",
            "How many {things} does each friend get?",
        ),
    ),
    asks={
        "": ("How many {things} does {name} have?", "How many {things} does {name} have now?"),
        "-": ("How many {things} does {name} have now?", "How many {things} does {name} have left?"),
        "+": ("How many {things} does {name} have now?", "How many {things} does {name} have in all?"),
    },
)
STORE = Theme(
    noun="",
    openings=(
        Event("", "There are {a_things} in the {container}."),
        Event("", "{name} puts {a_things} into a {container}."),
        Event("+", "There are {a} big {things} and {b} small {things} in the {container}.", HOLDS),
        Event("*", "{a} friends each put {b_things} into a {container}.", HOLDS),
        Event("+", "{name} puts {a_things} into the {container} and {other} puts in {b_more}.", HOLDS),
    ),
    events=(
        Event("+", "{name} puts in {b_more}.", HOLDS),
        Event("+", "{other} finds {b_more} and puts them in.", HOLDS),
        Event("-", "{other} takes out {b_things}.", HOLDS),
        Event("-", "{b_things} fall out.", HOLDS),
        Event("-", "{name} eats {b_things} from the {container}.", HOLDS, food=True),
        Event("/", "{name} takes out half of the {things}.", HOLDS, fixed=2),
        Event(
            "/",
            "{b} friends share all the {things} equally.",
            "Each friend gets {a} / {b} = {c_things}.",
            "How many {things} does each friend get?",
        ),
        Event(
            "*",
            "In the {place} there are {b} {containers} like this.",
            "The {containers} have {a} * {b} = {c_things}.",
            "How many {things} are in these {containers} in all?",
        ),
    ),
    asks={
        "": ("How many {things} are in the {container}?", "How many {things} are in the {container} now?"),
        "-": ("How many {things} are left in the {container}?", "How many {things} are in the {container} now?"),
    },
)
MONEY = Theme(
    noun="dollar",
    openings=(
        Event("", "{name} has {a_things}."),
        Event("*", "{name} works for {a} hours and gets {b_things} each hour.", HAS),
        Event("*", "{name} sells {a} {goods} for {b_things} each.", HAS),
        Event("+", "{name} gets {a_things} from {other} and {b_things} from {his} mother.", HAS),
    ),
    events=(
        Event("+", "{He} gets {b_more} from {other}.", HAS),
        Event("+", "{He} sells {a_good} for {b_things}.", HAS),
        Event("-", "{He} buys {a_good} for {b_things}.", HAS),
        Event("-", "{He} gives {b_things} to {other}.", HAS),
        Event("/", "{He} gives half of the money to {other}.", HAS, fixed=2),
        Event("+", "{other} has {b_more} than {name}.", OTHER_HAS, passes=True),
        Event("*", "{other} has {b} times as much money as {name}.", OTHER_HAS, passes=True),
        Event(
            "/",
            "{He} buys {goods} for all the money. One {good} costs {b_things}.",
            "{name} gets {a} / {b} = {c_goods}.",
            "How many {goods} does {he} get?",
        ),
    ),
    asks={
        "": ("How many dollars does {name} have?", "How many dollars does {name} have now?"),
        "-": ("How many dollars does {name} have left?", "How many dollars does {name} have now?"),
    },
)
THEMES = (OWNER, OWNER, STORE, MONEY)


def sentences() -> list[str]:
    """All that a story can say, with {fields}; for the vocabulary."""
    events = [event for theme in (OWNER, STORE, MONEY) for event in theme.openings + theme.events] + [TOGETHER]
    asks = [ask for theme in (OWNER, STORE, MONEY) for options in theme.asks.values() for ask in options]
    return [part for event in events for part in (event.text, event.step, event.ask)] + asks


def words() -> list[str]:
    """All that can stand in a field of a sentence, numbers and operation signs aside."""
    nouns = [*FOODS, *TOYS, *CONTAINERS, "dollar"]
    people = [*NAMES["he"], *NAMES["she"], "He", "She", *PRONOUNS["he"], *PRONOUNS["she"]]
    return [*nouns, *(noun + "s" for noun in nouns), *people, *PLACES, "a", "an", "more"]
