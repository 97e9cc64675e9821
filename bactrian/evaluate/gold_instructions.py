"""Texts that keep to IFEval's instructions, and texts that do not: its data have no answers, and these can be made.

They say nothing of use. What they show is that each instruction, with the arguments that the data give it, can be kept
and can be broken. Where two instructions of one question cannot be kept by a text of this making, there is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from typing import Any

from bactrian.verify.instructions.ifeval import Instruction, instructions
from bactrian.verify.verdict import Problem

FILLER = (
    "the",
    "thing",
    "which",
    "they",
    "thought",
    "was",
    "right",
    "with",
    "all",
    "this",
    "good",
    "old",
    "house",
    "and",
    "many",
    "trees",
    "that",
    "people",
    "in",
    "town",
    "often",
    "look",
    "at",
    "from",
    "morning",
    "until",
    "night",
)
"""Common English words: of what letters and words an instruction forbids the rest is taken."""
NUMBERS = ("12", "34", "56")
"""What a text in any language may hold: no language is found in it."""
Arguments = Mapping[str, Any]


def asked_of(truth: str) -> list[Instruction]:
    return instructions(Problem(truth))


class _Text:
    """What the instructions of one question want of a text, gathered one instruction after another."""

    def __init__(self, asked: list[Instruction]) -> None:
        self.asked = asked
        # of a few words in capitals no language is guessed right
        self.words = 24 if any(name.startswith("change_case:english") for name, _ in asked) else 4
        self.sentences = 1
        self.start, self.end = "", ""
        self.lines: list[str] = []
        self.inline: list[str] = []
        self.paragraphs: list[str] = [""]
        self.between = "\n"

    def filler(self) -> Callable[[int], str]:
        """A function that gives so many words."""
        given = [arguments for _, arguments in self.asked]
        letters = [str(each["letter"]).lower() for each in given if each.get("let_relation") == "less than"]
        banned = [str(word).lower() for each in given for word in each.get("forbidden_words", ())]
        banned += [
            str(each["keyword"]).lower() for each in given if "keyword" in each and each["relation"] == "less than"
        ]
        other = any(each.get("language", "en") != "en" for each in given)
        words = (
            NUMBERS
            if other
            else [
                word
                for word in FILLER
                if not any(letter in word for letter in letters)
                and not any(text in word or word in text for text in banned)
            ]
        )
        source = cycle(words)
        return lambda count: " ".join(islice(source, count))

    def written(self) -> str:
        for name, given in self.asked:
            if want := WANTS.get(name):
                want(self, given)
        filler = self.filler()
        sentences = [f"{filler(4)}." for _ in range(self.sentences - 1)]
        body = " ".join([*sentences, *self.inline, filler(self.words)])
        parts = [f"{begin}{filler(3)}".strip() for begin in self.paragraphs]
        parts[0] = "\n".join([part for part in (self.start, parts[0], *self.lines) if part])
        parts[-1] = f"{parts[-1]} {body}" if not self.lines or len(parts) > 1 else f"{parts[-1]}\n{body}"
        return self.between.join(parts) + (f".\n{self.end}" if self.end else ".")


def _count(given: Arguments, relation: str, number: str) -> int:
    return int(given[number]) if given[relation] == "at least" else 0


def _repeat(text: _Text, given: Arguments) -> None:
    text.start = f"{given['prompt_to_repeat']}\n{text.start}".strip()


def _title(text: _Text, given: Arguments) -> None:
    text.start = f"{text.start}\n<<12>>".strip()


def _first_word(text: _Text, given: Arguments) -> None:
    text.paragraphs, text.between = [""] * int(given["num_paragraphs"]), "\n\n"
    text.paragraphs[int(given["nth_paragraph"]) - 1] = f"{given['first_word']} "


def _paragraphs(text: _Text, given: Arguments) -> None:
    text.paragraphs, text.between = [""] * int(given["num_paragraphs"]), "\n***\n"


def _more(make: Callable[[Arguments], list[str]]) -> Callable[[_Text, Arguments], None]:
    return lambda text, given: text.inline.extend(make(given))


def _lines(make: Callable[[Arguments], list[str]]) -> Callable[[_Text, Arguments], None]:
    return lambda text, given: text.lines.extend(make(given))


def _with_letter(letter: str, count: int) -> list[str]:
    """So many words that hold the letter, or the letter itself where none of ours does."""
    words = [word for word in FILLER if letter.lower() in word] or [letter]
    return list(islice(cycle(words), count))


def _at_least(field: str, relation: str, number: str) -> Callable[[_Text, Arguments], None]:
    return lambda text, given: setattr(text, field, max(getattr(text, field), _count(given, relation, number)))


def _ending(make: Callable[[Arguments], str]) -> Callable[[_Text, Arguments], None]:
    def add(text: _Text, given: Arguments) -> None:
        text.end = f"{make(given)}\n{text.end}".strip()

    return add


def _last(text: _Text, given: Arguments) -> None:
    text.end = f"{text.end}\n{given['end_phrase']}".strip()


WANTS: dict[str, Callable[[_Text, Arguments], None]] = {
    "combination:repeat_prompt": _repeat,
    "detectable_format:title": _title,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _at_least("words", "relation", "num_words"),
    "length_constraints:number_sentences": _at_least("sentences", "relation", "num_sentences"),
    "keywords:existence": _more(lambda given: list(given["keywords"])),
    "keywords:frequency": _more(lambda given: [given["keyword"]] * _count(given, "relation", "frequency")),
    "keywords:letter_frequency": _more(
        lambda given: _with_letter(str(given["letter"]), _count(given, "let_relation", "let_frequency"))
    ),
    "change_case:capital_word_frequency": _more(
        lambda given: ["SO"] * _count(given, "capital_relation", "capital_frequency")
    ),
    "detectable_content:number_placeholders": _more(lambda given: ["[12]"] * int(given["num_placeholders"])),
    "detectable_format:number_highlighted_sections": _more(lambda given: ["*12*"] * int(given["num_highlights"])),
    "detectable_format:constrained_response": _more(lambda given: ["My answer is yes."]),
    "detectable_format:number_bullet_lists": _lines(lambda given: ["- 12"] * int(given["num_bullets"])),
    "detectable_format:multiple_sections": _lines(
        lambda given: [f"{given['section_spliter']} {number}" for number in range(1, int(given["num_sections"]) + 1)]
    ),
    "detectable_content:postscript": _ending(lambda given: f"{given['postscript_marker']} 12"),
    "startend:end_checker": _last,
}


IN_WORDS = {"keywords:existence", "keywords:frequency", "keywords:letter_frequency", "combination:repeat_prompt"}
"""Instructions that want words of English; a text in another language around them is not of this making."""


def answer_to(truth: str) -> str:
    """A text that keeps to all instructions of an IFEval ground truth; "" where none can be made.

    Raises:
        ValueError: as `instructions`.
    """
    asked = asked_of(truth)
    names = {name for name, _ in asked}
    foreign = any(given.get("language", "en") != "en" for _, given in asked)
    if foreign and names & IN_WORDS:
        return ""
    text = _Text(asked).written()
    if "combination:two_responses" in names:
        text = f"{text}\n******\n34\n{text}"  # another one, in whatever language
    if "change_case:english_capital" in names:
        text = text.upper()
    if "change_case:english_lowercase" in names:
        text = text.lower()
    if "detectable_format:json_format" in names:
        return json.dumps(text, ensure_ascii=False)  # a JSON text: in quotation marks, too
    return f'"{text}"' if "startend:quotation" in names else text


NOTHING = "zzz"
"""Breaks every instruction that wants something to be there."""


def answer_against(truth: str) -> str:
    """A text of one line that breaks one of the instructions; "" where each wants nothing but what any text has."""
    return next((text for name, given in asked_of(truth) if (text := _breaks(name, given))), "")


def _breaks(name: str, given: Arguments) -> str:
    if name == "punctuation:no_comma":
        return "one, two"
    if name == "change_case:english_lowercase":
        return NOTHING.upper()
    if name == "keywords:forbidden_words":
        return f"so {given['forbidden_words'][0]} so"
    if name == "language:response_language":
        return (
            "Das ist ein deutscher Satz über das Wetter und die Leute."
            if given["language"] == "en"
            else "This is an English sentence about the weather and the people."
        )
    if name == "keywords:letter_frequency" and given["let_relation"] == "at least":
        return "" if int(given["let_frequency"]) < 1 else re.sub(re.escape(given["letter"]), "", "zzz yyy", flags=re.I)
    if name == "length_constraints:number_paragraphs" and int(given["num_paragraphs"]) == 1:
        return ""
    return _many(name, given) if "less than" in given.values() else "" if given.get("num_sentences") == 1 else NOTHING


def _many(name: str, given: Arguments) -> str:
    """As much of it as breaks "less than"."""
    units = {
        "keywords:frequency": ("keyword", "frequency"),
        "keywords:letter_frequency": ("letter", "let_frequency"),
        "length_constraints:number_words": ("", "num_words"),
        "change_case:capital_word_frequency": ("", "capital_frequency"),
        "length_constraints:number_sentences": ("", "num_sentences"),
    }
    what, number = units[name]
    plain = "It is so." if name.endswith("sentences") else "SO"
    return " ".join([str(given[what]) if what else plain] * int(given[number]))
