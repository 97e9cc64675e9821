"""What an answer in LaTeX is tidied to before it is parsed: spacing and dollar signs go, words and units are marked."""

import re

UNICODE = str.maketrans({
    "−": "-", "–": "-", "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt ", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ",
    "÷": "\\div ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ",
    "∅": "\\emptyset ",
    "°": "", "½": "\\frac{1}{2}", "²": "^2", "³": "^3", "’": "'", "\u00a0": " ", "％": "%", "θ": "\\theta ",
})  # fmt: skip
DROPPED = re.compile(
    r"(?<!\\)\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|quad|qquad|hspace\*?\{[^{}]*\})"
    r"(?![a-zA-Z])|(?<!\\)\\[,;:! $]|\\phantom(?![a-zA-Z])|\A\s*\\approx|\$|~"
    r"|\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])"
)
TEXT_COMMAND = re.compile(
    r"\\(?:text|mbox|textnormal|textbf|textit|textrm|mathrm|operatorname|mathbf|rm|bf|boldsymbol)\*?\s*\{"
)
THOUSANDS = re.compile(r"(?<![\d,.])([1-9]\d{0,2}(?:,\d{3})+)(?![\d,])")
WORDS = re.compile(r"[A-Za-z]{4,}[.!]?|[A-Za-z]+(?:[ '\-][A-Za-z]+)+[.!]?")
UNITS = re.compile(
    r"(?<=[\d}%)])\s*\\?\s*(?P<unit>(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:cm|mm|km|kg|inch(?:es)?|in|feet|foot|ft|miles?"
    r"|met(?:er|re)s?|yards?|units?|degrees?|dollars?|cents?|hours?|minutes?|seconds?|days?|weeks?|months?|years?"
    r"|percent|pounds?|ounces?|liters?|mph|students?|people|ways|cm\^?2|points?))(?:\s*\^\s*\{?\d\}?)?\s*\.?\Z",
    re.IGNORECASE,
)


def clean(latex: str) -> str:
    """The text without spacing commands, dollar and degree signs; fractions of one name; words as \x02…\x03."""
    text = latex.translate(UNICODE).replace("\x02", "").replace("\x03", "").replace("{,}", ",").replace("\\!", "")
    text = re.sub(r"(?<=\d)\\,(?=\d{3})", "", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\mathbb\s*\{?\s*([RZNQC])\s*\}?", r"\\mathbb\1 ", text)
    text = DROPPED.sub(" ", mark_words(text)).replace("\\%", "%").replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    unit = UNITS.search(text)
    if unit:
        text = f"{text[: unit.start()]}\x02{unit['unit']}\x03"
    text = text.strip().rstrip(".").strip()
    return text.removesuffix("\\").strip()


def mark_words(text: str) -> str:
    """\\text{…} and its like become \x02…\x03; "and" and "or" in it a comma."""
    parts, at = [], 0
    for found in TEXT_COMMAND.finditer(text):
        if found.start() < at:
            continue
        end = closing_brace(text, found.end() - 1)
        words = re.sub(r"[\\{}$]", "", text[found.end() : end]).strip()
        joined = "," if words.strip(" ,") in ("and", "or") else f"\x02{words}\x03" if words else " "
        joined = words if re.fullmatch(r"-?[\d.]+", words) else joined
        parts += [text[at : found.start()], joined]
        at = end + 1
    return "".join([*parts, text[at:]])


def closing_brace(text: str, opening: int) -> int:
    """Where the brace that opens at `opening` closes; the end of the text if nowhere."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    return len(text)


def top_level_commas(text: str) -> bool:
    """Whether commas between digits may group thousands: not inside brackets, where they part coordinates."""
    return THOUSANDS.search(text) is not None and not re.search(r"[(\[|]|\\\{", text)
