"""Where the answer stands in a worked solution; how Minerva and Hendrycks write answers before they compare them."""

import re
from collections.abc import Iterator

from bactrian.verify.maths.gsm8k import last
from bactrian.verify.maths.latex_text import closing_brace
from bactrian.verify.maths.units import known

TEXT_LIMIT = 20_000
"""Characters considered, from the end."""
FINAL = ("Final Answer: The final answer is", ". I hope it is correct.")
LOOSE = re.compile(r"\banswer(?:\s+is|\s*:)[\s:*]{0,8}", re.IGNORECASE)
BOXED = re.compile(r"\\(?:boxed|fbox)\s*(\{|\s[^${]+)")
JOINED = re.compile(r"\s*(?:,?\s*or|,)\s*")
HEDGE = re.compile(r"\b(?:or|maybe|perhaps|possibly|probably)\b|\?")
UNIT_WORDS = (
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
    '"',
    "\\dots",
)
"""Deleted wherever they stand in a text, inside of words too, as the original does [Lewkowycz et al. 2022]."""


def boxed(text: str) -> str | None:
    """What the last \\boxed{…} or \\fbox{…} holds, braces balanced; also `\\boxed 7$`."""
    found = last(BOXED.finditer(text))
    if found is None:
        return None
    if not found[1].startswith("{"):
        return found[1].strip()
    return text[found.start(1) + 1 : closing_brace(text, found.start(1))]


def final_phrase(text: str) -> str | None:
    """What stands between the two phrases of Minerva's format; the closing one is added where the text lacks it."""
    opening, closing = FINAL
    _, found, tail = (text + closing).rpartition(opening)
    return tail.partition(closing)[0].strip() if found else None


def last_math(text: str) -> str | None:
    """What stands between the last two dollar signs, with what "or" joins to it: an alternative is no answer."""
    parts = text.replace("$$", "$").split("$")
    parts = parts[: len(parts) - 1 + len(parts) % 2]
    if len(parts) < 3:
        return None
    found, at = parts[-2], len(parts) - 2
    while at > 1 and JOINED.fullmatch(parts[at - 1]) and ("or" in parts[at - 1] or found != parts[-2]):
        at -= 2
        found = f"{parts[at]} \\text{{ or }} {found}"
    return found


def loose_phrase(text: str) -> str | None:
    """The rest of the line after the last "answer is" or "answer:"; of "5 apples" the 5, of "5 or 6" all,
    of "5 cm each" the 5 cm.
    """
    found = last(LOOSE.finditer(text))
    line = text[found.end() :].strip().split("\n")[0].strip().strip("*").rstrip(".") if found else None
    start = re.match(r"\$[^$]+\$|\\\(.+?\\\)|-?[\d,.]*\d(?:/\d+)?(?=\s+[a-z]{2})", line) if line else None
    if not start or not line or HEDGE.search(" ".join(line[start.end() :].split()[:3])):
        return line
    unit = re.match(r"\s+([A-Za-z]+)", line[start.end() :])
    named = unit is not None and unit[1] != "in" and known(unit[1]) is not None
    return start[0].strip("\\()") + (f" {unit[1]}" if unit and named else "")


def last_number(text: str) -> str | None:
    """The number with which a text ends, if it is no alternative."""
    found = re.search(r"(?<![\w.,])-?[\d,]*\.?\d+(?:/\d+)?(?=[\s.!*]*\Z)", text[-200:])
    alternative = found and re.search(r"\b(?:or|maybe|perhaps|possibly)\s+\Z", text[-200:][: found.start()])
    return found[0] if found and not alternative else None


def candidates(text: str) -> Iterator[str]:
    """The answers that a text may be taken to give (docs/methods.md): all are compared, one must be right.

    The last box; Minerva's phrase; with neither, what follows "answer is" and the last formula; with none of them, the
    number with which it ends, its last line and the whole text.
    """
    sure = [found for found in (boxed(text), final_phrase(text)) if found is not None]
    likely = sure or [found for found in (loose_phrase(text), last_math(text)) if found is not None]
    yield from likely or [end for end in (last_number(text), text.strip().split("\n")[-1], text.strip()) if end]


def minerva(answer: str) -> str:
    """Minerva's normalisation of a final answer, its accidents included."""
    answer = answer.split("=")[-1]
    for old, new in (("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), (r"\ ", ""), (" ", ""), ("mbox", "text")):
        answer = answer.replace(old, new)
    answer = answer.replace(",\\text{and}", ",").replace("\\text{and}", ",").replace("\\text{m}", "\\text{}")
    for word in UNIT_WORDS:
        answer = answer.replace(word, "")
    answer = re.sub(r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$", answer)
    for command in ("text", "textbf", "overline"):
        answer = re.sub(rf"(\\{command}\{{)(.*?)(\}})", r"\2", answer)
    answer = re.sub(r"(\\boxed\{)(.*)(\})", r"\2", answer)
    answer = re.sub(r"(frac)([^{])(.)", r"frac{\2}{\3}", answer)
    answer = re.sub(r"(sqrt)([^{])", r"sqrt{\2}", answer).replace("$", "")
    return answer.replace(",", "") if answer.replace(",", "").isdigit() else answer


def hendrycks(answer: str) -> str:
    """The normalisation of the MATH data set's own evaluation [Hendrycks et al. 2021]."""
    for old, new in (
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
        ("\\%", ""),
        ("%", ""),
    ):
        answer = answer.replace(old, new)
    answer = answer.split("\\text{ ")[0] if answer.count("\\text{ ") == 1 else answer
    answer = re.sub(r"(?<![\d.])\.(?=\d)", "0.", answer)
    left, equals, right = answer.partition("=")
    answer = right if equals and "=" not in right and len(left.strip()) <= 2 else answer
    answer = re.sub(r"\\sqrt\s*([^{\s])", r"\\sqrt{\1}", answer).replace(" ", "")
    answer = re.sub(r"\\frac([^{])(\d(?!\})|[a-zA-Z](?!\}))", r"\\frac{\1}{\2}", answer)
    answer = "\\frac{1}{2}" if answer == "0.5" else answer
    return re.sub(r"\A(-?\d+)/(-?\d+)\Z", r"\\frac{\1}{\2}", answer)
