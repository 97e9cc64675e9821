"""The tokens of an answer in LaTeX, the commands that are known, and a reader over the tokens."""

import re
from fractions import Fraction

from bactrian.verify.maths.answer_tree import Large, Node, Quantity, UnreadableAnswer

DEPTH_LIMIT = 40


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


APPLIED = names("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp")
LISTED = names("max min gcd lcm")
SYMBOLS = names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega pi ell infty emptyset mathbbR mathbbZ mathbbN "
    "mathbbQ mathbbC"
)
TRIGONOMETRIC = names("sin cos tan cot sec csc")
ROUNDED = names("floor ceil abs")
COMMANDS = APPLIED | LISTED | ROUNDED | SYMBOLS | names("frac sqrt binom { lfloor lceil lvert begin overline vec")
"""What a factor may begin with, but for letters, digits and brackets."""
BARS = {"|": "|", "\\lvert": "\\rvert", "\\vert": "\\vert", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "\\le": "≤",
    "\\leq": "≤",
    "\\leqslant": "≤",
    "\\lt": "<",
    "\\ge": "≥",
    "\\geq": "≥",
    "\\geqslant": "≥",
    "\\gt": ">",
    "\\ne": "≠",
    "\\neq": "≠",
    ":": ":",
    "\\mid": ":",
    "\\colon": ":",
}
TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+|\.(?=\s*\\overline))?|\.\d+)|"
    r"(?P<command>\\(?:[a-zA-Z]+|.))|(?P<text>\x02[^\x03]*\x03)|(?P<sign>\S)",
    re.DOTALL,
)


def repeating(token: str, digits: str) -> Fraction:
    """0.1 and 6 → 0.1666….

    Raises:
        UnreadableAnswer: where nothing repeats.
    """
    if "." not in token or not digits or len(digits) > 20:
        raise UnreadableAnswer("an overline that repeats no digits")
    places = len(token.partition(".")[2])
    return Fraction(token) + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)


class Reader:
    """Goes over tokens; `at` is the next one. `unit` is that of the sum being read."""

    def __init__(self, text: str) -> None:
        self.tokens = [found[0] for found in TOKEN.finditer(text)]
        self.at = self.depth = 0
        self.unit = ""

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *wanted: str) -> str:
        return self.take() if self.peek() in wanted and self.peek() else ""

    def expect(self, *wanted: str) -> str:
        if not self.accept(*wanted):
            raise UnreadableAnswer(f"found {self.peek()!r}, expected {' or '.join(wanted)}")
        return self.tokens[self.at - 1]

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise Large("nested too deeply")

    def lift(self, node: Node) -> Node:
        """The value of a quantity in brackets; its unit becomes that of what the brackets are part of."""
        if isinstance(node, Quantity):
            self.unit = self.unit or node.unit
            return node.value
        return node

    def digits(self) -> str:
        self.expect("{")
        token = self.take() if self.peek().isdigit() else ""
        self.expect("}")
        return token

    def environment(self) -> str:
        self.expect("{")
        letters = []
        while not self.accept("}"):
            if not self.peek():
                raise UnreadableAnswer("ends too early")
            letters.append(self.take())
        return "".join(letters)
