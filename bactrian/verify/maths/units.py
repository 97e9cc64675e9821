"""Units after answers: a table of their spellings, areas and rates, times of day. Nothing is converted.

A unit in its one spelling is a text like "cm^2" or "mi/h". Nouns that are no unit of measure ("apples") count as units
too: five apples are not five pears.
"""

import re

from bactrian.verify.maths.answer_tree import Clock, Node, Num, Quantity, Rel

SPELLINGS = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "dm": "decimeter decimeters decimetre decimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres kms",
    "in": "inch inches ins",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams gm gms gramme grammes",
    "kg": "kilogram kilograms kilo kilos kgs",
    "oz": "ounce ounces",
    "lb": "pound pounds lbs",
    "ton": "tons tonne tonnes",
    "ml": "milliliter milliliters millilitre millilitres",
    "l": "liter liters litre litres",
    "gal": "gallon gallons",
    "pint": "pints",
    "quart": "quarts qt",
    "cup": "cups",
    "ms": "millisecond milliseconds",
    "s": "second seconds sec secs",
    "min": "minute minutes mins",
    "h": "hour hours hr hrs",
    "day": "days",
    "week": "weeks wk wks",
    "month": "months",
    "year": "years yr yrs",
    "acre": "acres",
    "hectare": "hectares ha",
    "dollar": "dollars usd bucks",
    "cent": "cents",
    "euro": "euros eur",
    "degree": "degrees deg degs",
    "radian": "radians rad rads",
    "unit": "units",
    "point": "points pts",
    "person": "people persons",
    "mi/h": "mph",
    "km/h": "kph kmh kmph",
    "n": "newton newtons",
    "j": "joule joules",
    "w": "watt watts",
}
NAMES = {spelling: name for name, listed in SPELLINGS.items() for spelling in (name, *listed.split())}
LETTERS = frozenset(["m", "g", "s", "h", "l", "L"])
"""Units that may be meant for unknowns."""
POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
PLAIN = frozenset(["a", "an", "the", "of", "total", "all", "different", "distinct", "more", "each", "exactly", "per"])
"""Words that a noun may have around it."""
HEDGES = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|likely|about|approx\w*|roughly|around|almost|nearly|or|and|at|than|less|up|not"
    r"|no|never|unsure|guess|think|either|neither|unless|but|between|something|else|if|for|where|when|to|from|mod|with"
    r"|times|plus|minus|over|under|above|below|is|are|was|hundred|thousand|million|billion|dozen|percent)\b|[?=<>\d]"
)
CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*(a\.?\s?m\.?|p\.?\s?m\.?|o'?\s?clock|noon|midnight)?", re.IGNORECASE)
HALF = re.compile(r"(?:a|p)\.?\s?m\.?|o'?\s?clock|noon|midnight", re.IGNORECASE)
NOUN_WORDS = 4


def unit_name(words: str) -> str | None:
    """The one spelling of a unit or a noun; None for words that are neither (hedges, alternatives, sentences)."""
    text = words.replace("^{", "^").replace("}", "").replace("−", "-").strip(" .,()~")
    above, parts, below = text.partition("/")
    if not parts:
        above, parts, below = re.sub(r"\bper\b", "/", text, flags=re.IGNORECASE).partition("/")
    if not parts:
        return factor_name(above)
    names = factor_name(above), factor_name(below)
    return f"{names[0]}/{names[1]}" if all(names) else None


def factor_name(words: str) -> str | None:
    """Of a unit without a slash: "square feet", "cm^2", "right triangles" (the last word names it)."""
    text, _, exponent = words.strip().partition("^")
    names = text.replace(".", " ").split()
    powers = [POWERS[name.lower()] for name in names if name.lower() in POWERS]
    rest = [name for name in names if name.lower() not in POWERS]
    if not rest or len(rest) > NOUN_WORDS or (exponent and not exponent.strip().isdigit()):
        return None
    if len(rest) > 1 and HEDGES.search(text.lower()):
        return None
    name = known(rest[-1])
    name = noun(rest) if name is None or rest[-1].lower() in PLAIN else name
    power = int(exponent) if exponent else powers[0] if powers else 1
    return f"{name}^{power}" if name and power != 1 else name


def known(word: str) -> str | None:
    """A unit of the table by one of its spellings; single letters keep their case but for L."""
    if len(word) == 1:
        return word.lower() if word in LETTERS else None
    return NAMES.get(word.lower())


def noun(words: list[str]) -> str | None:
    """What is counted, without plural: the last of a few words that is no filler; "" if all are."""
    if not all(re.fullmatch(r"[A-Za-z'\-]+", word) and not HEDGES.search(word.lower()) for word in words):
        return None
    named = [word.lower() for word in words if word.lower() not in PLAIN]
    if not named:
        return ""
    return named[-1].removesuffix("s") if len(named[-1]) > 2 else named[-1]


def clock(text: str) -> Clock | None:
    """A time of day like "9 a.m." or "4:30 PM"; None if neither half nor minutes are there, or it is no time."""
    found = CLOCK.fullmatch(text.strip())
    if not found or not found[3]:
        return None
    hour, minute, said = int(found[1]), int(found[2] or 0), re.sub(r"[^a-z]", "", found[3].lower())
    half = {"noon": "pm", "midnight": "am", "oclock": ""}.get(said, said)
    return Clock(hour, minute, half) if hour <= 24 and minute < 60 else None


def same_time(a: Node, b: Node) -> bool:
    """Of times of day; one may be a bare 4:30 or 9. The half may be left out of one, never differ."""
    x, y = as_clock(a), as_clock(b)
    if x is None or y is None:
        return False
    return (x.hour, x.minute) == (y.hour, y.minute) and not (x.half and y.half and x.half != y.half)


def as_clock(node: Node) -> Clock | None:
    if isinstance(node, Clock):
        return node
    parts = node.items if isinstance(node, Rel) and node.ops == (":",) else (node,)
    if not all(isinstance(part, Num) and part.value.denominator == 1 for part in parts):
        return None
    numbers = [int(part.value) for part in parts if isinstance(part, Num)]
    return Clock(numbers[0], numbers[1] if len(numbers) > 1 else 0, "")


def parted(node: Node) -> tuple[Node, str]:
    """A value and its unit, "" if it has none."""
    return (node.value, node.unit) if isinstance(node, Quantity) else (node, "")


def units_agree(a: str, b: str) -> bool:
    """A unit may be left out; another one is wrong."""
    return not a or not b or a == b
