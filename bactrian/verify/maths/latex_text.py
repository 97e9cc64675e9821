"""Tidies an answer in LaTeX before it is parsed: removes spacing and dollar signs, marks words and units.

Marked words stand between \x02 and \x03. "or" and "and" between answers become the commands \or and \and.
"""

import re
from collections.abc import Callable

from bactrian.verify.maths.spoken import with_digits
from bactrian.verify.maths.units import LETTERS, NAMES, POWERS, clock

UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "π": "\\pi ",
        "∞": "\\infty ",
        "√": "\\sqrt ",
        "×": "\\times ",
        "·": "\\cdot ",
        "⋅": "\\cdot ",
        "÷": "\\div ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\ne ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∈": "\\in ",
        "±": "\\pm ",
        "∅": "\\emptyset ",
        "ℝ": "\\mathbb{R}",
        "∖": "\\setminus ",
        "°": "\\degree ",
        "½": "\\frac{1}{2}",
        "²": "^2",
        "³": "^3",
        "’": "'",
        "\u00a0": " ",
        "％": "%",
        "θ": "\\theta ",
        "¢": "\\text{ cents}",
        "€": "\\text{ euros}",
        "≈": "\\approx ",
        "\x02": "",
        "\x03": "",
    }
)
DROPPED = re.compile(
    r"(?<!\\)\\(?:left|right|bf|rm|it|sf|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|quad|qquad|hspace\*?\{[^{}]*\})"
    r"(?![a-zA-Z])|(?<!\\)\\[,;:! ]|\\phantom(?![a-zA-Z])|(?<!\\)\$|~"
)
DEGREE = re.compile(r"(?:\{\s*\})?\^\s*(?:\{(?:\s|\\[,;:!])*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-zA-Z]))")
TEXT_COMMAND = re.compile(
    r"\\(?:text|mbox|hbox|textnormal|textbf|textit|textrm|mathrm|mathit|mathsf|operatorname|mathbf|rm|bf|boldsymbol)"
    r"\*?\s*\{"
)
GROUPED = re.compile(r"(?<=\d)(?:\{,\}|,?\\!\s*,?(?:\\!)?|\\,|\\ |~)(?=\d{3}(?!\d))")
"""What can only be a separator of thousands."""
MIXED = re.compile(r"(?<![\d./}])(\d+)\s+(\d+)/(\d+)(?![\d./])")
BASED = re.compile(r"[({]\s*(\d+)\s*[)}]\s*_")
ENDLESS = re.compile(r"(?<![\d.])(\d*\.\d+)\s*(?:\\[lcd]?dots(?![A-Za-z])|\.\.\.|…)")
"""A decimal that goes on: 0.1666…"""
CHOICE = re.compile(
    r"\A(?:\x02\(([A-J])\)\s*\x03|\(\s*\x02([A-J])\x03\s*\)|\(([A-J])\)(?=\s))"
    r"(?!\s*(?:\\(?:or|and|cup)|[,;=<>]))\s*(?=.*[^\s.])",
    re.DOTALL,
)
"""The letter of a choice before its value."""
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DATE = re.compile(rf"\x02?({'|'.join(MONTHS)})\x03?\s*(\d{{1,2}})(?!\d)(?:st|nd|rd|th)?\x03?")
ABOUT = re.compile(
    r"\A\s*(?:(\\approx)(?![A-Za-z])|\x02(?:approximately|approx\.?|about|roughly)\x03)\s*", re.IGNORECASE
)
"""A rounded value, by the sign or by a word."""
THOUSANDS = re.compile(r"(?<![\d,.])([1-9]\d{0,2}(?:,\d{3})+)(?![\d,])")
WORDS = re.compile(r"(?=.*[A-Za-z]{3})(?:[A-Za-z]{4,}[.!]?|[A-Za-z]+(?:(?:, ?|[ '\-])[A-Za-z]+)+[.!]?)")
BARE = re.compile(
    r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sqrt|infinity|infty|theta|alpha|beta|lambda|sin|cos|tan|cot|sec|csc|log|ln|exp"
    r"|pi|(?:max|min|gcd|lcm|floor|ceil|abs)(?=\s*\())(?![A-Za-z])"
)
"""Names of functions and constants that want their backslash."""
WRITTEN = {"infinity": "infty"}
ASCII = {"<=": "\\le ", ">=": "\\ge ", "!=": "\\ne ", "**": "^", "=<": "\\le "}
SYNONYMS = {
    "\\lor": "\\or ",
    "\\vee": "\\or ",
    "\\land": "\\and ",
    "\\wedge": "\\and ",
    "\\langle": "(",
    "\\rangle": ")",
}
SYNONYM = re.compile(r"(\\(?:lor|vee|land|wedge|langle|rangle))(?![A-Za-z])")
SCIENTIFIC = re.compile(r"(?<![\w.\\])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])")
JOINING = {"and": "\\and ", "or": "\\or "}
LETTER_UNIT = re.compile(r"[\d}%)][\s\\]*[mgshlL](?![A-Za-z])|/\s*[mgshlL](?![A-Za-z])")
"""Where a single letter may be a unit."""
RAW_JOINING = re.compile(r"(?<![\\A-Za-z])(?:and|or)(?![A-Za-z])", re.IGNORECASE)
UNIT_WORD = r"(?:[A-Za-z]+\.?)"
RAW_UNIT = re.compile(
    rf"(?:(?<=[\d}}%)])|(?<=\\pi)|(?<=\\pi ))(?P<gap>\s*)"
    rf"(?P<unit>{UNIT_WORD}(?:\s+{UNIT_WORD})*(?:\s*\^\s*(?:\d|\{{\s*\d\s*\}}))?"
    rf"(?:\s*/\s*{UNIT_WORD}(?:\s*\^\s*(?:\d|\{{\s*\d\s*\}}))?)?)(?=\s*(?:[,;]|\Z|\\and|\\or))"
)


def clean(latex: str, letters: bool = False) -> str:
    """The text without spacing commands and dollar signs; fractions of one name; words as \x02…\x03.

    `letters`: single letters after a number that may be units are units.
    """
    text = re.sub(r"(?:√|(?<![\\A-Za-z])sqrt)\s*(\d+(?:\.\d+)?)", r"\\sqrt{\1}", latex)
    text = re.sub(r"(?<![\\A-Za-z])cbrt(?=\s*\()", r"\\sqrt[3]", text)
    text = GROUPED.sub("", text.translate(UNICODE)).replace("{,}", ",").replace("{:}", ":").replace("\\!", "")
    text = MIXED.sub(r"\1\\frac{\2}{\3}", text.replace("\\not=", "\\ne "))
    text = ENDLESS.sub(lambda found: repeated(found[1]) or found[0], text)
    text = re.sub(r"(?<!\d)\.(?=\s*\\overline)", "0.", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", DEGREE.sub("\\\\degree ", text))
    text = re.sub(r"\\mathbb\s*\{?\s*([RZNQC])\s*\}?", r"\\mathbb\1 ", text)
    text = DROPPED.sub(" ", mark_words(text)).replace("\\%", "%").replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = BASED.sub(r"\1_", re.sub(r"\\\$", "\x02dollar\x03", text))
    text = re.sub("\\\\frac\\{\x02([^\x03]*)\x03\\}\\{\x02([^\x03]*)\x03\\}", "\x02\\1/\\2\x03", text)
    text = DATE.sub(lambda found: f"\x02{found[1]} {found[2]}\x03", text)
    text = SYNONYM.sub(lambda found: SYNONYMS[found[1]], SCIENTIFIC.sub(r"\1\\cdot 10^{\2}", text))
    for written, meant in ASCII.items():
        text = text.replace(written, meant)
    text = outside(RAW_JOINING, lambda found: JOINING[found[0].lower()], text)
    text = outside(BARE, lambda found: "\\" + WRITTEN.get(found[1], found[1]) + " ", text)
    text = text.strip().rstrip(".").strip()
    whole = clock(re.sub("[\x02\x03]", " ", text).strip())
    if whole:
        return f"\x02{whole.hour}:{whole.minute:02d} {whole.half or 'oclock'}\x03"
    text = outside(RAW_UNIT, lambda found: raw_unit(found, letters), text)
    return text.removesuffix("\\").strip()


def outside(pattern: re.Pattern[str], change: Callable[[re.Match[str]], str], text: str) -> str:
    """The text with what a pattern finds changed, but in marked words."""
    parts = re.split("(\x02[^\x03]*\x03)", text)
    return "".join(part if part.startswith("\x02") else pattern.sub(change, part) for part in parts)


def raw_unit(found: re.Match[str], letters: bool) -> str:
    """Words after a number, marked where they are a unit or a noun, not a product of unknowns."""
    unit = re.sub(r"\\|(?<=\^)\s+|\s+(?=\^)", "", found["unit"]).strip()
    words = [re.sub(r"[^A-Za-z]", "", word) for word in re.split(r"[\s/]+", re.sub(r"\^.*?(?=/|\Z)", "", unit))]
    if words[-1].lower() in JOINING or words[0].lower() in JOINING:
        return found[0]
    single = [word for word in words if len(word) == 1]
    after_pi = found.string[: found.start()].rstrip().endswith("\\pi")
    if single and (after_pi or not letters or not all(word in LETTERS for word in single)):
        return found[0]
    named = all(word.lower() in NAMES or word.lower() in POWERS for word in words)
    spoken = bool(found["gap"]) and all(len(word) > 1 for word in words) and len(words[-1]) >= 4
    return f"\x02{unit}\x03" if named or spoken else found[0]


def mark_words(text: str) -> str:
    """\\text{…} and its like become \x02…\x03, lists in them lists."""
    parts, at = [], 0
    for found in TEXT_COMMAND.finditer(text):
        if found.start() < at:
            continue
        end = closing_brace(text, found.end() - 1)
        bold = found[0].startswith(("\\mathbf", "\\boldsymbol", "\\bf"))
        words = re.sub(r"[\\{}$]", "", text[found.end() : end].replace("\\%", "%"))
        parts += [text[at : found.start()], words if bold and len(words) == 1 else said(words, text[end + 1 : end + 9])]
        at = end + 1
    return "".join([*parts, text[at:]])


SEPARATORS = re.compile(r"\s*(,?\s*\b(?:and|or)\b|,)\s*")
FUNCTION_NAMES = ("sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "max", "min", "gcd", "lcm", "cis")


def said(words: str, following: str) -> str:
    """What stands in a \\text{…}: mathematics as it is, words marked, "and" and "or" as commands."""
    words = words.replace("\x02", "").replace("\x03", "")
    if not re.search(r"[^\W\d_]", words):
        return words if words.strip() else " "
    if words.strip() in FUNCTION_NAMES and (words.strip() not in ("min", "sec") or following.lstrip()[:1] == "("):
        return f"\\{words.strip()} "
    bare = words.strip()
    parts = SEPARATORS.split(bare)
    if len(parts) == 1 or HEDGED.search(bare):
        return said_once(bare)
    return " ".join(separator(part) if at % 2 else said_once(part) for at, part in enumerate(parts))


HEDGED = re.compile(r"\b(?:maybe|perhaps|possibly|probably|or (?:so|more|less|fewer)|if|either|guess)\b|[?]")


def separator(text: str) -> str:
    return JOINING.get(text.strip(" ,").lower(), ", ") if text.strip() != "," else ", "


def said_once(piece: str) -> str:
    """One item of a list in words: a number, a number with its unit, or words."""
    piece = with_digits(piece.strip())
    found = re.fullmatch(r"(-?\d[\d.,/]*)\s*(.*)", piece, re.DOTALL)
    if clock(piece):
        return f"\x02{piece.strip()}\x03"
    if found and found[2].lower() not in ("st", "nd", "rd", "th"):
        return found[1] + (f"\x02{found[2]}\x03" if found[2] else "")
    return f"\x02{piece.strip()}\x03" if piece.strip() else ""


def repeated(decimal: str) -> str | None:
    """A decimal that goes on as one with an overline, if its last digits repeat; the shortest period is taken."""
    whole, _, digits = decimal.partition(".")
    for period in range(1, len(digits) // 2 + 1):
        block = digits[-period:]
        count = 1
        while digits.endswith(block * (count + 1)):
            count += 1
        if count >= 2 and period * count >= 3:
            return f"{whole or 0}.{digits[: len(digits) - period * count]}\\overline{{{block}}}"
    return None


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
