"""IFEval's 25 constraints [Zhou et al. 2023] in words and arguments that go together: prompts that no one contradicts.

Which types go together is a table (`together`), not a matter of luck: the published persona scripts [Tülu 3] draw types
without looking, and ask for capitals and lower case at once. Arguments are drawn from ranges in which the types that go
together can all be kept; a test makes a text for every pair that the table allows, and has the verifier read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from bactrian.errors import BactrianError

WANTED = ("garden", "morning", "letter", "people", "market", "summer", "window", "bread")
BANNED = ("very", "never", "thing", "nice", "amazing", "perhaps")
REPEATED = ("water", "music", "stone", "river")
OPENERS = ("first", "later", "today", "nobody", "still")
ENDINGS = ("That is all there is to say.", "Let me know what you think.", "More on this another day.")
COMMON, RARE = "aeiot", "qzxj"
"""Letters of which there shall be many, and of which there shall be few."""
LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese"}
MARKERS = ("P.S.", "P.P.S")
SECTIONS = ("Section", "Part", "Chapter")
Drawn = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class WrittenConstraint:
    """One constraint: IFEval's id, its arguments, and the sentence that asks for it."""

    name: str
    arguments: Mapping[str, Any]
    words: str


def _bounded(draw: Random, least: range, most: range) -> tuple[str, int]:
    relation = draw.choice(("at least", "less than"))
    return relation, draw.choice(least if relation == "at least" else most)


def _existence(draw: Random, task: str) -> Drawn:
    chosen = draw.sample(WANTED, draw.randint(1, 3))
    listed = ", ".join(f'"{word}"' for word in chosen)
    return f"Make use of {'this word' if len(chosen) == 1 else 'these words'}: {listed}.", {"keywords": chosen}


def _frequency(draw: Random, task: str) -> Drawn:
    word, (relation, number) = draw.choice(REPEATED), _bounded(draw, range(2, 5), range(2, 5))
    asked = {"keyword": word, "frequency": number, "relation": relation}
    return f'The word "{word}" must occur {relation} {number} times.', asked


def _forbidden(draw: Random, task: str) -> Drawn:
    chosen = draw.sample(BANNED, draw.randint(1, 3))
    listed = ", ".join(f'"{word}"' for word in chosen)
    return f"Do without {'this word' if len(chosen) == 1 else 'these words'}: {listed}.", {"forbidden_words": chosen}


def _letters(draw: Random, task: str) -> Drawn:
    relation, number = _bounded(draw, range(5, 16), range(4, 8))
    letter = draw.choice(COMMON if relation == "at least" else RARE)
    asked = {"letter": letter, "let_frequency": number, "let_relation": relation}
    return f'The letter "{letter}" must occur {relation} {number} times.', asked


def _language(draw: Random, task: str) -> Drawn:
    code = draw.choice(list(LANGUAGES))
    return f"Write the whole answer in {LANGUAGES[code]} and in no other language.", {"language": code}


def _sentences(draw: Random, task: str) -> Drawn:
    relation, number = _bounded(draw, range(2, 7), range(12, 21))
    return f"Write {relation} {number} sentences.", {"num_sentences": number, "relation": relation}


def _paragraphs(draw: Random, task: str) -> Drawn:
    number = draw.randint(2, 4)
    return f"Write {number} paragraphs, with a line of three asterisks (***) between them.", {"num_paragraphs": number}


def _words(draw: Random, task: str) -> Drawn:
    relation, number = _bounded(draw, range(40, 121, 10), range(150, 301, 10))
    return f"Write {relation} {number} words.", {"num_words": number, "relation": relation}


def _first_word(draw: Random, task: str) -> Drawn:
    number = draw.randint(2, 4)
    nth, word = draw.randint(2, number), draw.choice(OPENERS)
    asked = {"num_paragraphs": number, "nth_paragraph": nth, "first_word": word}
    return (
        f"Write {number} paragraphs with one blank line between each two and no other blank lines; paragraph {nth} "
        f'must begin with the word "{word}".',
        asked,
    )


def _placeholders(draw: Random, task: str) -> Drawn:
    number = draw.randint(1, 4)
    return (
        f"Leave at least {number} {'place' if number == 1 else 'places'} to be filled in, in brackets such as [name].",
        {"num_placeholders": number},
    )


def _postscript(draw: Random, task: str) -> Drawn:
    marker = draw.choice(MARKERS)
    return f"Add a postscript at the end that begins with {marker}", {"postscript_marker": marker}


def _bullets(draw: Random, task: str) -> Drawn:
    number = draw.randint(2, 5)
    return (
        f"Give exactly {number} points as a list, each on a line that begins with a hyphen (- like this).",
        {"num_bullets": number},
    )


def _options(draw: Random, task: str) -> Drawn:
    options = '"My answer is yes.", "My answer is no." or "My answer is maybe."'
    return f"Answer with one of these sentences: {options}", {}


def _highlights(draw: Random, task: str) -> Drawn:
    number = draw.randint(1, 4)
    what = "passage" if number == 1 else "passages"
    return f"Set at least {number} {what} between asterisks, *like this*.", {"num_highlights": number}


def _sections(draw: Random, task: str) -> Drawn:
    word, number = draw.choice(SECTIONS), draw.randint(2, 4)
    asked = {"section_spliter": word, "num_sections": number}
    return f"Divide it into {number} sections, headed {word} 1, {word} 2 and so on.", asked


def _repeat(draw: Random, task: str) -> Drawn:
    return (
        "First say the request again, word for word and without this or any other condition; then answer it.",
        {"prompt_to_repeat": task},
    )


def _ending(draw: Random, task: str) -> Drawn:
    phrase = draw.choice(ENDINGS)
    return f'End with exactly these words and nothing after them: "{phrase}"', {"end_phrase": phrase}


def _capitals(draw: Random, task: str) -> Drawn:
    relation, number = _bounded(draw, range(2, 6), range(5, 11))
    return (
        f"Words written wholly in capital letters must occur {relation} {number} times.",
        {"capital_frequency": number, "capital_relation": relation},
    )


def _plain(words: str) -> Callable[[Random, str], Drawn]:
    return lambda draw, task: (words, {})


WRITERS: Mapping[str, Callable[[Random, str], Drawn]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _options,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _plain("Give the whole answer as one JSON value, and nothing outside it."),
    "detectable_format:title": _plain("Give it a title between double angular brackets, such as <<my title>>."),
    "combination:two_responses": _plain("Give two different answers, with six asterisks (******) alone between them."),
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _ending,
    "startend:quotation": _plain("Put the whole answer between double quotation marks."),
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": _plain("Write in English, and in capital letters only."),
    "change_case:english_lowercase": _plain("Write in English, and in small letters only: no capitals at all."),
    "punctuation:no_comma": _plain("Do not use a single comma."),
}
"""Every type, and what draws it; the task is what the constraint is for."""
NAMES = tuple(WRITERS)

ONLY_WITH: Mapping[str, frozenset[str]] = {
    "detectable_format:constrained_response": frozenset(),
    "detectable_format:json_format": frozenset({"keywords:existence", "keywords:forbidden_words"}),
    "combination:two_responses": frozenset(
        {"keywords:existence", "keywords:forbidden_words", "language:response_language", "punctuation:no_comma"}
    ),
    "combination:repeat_prompt": frozenset(
        {
            "keywords:existence",
            "detectable_content:number_placeholders",
            "detectable_content:postscript",
            "startend:end_checker",
        }
    ),
}
"""Types that settle the whole form of an answer, and the few others that they leave room for."""
_WHOLE_CASE = ("change_case:english_capital", "change_case:english_lowercase")
_ENGLISH = (
    "keywords:existence",
    "keywords:frequency",
    "keywords:letter_frequency",
    "length_constraints:nth_paragraph_first_word",
    "detectable_format:multiple_sections",
    "startend:end_checker",
    *_WHOLE_CASE,
)
APART: frozenset[frozenset[str]] = frozenset(
    map(
        frozenset,
        [
            _WHOLE_CASE,
            *((case, "change_case:capital_word_frequency") for case in _WHOLE_CASE),
            *((case, "detectable_format:multiple_sections") for case in _WHOLE_CASE),
            *(("language:response_language", other) for other in _ENGLISH),
            ("length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"),
            ("detectable_content:postscript", "startend:end_checker"),
        ],
    )
)
"""Other pairs that an answer cannot, or not without tricks, keep to at once."""


def together(one: str, other: str) -> bool:
    """Whether two types of constraint can stand in one prompt; no type with itself."""
    allowed = all(a not in ONLY_WITH or b in ONLY_WITH[a] for a, b in ((one, other), (other, one)))
    return one != other and allowed and frozenset((one, other)) not in APART


def draw_types(draw: Random, count: int, types: Sequence[str] = NAMES) -> list[str]:
    """`count` types of which every two go together, in random order.

    Raises:
        BactrianError: an unknown type, or there are no so many that go together.
    """
    if unknown := sorted(set(types) - set(NAMES)):
        raise BactrianError(f"found the constraint {unknown[0]!r}, expected some of {', '.join(NAMES)}")
    order = draw.sample(list(types), len(types))
    found = _clique(order, count)
    if found is None:
        raise BactrianError(f"constraints: no {count} of {', '.join(types)} go together")
    draw.shuffle(found)
    return found


def _clique(order: Sequence[str], count: int, chosen: tuple[str, ...] = ()) -> list[str] | None:
    """The first `count` in this order that go together, by going back where a choice leaves too few."""
    if len(chosen) == count:
        return list(chosen)
    for place, name in enumerate(order):
        fitting = [other for other in order[place + 1 :] if together(name, other)]
        if len(fitting) >= count - len(chosen) - 1 and (found := _clique(fitting, count, (*chosen, name))):
            return found
    return None


def draw_constraints(draw: Random, count: int, task: str, types: Sequence[str] = NAMES) -> list[WrittenConstraint]:
    """Constraints for a task that one answer can keep to.

    Raises:
        BactrianError: as `draw_types`.
    """
    chosen = []
    for name in draw_types(draw, count, types):
        words, arguments = WRITERS[name](draw, task)
        chosen.append(WrittenConstraint(name, arguments, words))
    return chosen


def constrained_prompt(task: str, constraints: Sequence[WrittenConstraint], but: Collection[str] = ()) -> str:
    """The task and, below it, what its answer must keep to; `but`: types that are left out, to relax the prompt."""
    return "\n\n".join([task, " ".join(each.words for each in constraints if each.name not in but)]).strip()


def constraints_truth(constraints: Sequence[WrittenConstraint]) -> str:
    """The ground truth for the verifier `ifeval`."""
    names, given = [each.name for each in constraints], [dict(each.arguments) for each in constraints]
    return json.dumps({"instruction_id_list": names, "kwargs": given})


def allowed_pairs() -> list[tuple[str, str]]:
    """Every two types that go together."""
    return [(one, other) for one, other in combinations(NAMES, 2) if together(one, other)]
