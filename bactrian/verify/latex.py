"""An answer in LaTeX as a tree: numbers, symbols, functions, tuples, intervals, sets, matrices, relations, words.

Our own parser, for short answers as competition mathematics has them, tolerant of how models write them ("2^10",
"1/2", "√3", "x ≥ 3"). Its work is bounded by the length of the text, and it never evaluates text as code. What it does
not know raises Unreadable.
"""

import re
from fractions import Fraction

from bactrian.verify.answer_tree import Answer, Based, Call, Group, Large, Matrix, Node, Num, Rel, Sym, Text, Unreadable
from bactrian.verify.latex_text import THOUSANDS, WORDS, clean, top_level_commas

LENGTH_LIMIT, DEPTH_LIMIT = 1_000, 40


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


APPLIED = names("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp")
LISTED = names("max min gcd lcm")
SYMBOLS = names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega pi ell infty emptyset mathbbR mathbbZ mathbbN "
    "mathbbQ mathbbC"
)
COMMANDS = APPLIED | LISTED | SYMBOLS | names("frac sqrt binom { lfloor lceil lvert begin overline vec")
"""What a factor may begin with, but for letters, digits and brackets."""
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\le": "≤", "\\leq": "≤", "\\leqslant": "≤", "\\lt": "<", "\\ge": "≥", "\\geq": "≥",
    "\\geqslant": "≥", "\\gt": ">", "\\ne": "≠", "\\neq": "≠", ":": ":",
}  # fmt: skip
TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+|\.(?=\s*\\overline))?|\.\d+)|"
    r"(?P<command>\\(?:[a-zA-Z]+|.))|(?P<text>\x02[^\x03]*\x03)|(?P<sign>\S)",
    re.DOTALL,
)


def parse(latex: str) -> list[Answer]:
    """All readings of an answer: one, or two where commas may group thousands or part a list ("100,200").

    Raises Unreadable.
    """
    if len(latex) > LENGTH_LIMIT:
        raise Large(f"more than {LENGTH_LIMIT} characters")
    text = clean(latex)
    if not text:
        raise Unreadable("empty")
    if WORDS.fullmatch(text):
        return [Answer(Text(text))]
    forms = [THOUSANDS.sub(lambda found: found[1].replace(",", ""), text)] if top_level_commas(text) else []
    return [Parser(form).answer() for form in dict.fromkeys([*forms, text])]


class Parser:
    """Recursive descent over tokens; `at` is the next one."""

    def __init__(self, text: str) -> None:
        self.tokens = [found[0] for found in TOKEN.finditer(text)]
        self.at = self.depth = 0
        self.unit = ""

    def answer(self) -> Answer:
        tree = self.listing(())
        if self.at < len(self.tokens):
            raise Unreadable(f"unexpected {self.tokens[self.at]!r}")
        return Answer(tree, self.unit)

    # reading tokens

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *wanted: str) -> str:
        return self.take() if self.peek() in wanted and self.peek() else ""

    def expect(self, *wanted: str) -> str:
        if not self.accept(*wanted):
            raise Unreadable(f"found {self.peek()!r}, expected {' or '.join(wanted)}")
        return self.tokens[self.at - 1]

    # grammar, loosest first

    def listing(self, ends: tuple[str, ...]) -> Node:
        items = self.items(ends)
        return items[0] if len(items) == 1 else Group("", "", tuple(items))

    def items(self, ends: tuple[str, ...]) -> list[Node]:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise Large("nested too deeply")
        items = [self.relation()]
        while self.accept(",", ";"):
            while self.accept(","):
                pass
            if self.peek() in ("", *ends):
                break
            items.append(self.relation())
        self.depth -= 1
        return items

    def relation(self) -> Node:
        items, ops = [self.union()], list[str]()
        while sign := self.accept("\\in", *RELATIONS):
            if sign == "\\in":  # x ∈ S says S
                items, ops = [self.union()], []
            else:
                ops.append(RELATIONS[sign])
                items.append(self.union())
        return Rel(tuple(ops), tuple(items)) if ops else items[0]

    def union(self) -> Node:
        parts = [self.sum()]
        while self.accept("\\cup"):
            parts.append(self.sum())
        return Call("union", tuple(parts)) if len(parts) > 1 else parts[0]

    def sum(self) -> Node:
        total: Node | None = None
        while True:
            sign = self.accept("+", "-", "\\pm", "\\mp")
            if total is not None and not sign:
                return total
            term = self.term()
            if sign in ("\\pm", "\\mp"):
                term = Call("pm" if sign == "\\pm" else "mp", (term,))
            elif sign == "-":
                term = negative(term)
            total = term if total is None else Call("add", (total, term))

    def term(self) -> Node:
        product = self.factor()
        while True:
            if self.accept("\\cdot", "\\times", "*"):
                product = Call("mul", (product, self.signed()))
            elif self.accept("/", "\\div"):
                product = Call("div", (product, self.signed()))
            elif self.accept("%"):
                product = Call("percent", (product,))
            elif self.peek().startswith("\x02") and not self.unit:
                self.unit = self.take()[1:-1].strip()
                if self.accept("^"):
                    exponent = self.argument()
                    self.unit += f"^{exponent.value}" if isinstance(exponent, Num) else ""
            elif self.starts_factor():
                if self.peek()[0] in ".0123456789" and self.tokens[self.at - 1][-1].isdigit():
                    raise Unreadable("two numbers side by side")
                product = self.times(product, self.factor())
            else:
                return product

    def times(self, left: Node, right: Node) -> Node:
        """Side by side: a product, or a mixed number like 1\\frac{2}{3}."""
        whole = isinstance(left, Num) and left.value.denominator == 1
        parts = right.args if isinstance(right, Call) and right.name == "div" else ()
        if whole and parts and all(isinstance(part, Num) and part.value.denominator == 1 for part in parts):
            return Call("add", (left, right))
        return Call("mul", (left, right))

    def signed(self) -> Node:
        return Call("neg", (self.signed(),)) if self.accept("-") else self.factor()

    def starts_factor(self) -> bool:
        token = self.peek()
        known = token[:1] == "\\" and token[1:] in COMMANDS
        return bool(token) and (token.isalnum() or token in ("(", "[", "{") or token[0] == "." or known)

    def factor(self) -> Node:
        base = self.atom()
        while True:
            if self.accept("^"):
                base = Call("pow", (base, self.argument()))
            elif self.accept("!"):
                base = Call("factorial", (base,))
            elif self.accept("'"):
                if not isinstance(base, Sym):
                    raise Unreadable("a prime on what is no symbol")
                base = Sym(base.name + "'")
            else:
                return base

    def argument(self) -> Node:
        """What stands after ^: in braces, or one thing (a whole number, "2^10", with its sign)."""
        if self.accept("{"):
            return self.until("}")
        return Call("neg", (self.atom(),)) if self.accept("-") else self.atom()

    def until(self, closing: str) -> Node:
        inside = self.listing((closing,))
        self.expect(closing)
        return inside

    def braced(self) -> Node:
        """An argument of a command: in braces, or a single digit or symbol."""
        if self.accept("{"):
            return self.until("}")
        token = self.peek()
        if token[:1].isdigit():
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]] if len(token) > 1 else [token]
            return Num(Fraction(self.take()))
        return self.atom()

    def atom(self) -> Node:
        token = self.peek()
        if not token:
            raise Unreadable("ends too early")
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise Large("nested too deeply")
        node = self._atom(self.take())
        self.depth -= 1
        return node

    def _atom(self, token: str) -> Node:
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return self.number(token)
        if token.startswith("\x02"):
            return self.words(token[1:-1].strip())
        if token in ("(", "[", "\\{"):
            return self.bracketed(token)
        if token == "{":
            return self.until("}")
        if token in BARS:
            return self.between(BARS[token], "abs" if token in ("|", "\\lvert", "\\vert") else token[2:])
        if token in ("+", "-"):
            inner = self.factor()
            return Call("neg", (inner,)) if token == "-" else inner
        if token.startswith("\\"):
            return self.command(token[1:])
        if token.isalpha():
            return self.symbol(token)
        raise Unreadable(f"unexpected {token!r}")

    def words(self, words: str) -> Node:
        single = words.strip("() ")
        return Sym(single) if len(single) == 1 and single.isalpha() else Text(words)

    def between(self, closing: str, name: str) -> Node:
        inside = self.sum()
        self.expect(closing)
        return Call({"floor": "floor", "ceil": "ceil"}.get(name, "abs"), (inside,))

    def bracketed(self, opening: str) -> Node:
        ends = (")", "]", "\\}")
        if opening == "\\{" and self.accept("\\}"):
            return Sym("emptyset")
        items = self.items(ends)
        closing = self.expect(*ends)
        if len(items) == 1 and (opening, closing) in (("(", ")"), ("[", "]")):
            return items[0]
        return Group(opening, closing, tuple(items))

    def number(self, token: str) -> Node:
        if self.accept("\\overline"):
            return Num(repeating(token, self.digits()))
        if self.accept("_"):
            base = self.braced()
            if isinstance(base, Num) and base.value.denominator == 1 and 2 <= base.value <= 36 and "." not in token:
                return Based(token, int(base.value))
            raise Unreadable("a number with an index")
        return Num(Fraction(token))

    def digits(self) -> str:
        self.expect("{")
        token = self.take() if self.peek().isdigit() else ""
        self.expect("}")
        return token

    def symbol(self, name: str) -> Node:
        if self.accept("_"):
            index = self.braced()
            label = index.name if isinstance(index, Sym) else index.value if isinstance(index, Num) else None
            if label is None:
                raise Unreadable("an index that is no number or symbol")
            return Sym(f"{name}_{label}")
        return Sym(name)

    def command(self, name: str) -> Node:
        if name in SYMBOLS:
            return self.symbol(name)
        if name in ("frac", "binom"):
            above, below = self.braced(), self.braced()
            return Call("div" if name == "frac" else "binom", (above, below))
        if name == "sqrt":
            return self.root()
        if name in APPLIED:
            return self.applied(name)
        if name in LISTED:
            return self.listed(name)
        if name == "begin":
            return self.matrix()
        if name in ("varnothing", "O"):
            return Sym("emptyset")
        if name in ("overline", "vec"):
            inside = self.braced()
            return inside if name == "vec" else Call("overline", (inside,))
        raise Unreadable(f"unknown command \\{name}")

    def root(self) -> Node:
        if self.accept("["):
            degree = self.until("]")
            return Call("root", (self.braced(), degree))
        return Call("sqrt", (self.braced(),))

    def applied(self, name: str) -> Node:
        """A function with its argument: in brackets, or the product that follows it (sin 2x)."""
        base: Node | None = None
        power: Node | None = None
        while self.peek() in ("_", "^"):
            if self.accept("_"):
                base = self.braced()
            elif self.accept("^"):
                power = self.argument()
        if power == Call("neg", (Num(Fraction(1)),)) and name in ("sin", "cos", "tan"):
            name, power = f"arc{name}", None
        value: Node = Call(name, (self.operand(),) if base is None else (self.operand(), base))
        return value if power is None else Call("pow", (value, power))

    def operand(self) -> Node:
        if self.accept("("):
            return self.until(")")
        product = self.factor()
        while self.starts_factor() and self.peek()[1:] not in APPLIED and self.peek() not in ("(", "[", "\\{"):
            product = self.times(product, self.factor())
        return product

    def listed(self, name: str) -> Node:
        self.expect("(", "\\{")
        items = self.items((")", "\\}"))
        self.expect(")", "\\}")
        return Call(name, tuple(items))

    def matrix(self) -> Node:
        kind = self.environment()
        if kind not in ("pmatrix", "bmatrix", "matrix", "vmatrix", "array", "smallmatrix"):
            raise Unreadable(f"unknown environment {kind!r}")
        if kind == "array":
            self.expect("{")
            while not self.accept("}"):
                self.expect("c", "l", "r", "|")
        rows, row = [], [self.sum()]
        while not self.accept("\\end"):
            if self.accept("&"):
                row.append(self.sum())
            else:
                self.expect("\\\\")
                rows.append(tuple(row))
                row = [] if self.peek() == "\\end" else [self.sum()]
        self.environment()
        return Matrix(tuple([*rows, tuple(row)] if row else rows))

    def environment(self) -> str:
        self.expect("{")
        letters = []
        while not self.accept("}"):
            if not self.peek():
                raise Unreadable("ends too early")
            letters.append(self.take())
        return "".join(letters)


BARS = {"|": "|", "\\lvert": "\\rvert", "\\vert": "\\vert", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}


def negative(node: Node) -> Node:
    return Based(f"-{node.digits}", node.base) if isinstance(node, Based) else Call("neg", (node,))


def repeating(token: str, digits: str) -> Fraction:
    """0.1 and 6 → 0.1666… Raises Unreadable where nothing repeats."""
    if "." not in token or not digits or len(digits) > 20:
        raise Unreadable("an overline that repeats no digits")
    places = len(token.partition(".")[2])
    return Fraction(token) + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)
