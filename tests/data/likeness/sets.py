"""Sets of texts with topics that are known."""

import random

TOPICS = {
    "bees": ["bee", "honey", "hive", "queen", "swarm", "nectar", "pollen", "wax", "keeper", "drone", "comb", "flower"],
    "ships": ["ship", "harbour", "sail", "mast", "captain", "anchor", "deck", "rope", "tide", "wind", "crew", "cargo"],
    "bread": ["bread", "flour", "oven", "dough", "yeast", "crust", "loaf", "baker", "salt", "knead", "butter", "rye"],
    "stars": [
        "star",
        "planet",
        "orbit",
        "comet",
        "galaxy",
        "telescope",
        "moon",
        "night",
        "dust",
        "light",
        "cloud",
        "sky",
    ],
}
FILLERS = ["the", "a", "some", "one", "with", "of", "and", "near", "for", "when", "how", "many", "each", "two", "five"]


def texts(topics: str | list[str], count: int, seed: int, words: int = 14) -> list[str]:
    """`count` different texts about the topics, in turn."""
    names, draw = ([topics] if isinstance(topics, str) else topics), random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        own = TOPICS[names[len(made) % len(names)]]
        picked = [draw.choice(own if draw.random() < 0.6 else FILLERS) for _ in range(draw.randint(words // 2, words))]
        made[" ".join(picked).capitalize() + draw.choice(".?!")] = None
    return list(made)
