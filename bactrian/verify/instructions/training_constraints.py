"""The 25 constraints that instruction-following data for RL carry [Tülu 3], and their verifier `instructions`.

They have the names and arguments of the public training sets, and are not the evaluation's (constraints.py): counts are
exact, "around" allows a margin. Where the published training checks can be passed cheaply, ours are
stricter, as RL finds such ways: an option counts only if no other is there too, a postscript only at a line's start,
highlights only with something in them; docs/verifiers.md lists these.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bactrian.verify.instructions import ifeval
from bactrian.verify.instructions.constraints import Constraint
from bactrian.verify.instructions.language import language as language_of
from bactrian.verify.instructions.language import sentences
from bactrian.verify.registry import register, truth
from bactrian.verify.verdict import Example, Problem, Verdict

DIVIDER = re.compile(r"\*\s?\*\s?\*")
HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,2})(?=[^\s*])([^*\n]{1,2000})\1(?!\*)")
BULLET = re.compile(r"^[ \t]*[*-](?![*-])", re.MULTILINE)
CAPITALS = re.compile(r"\b[A-Z]+\b")


def near(count: int, quantifier: str, wanted: int, margin: int) -> bool:
    """ "at least", "at most", or "around": at most `margin` away.

    Raises:
        ValueError: for another quantifier.
    """
    bounds = {"at least": count >= wanted, "at most": count <= wanted, "around": abs(count - wanted) <= margin}
    if quantifier not in bounds:
        raise ValueError(f"quantifier: found {quantifier!r}, expected one of {', '.join(bounds)}")
    return bounds[quantifier]


def tenth(n: int) -> int:
    """What "around" allows of words: a tenth, and at least 1."""
    return max(1, round(n / 10))


def whole_words(phrase: str, text: str) -> int:
    """How often a phrase occurs, letter case aside, not as part of longer words."""
    return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE))


def keywords(text: str, keyword_list: Sequence[str]) -> bool:
    return all(keyword.lower() in text.lower() for keyword in keyword_list)


def keyword_frequency(text: str, word: str, N: int) -> bool:
    return whole_words(word, text) == N


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(word.lower() in text.lower() for word in forbidden_words)


def letter_frequency(text: str, letter: str, N: int) -> bool:
    """Of this letter, in this case."""
    return text.count(letter) == N


def response_language(text: str, language: str) -> bool:
    """Unlike in the evaluation, a text in no language at all fails."""
    return language_of(text) == language


def paragraph_count(text: str, N: int) -> bool:
    """Between dividers `* * *` (or `***`), none empty."""
    parts = [part.strip() for part in DIVIDER.split(text)]
    return len(parts) == N and all(parts)


def word_count(text: str, N: int, quantifier: str) -> bool:
    return near(len(text.split()), quantifier, N, tenth(N))


def sentence_count(text: str, N: int, quantifier: str) -> bool:
    return near(len(sentences(text)), quantifier, N, 1)


def paragraphs(text: str, N: int, first_word: str, i: int) -> bool:
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    return len(parts) == N and 1 <= i <= N and parts[i - 1].lower().startswith(first_word.lower())


def postscript(text: str, postscript_marker: str) -> bool:
    """A line that begins with the marker and says something more."""
    marker = re.escape(postscript_marker)
    return re.search(rf"^[ \t*]*{marker}[ \t]*[^\s.:*]", text, re.MULTILINE) is not None


def placeholders(text: str, N: int) -> bool:
    return len(re.findall(r"\[[^\[\]\n]+\]", text)) >= N


def bullet_points(text: str, N: int) -> bool:
    return len(BULLET.findall(text)) == N


def title(text: str) -> bool:
    return re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text) is not None


def choice(text: str, options: Sequence[str]) -> bool:
    """Exactly one of the options; one that is part of a longer one that is there does not count."""
    there = [option for option in options if whole_words(option, text)]
    return len([a for a in there if not any(a != b and a.lower() in b.lower() for b in there)]) == 1


def highlighted_sections(text: str, N: int) -> bool:
    return len(HIGHLIGHT.findall(text)) >= N


def sections(text: str, N: int, section_splitter: str) -> bool:
    """Headings of the splitter and a number, each number once."""
    numbers = re.findall(rf"(?<!\w){re.escape(section_splitter)}\s?(\d+)", text, re.IGNORECASE)
    return len(set(numbers)) == N


def json_format(text: str) -> bool:
    """The text and nothing else, but perhaps a fence around it, is a JSON object or array."""
    inside = re.sub(r"\A```(?:json)?\s*|\s*```\Z", "", text.strip(), flags=re.IGNORECASE)
    try:
        return isinstance(json.loads(inside), dict | list)
    except (ValueError, RecursionError):
        return False


def repeat_prompt(text: str, original_prompt: str) -> bool:
    """The prompt, and after it something more."""
    start, text = original_prompt.strip(), text.strip()
    return text.startswith(start) and len(text) > len(start)


def two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def uppercase(text: str) -> bool:
    return text.isupper()


def lowercase(text: str) -> bool:
    return text.islower()


def frequency_capital_words(text: str, N: int, quantifier: str) -> bool:
    return near(len(CAPITALS.findall(text)), quantifier, N, tenth(N))


def end(text: str, end_phrase: str) -> bool:
    return text.strip().endswith(end_phrase.strip())


def quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 2 and text[0] == '"' == text[-1]


def no_commas(text: str) -> bool:
    return "," not in text


TRAINING: dict[str, Constraint] = {
    "verify_keywords": keywords,
    "verify_keyword_frequency": keyword_frequency,
    "validate_forbidden_words": forbidden_words,
    "verify_letter_frequency": letter_frequency,
    "validate_response_language": response_language,
    "verify_paragraph_count": paragraph_count,
    "validate_word_constraint": word_count,
    "verify_sentence_constraint": sentence_count,
    "validate_paragraphs": paragraphs,
    "verify_postscript": postscript,
    "validate_placeholders": placeholders,
    "verify_bullet_points": bullet_points,
    "validate_title": title,
    "validate_choice": choice,
    "validate_highlighted_sections": highlighted_sections,
    "validate_sections": sections,
    "validate_json_format": json_format,
    "validate_repeat_prompt": repeat_prompt,
    "validate_two_responses": two_responses,
    "validate_uppercase": uppercase,
    "validate_lowercase": lowercase,
    "validate_frequency_capital_words": frequency_capital_words,
    "validate_end": end,
    "validate_quotation": quotation,
    "validate_no_commas": no_commas,
}


def asked_of(problem: Problem) -> list[ifeval.Instruction]:
    """The constraints of a ground truth: one object {"func_name", arguments…} or a list of them.

    Null arguments, and those that the constraint does not have, are left out: the public set gives
    each row all columns.

    Raises:
        ValueError: for another layout or an unknown name.
    """
    given = truth(problem)
    each = given if isinstance(given, list) else [given]
    if not each or not all(isinstance(one, Mapping) and "func_name" in one for one in each):
        raise ValueError('expected an object with "func_name" and arguments, or a list of such objects')
    return [_instruction(one) for one in each]


def _instruction(given: Mapping[str, Any]) -> ifeval.Instruction:
    name = str(given["func_name"])
    if name not in TRAINING:
        raise ValueError(f"no constraint is called {name!r}; expected one of {', '.join(TRAINING)}")
    function = TRAINING[name]
    known = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    return name, {key: value for key, value in ifeval.drop_nulls(given).items() if key in known}


def check_truth(problem: Problem) -> None:
    ifeval.check_credit(problem)
    ifeval.check_instructions(asked_of(problem), TRAINING)


def ask(func_name: str, **arguments: Any) -> str:
    return json.dumps({"func_name": func_name, **arguments})


TWO = json.dumps([{"func_name": "validate_no_commas", "N": None}, {"func_name": "validate_lowercase"}])
EXAMPLES = (
    Example("no comma, none", ask("validate_no_commas"), "wrong"),
    Example("no comma", ask("validate_no_commas"), "right"),
    Example("", ask("validate_no_commas"), "unparsable"),
    Example("all small", TWO, "right"),
    Example("Not small", TWO, "wrong"),
    Example("bees bees beeswax", ask("verify_keyword_frequency", word="bees", N=2), "right"),
    Example("bees bees beeswax", ask("verify_keyword_frequency", word="bees", N=3), "wrong"),
    Example("a b c d e f g h i", ask("validate_word_constraint", N=10, quantifier="around"), "right"),
    Example("a b c d e f g h", ask("validate_word_constraint", N=10, quantifier="around"), "wrong"),
    Example("yes", ask("validate_choice", options=["yes", "no"]), "right"),
    Example("yes no", ask("validate_choice", options=["yes", "no"]), "wrong"),
    Example("Bees.\nP.S. They sting.", ask("verify_postscript", postscript_marker="P.S."), "right"),
    Example("Bees. P.S.", ask("verify_postscript", postscript_marker="P.S."), "wrong"),
)


@register(
    "instructions",
    examples=EXAMPLES,
    place="worker",
    settings={"credit": "partial", "loose": False},
    check_truth=check_truth,
    of_form=True,
)
def instructions(problem: Problem, completion: str) -> Verdict:
    """Score: the share of the constraints that the text keeps to, or with `credit` "all" 1 for all and else 0."""
    return ifeval.verdict(problem, completion, TRAINING, asked_of(problem), problem.settings["loose"])
