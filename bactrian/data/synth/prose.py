"""Plain texts for pretraining a tiny model: the kinds of text that `procedural.corpus` draws from.

Each kind is a function of (random stream, what tells a new train-split story, largest operand) → text.
"""

from collections.abc import Callable
from random import Random

from bactrian.data.synth.stories import OPERATIONS, Story
from bactrian.data.synth.themes import CONTAINERS, FOODS, NAMES, PLACES, PRONOUNS, TOYS

Tell = Callable[[], Story]

COLOURS = ("red", "blue", "green", "yellow", "white", "black")
ANIMALS = ("dog", "cat", "bird", "cow", "fish", "horse", "rabbit", "mouse")
FEELINGS = ("happy", "sad", "tired", "hungry", "glad", "kind")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TALES = (
    "It is {day}.",
    "{name} goes to the {place}.",
    "{name} and {other} go to the {place} on {day}.",
    "{He} sees a {colour} {animal}.",
    "The {animal} is {colour} and very {feeling}.",
    "{name} gives the {animal} a {colour} {toy}.",
    "{other} likes {foods} more than {foods2}.",
    "{name} has a {colour} {toy} in a {container}.",
    "{He} puts the {toy} into the {colour} {container}.",
    "{other} takes the {toy} out of the {container}.",
    "Then the {animal} eats all the {foods}.",
    "{He} is {feeling} now.",
    "{other} is {feeling} and {name} is {feeling2}.",
    "{name} wants to buy {foods} at the shop.",
    "There is a {animal} in the {place}.",
    "{He} finds {his} {toy} in the {place}.",
    "{other} helps {him}.",
    "They go to the {place} and play with the {animal}.",
    "The {animal} goes to the {place}.",
    "{name} tells {other} about the {animal}.",
    "{other} asks {him} for a {colour} {toy}.",
    "{His} mother is in the {place} with a {container} of {foods}.",
    "{name} shares the {foods} with {his} friends.",
    "{other} and the {animal} are {feeling}.",
)
COUNTS = ("{name} counts the {things}: ", "Count: ", "The numbers are ", "")
COMPARISONS = (
    "{x} is more than {y}.",
    "{y} is less than {x}.",
    "{x} is {z} more than {y}.",
    "{y} is {z} less than {x}.",
)
FACTS = ("{x} {op} {y} = {z}", "{x} {op} {y} = {z}.", "{z} = {x} {op} {y}.", "What is {x} {op} {y}? It is {z}.")
ENDINGS = ("So it is {answer}.", "That makes {answer}.", "It is {answer}.", "So there are {answer} in all.", "")
LINKS = ("So {step}", "Now {step}", "{step}", "Then {step}")


def facts(random: Random, story: Tell, largest: int) -> str:
    """Lines of arithmetic, a few operations, all in one manner."""
    manner, lines = random.choice(FACTS), []
    for _ in range(random.randint(4, 12)):
        x, op, y = fact(random, largest)
        lines.append(manner.format(x=x, op=op, y=y, z=OPERATIONS[op](x, y)))
    return random.choice(("\n", " ") if lines[0].endswith(".") else ("\n", ", ")).join(lines)


def fact(random: Random, largest: int) -> tuple[int, str, int]:
    """(x, op, y) as they turn up in the steps of word problems: results from 0 to 5 × largest."""
    op = random.choice("++--*/")
    if op == "+":
        return random.randint(0, 4 * largest), op, random.randint(0, largest)
    if op == "-":
        x = random.randint(0, 5 * largest)
        return x, op, random.randint(0, min(x, largest))
    y = random.randint(1, 10)
    x = random.randint(0, 5 * largest // y)
    return (x, op, y) if op == "*" else (x * y, op, y)


def counting(random: Random, story: Tell, largest: int) -> str:
    """Runs of numbers, up or down, by ones, twos, fives or tens."""
    runs = []
    for _ in range(random.randint(1, 3)):
        step, length = random.choice((1, 1, 1, 2, 3, 5, 10, -1, -1, -2)), random.randint(4, 12)
        low = max(0, -step * (length - 1))
        start = random.randint(low, low + 5 * largest)
        run = ", ".join(str(start + i * step) for i in range(length))
        runs.append(random.choice(COUNTS).format(**fields(random)) + run + ".")
    return "\n".join(runs)


def comparing(random: Random, story: Tell, largest: int) -> str:
    """Pairs of numbers, compared."""
    lines = []
    for _ in range(random.randint(3, 8)):
        y, z = random.randint(0, 4 * largest), random.randint(1, largest)
        lines.append(random.choice(COMPARISONS).format(x=y + z, y=y, z=z))
    return " ".join(lines)


def tale(random: Random, story: Tell, largest: int) -> str:
    """Sentences about one person, another and an animal, with no number in them."""
    words = fields(random)
    return " ".join(line.format(**words) for line in random.sample(TALES, random.randint(4, 9)))


def story_text(random: Random, story: Tell, largest: int) -> str:
    """A word problem as a story: each event, then what it makes."""
    link, parts = random.choice(LINKS), []
    for part in story().parts:
        parts += [part.text] if part.text else []
        parts += [link.format(step=part.step)] if part.step else []
    return " ".join(parts)


def solved(random: Random, story: Tell, largest: int) -> str:
    """A word problem with its question, then its steps and the answer in the same breath."""
    problem = story()
    ending = random.choice(ENDINGS).format(answer=problem.answer)
    return " ".join([problem.question, *problem.steps, ending]).strip()


def recounted(random: Random, story: Tell, largest: int) -> str:
    """A tale that runs into a word problem."""
    return tale(random, story, largest) + "\n" + random.choice((story_text, solved))(random, story, largest)


KINDS = (facts, facts, facts, counting, comparing, tale, story_text, story_text, solved, solved, recounted)
"""What a corpus is made of, each with equal weight."""


def fields(random: Random) -> dict[str, str]:
    (name, he), (other, _) = random.sample([(name, he) for he, names in NAMES.items() for name in names], 2)
    (food, food2), toy = random.sample(FOODS, 2), random.choice(TOYS)
    feeling, feeling2 = random.sample(FEELINGS, 2)
    pronoun, his, him = PRONOUNS[he]
    return {
        "name": name,
        "other": other,
        "He": pronoun.capitalize(),
        "his": his,
        "His": his.capitalize(),
        "him": him,
        "foods": food + "s",
        "foods2": food2 + "s",
        "toy": toy,
        "things": random.choice(FOODS + TOYS) + "s",
        "container": random.choice(CONTAINERS),
        "place": random.choice(PLACES),
        "colour": random.choice(COLOURS),
        "animal": random.choice(ANIMALS),
        "feeling": feeling,
        "feeling2": feeling2,
        "day": random.choice(DAYS),
    }


def sentences() -> list[str]:
    """All that these texts can say, with {fields}; for the vocabulary."""
    return [*TALES, *COUNTS, *COMPARISONS, *FACTS, *ENDINGS, *LINKS]


def words() -> list[str]:
    """All that can stand in a field of a sentence, beyond what themes.words lists."""
    return [*COLOURS, *ANIMALS, *FEELINGS, *DAYS, "His", "Her"]
