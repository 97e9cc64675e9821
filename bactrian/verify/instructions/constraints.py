"""IFEval's 25 constraints [Zhou et al. 2023], as the published evaluation checks them, oddities included.

Each is a function of the text and of the arguments that the instruction's `kwargs` give. Keywords are regular
expressions, as in the original; they come from the data set, not from a model.
"""

import json
import re
from collections.abc import Callable, Sequence

from bactrian.verify.instructions.language import language, sentences, tokens, words

Constraint = Callable[..., bool]
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
FENCE = re.compile(r"\A(?:```json)?(?:```Json)?(?:```JSON)?(?:```)?")
PLACEHOLDER = re.compile(r"\[.*?\]")
STAR_BULLET, DASH_BULLET = re.compile(r"^\s*\*[^*].*$", re.MULTILINE), re.compile(r"^\s*-.*$", re.MULTILINE)
ONE_STAR, TWO_STARS = re.compile(r"\*[^\n*]*\*"), re.compile(r"\*\*[^\n*]*\*\*")
DIVIDER = re.compile(r"\s?\*\*\*\s?")
TITLE = re.compile(r"<<[^\n]+>>")
WORD_END = re.compile(r"[.,?!'\"]")


def holds(count: int, relation: str, wanted: int) -> bool:
    """ "less than" or "at least".

    Raises:
        ValueError: for another relation.
    """
    if relation not in ("less than", "at least"):
        raise ValueError(f"relation: found {relation!r}, expected 'less than' or 'at least'")
    return count < wanted if relation == "less than" else count >= wanted


def existence(text: str, keywords: Sequence[str]) -> bool:
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return holds(len(re.findall(keyword, text, re.IGNORECASE)), relation, frequency)


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return holds(text.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(text: str, language: str) -> bool:
    return in_language(text, language)


def in_language(text: str, code: str) -> bool:
    """A text in which no language is found passes."""
    return language(text) in (code, None)


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    return holds(len(sentences(text)), relation, num_sentences)


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Parts between `***`; the first and the last may be blank and then do not count, one between may not be."""
    parts = [bool(part.strip()) for part in DIVIDER.split(text)]
    return all(parts[1:-1]) and sum(parts) == num_paragraphs


def number_words(text: str, num_words: int, relation: str) -> bool:
    return holds(len(words(text)), relation, num_words)


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Blank parts are not counted, but the n-th is found by counting them, as in the original."""
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if count != num_paragraphs or nth_paragraph > count or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return WORD_END.split(word)[0].lower() == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    return len(PLACEHOLDER.findall(text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    return re.search(known.get(marker, marker.lower()), text.lower()) is not None


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    return len(STAR_BULLET.findall(text)) + len(DASH_BULLET.findall(text)) == num_bullets


def constrained_response(text: str) -> bool:
    return any(option in text for option in OPTIONS)


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """`**so**` counts once here: as `*…*` it is empty twice over, and the text between is found by the second form."""
    single = sum(bool(found.strip("*").strip()) for found in ONE_STAR.findall(text))
    double = sum(bool(found.removeprefix("**").removesuffix("**").strip()) for found in TWO_STARS.findall(text))
    return single + double >= num_highlights


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{section_spliter}\s?\d+\s?", text)) >= num_sections


def json_format(text: str) -> bool:
    try:
        json.loads(FENCE.sub("", text.strip(), count=1).removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    return any(found.lstrip("<").rstrip(">").strip() for found in TITLE.findall(text))


def two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == '"' == text[-1]


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    return holds(sum(token.isupper() for token in tokens(text)), capital_relation, capital_frequency)


def english_capital(text: str) -> bool:
    return text.isupper() and in_language(text, "en")


def english_lowercase(text: str) -> bool:
    return text.islower() and in_language(text, "en")


def no_comma(text: str) -> bool:
    return "," not in text


CONSTRAINTS: dict[str, Constraint] = {
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}
