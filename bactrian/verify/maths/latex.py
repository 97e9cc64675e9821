"""An answer in LaTeX as a tree: numbers, symbols, functions, tuples, intervals, sets, matrices, relations, words.

Our own parser, for short answers as competition mathematics has them, tolerant of how models write them ("2^10",
"1/2", "√3", "x ≥ 3"). Its work is bounded by the length of the text, and it never evaluates text as code. What it does
not know raises UnreadableAnswer.
"""

import re
from fractions import Fraction

from bactrian.verify.maths.answer_tree import (
    Based,
    Bracketed,
    Call,
    Clock,
    Matrix,
    Node,
    Num,
    Quantity,
    Rel,
    Sym,
    Text,
    UnreadableAnswer,
    Wordy,
    negated,
    walk,
)
from bactrian.verify.maths.latex_tokens import (
    APPLIED,
    BARS,
    COMMANDS,
    LISTED,
    RELATIONS,
    ROUNDED,
    SYMBOLS,
    TRIGONOMETRIC,
    Reader,
    repeating,
)
from bactrian.verify.maths.spoken import number_of
from bactrian.verify.maths.units import clock, unit_name

SEPARATORS = (",", ";", "\\or", "\\and")
ON_SETS = {
    "\\cup": "union",
    "\\bigcup": "union",
    "\\cap": "intersection",
    "\\setminus": "minus_set",
    "\\backslash": "minus_set",
}


class Parser(Reader):
    """Recursive descent over tokens."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.angles = self.bars = self.sets = 0

    def answer(self) -> Node:
        tree = self.listing(())
        if self.at < len(self.tokens):
            raise UnreadableAnswer(f"unexpected {self.tokens[self.at]!r}")
        return tree

    # grammar, loosest first

    def listing(self, ends: tuple[str, ...]) -> Node:
        items, separators = self.items(ends)
        if len(items) == 1:
            return items[0]
        first = items[0]
        if isinstance(first, Rel) and first.ops == ("≠",):  # x ≠ 2, 3
            items = [item if isinstance(item, Rel) else Rel(first.ops, (first.items[0], item)) for item in items]
        inequalities = all(isinstance(item, Rel) and "=" not in item.ops for item in items)
        if inequalities or any(part == Sym("infty") for item in items for part in walk(item)):
            if "\\or" in separators:
                return Call("union", tuple(items))
            if "\\and" in separators and inequalities:
                return Call("intersection", tuple(items))
        return Bracketed("", "", tuple(items))

    def items(self, ends: tuple[str, ...]) -> tuple[list[Node], set[str]]:
        self.deeper()
        separators = set[str]()
        while self.accept("\\or", "\\and"):
            pass
        items = [self.relation()]
        while found := self.accept(*SEPARATORS):
            while found:
                separators.add(found)
                found = self.accept(*SEPARATORS)
            if self.peek() in ("", *ends):
                break
            items.append(self.relation())
        self.depth -= 1
        return items, separators

    def relation(self) -> Node:
        items, ops = [self.union()], list[str]()
        while sign := self.accept("\\in", *RELATIONS, *(("|",) if self.sets and not ops else ())):
            if sign == "\\in":  # x ∈ S says S
                items, ops = [self.union()], []
            else:
                ops.append(RELATIONS.get(sign, ":"))
                items.append(self.union())
        return Rel(tuple(ops), tuple(items)) if ops else items[0]

    def union(self) -> Node:
        node = self.sum()
        while sign := self.accept(*ON_SETS):
            node = Call(ON_SETS[sign], (node, self.sum()))
        return node

    def sum(self) -> Node:
        """A sum, with the unit that stands in it."""
        before, self.unit = self.unit, ""
        total: Node | None = None
        while True:
            sign = self.accept("+", "-", "\\pm", "\\mp")
            if total is not None and not sign:
                break
            term = self.term()
            if sign in ("\\pm", "\\mp"):
                term = Call("pm" if sign == "\\pm" else "mp", (term,))
            elif sign == "-":
                term = Based(f"-{term.digits}", term.base) if isinstance(term, Based) else negated(term)
            total = term if total is None else Call("add", (total, term))
        unit, self.unit = self.unit, before
        return Quantity(total, unit) if unit else total

    def term(self) -> Node:
        product = self.factor()
        measured = False
        while True:
            if self.accept("\\cdot", "\\times", "*"):
                product = Call("mul", (product, self.signed()))
            elif self.accept("/", "\\div"):
                product = Call("div", (product, self.signed()))
            elif self.accept("%"):
                product = Call("percent", (product,))
            elif self.peek().startswith("\x02"):
                product, measured = self.measured(product), True
            elif self.starts_factor():
                if measured:
                    raise Wordy("something after a unit")
                if self.peek()[0] in ".0123456789" and self.tokens[self.at - 1][-1].isdigit():
                    raise UnreadableAnswer("two numbers side by side")
                written = self.peek() == "\\frac"
                factor = self.factor()
                product = self.mixed(product, factor) if written else self.times(product, factor)
            else:
                return product

    def measured(self, product: Node) -> Node:
        """What comes before words that are its unit.

        Raises:
            Wordy: if they are none.
        """
        words = self.take()[1:-1].strip()
        if isinstance(product, Text | Clock):
            raise Wordy("words beside words")
        if re.fullmatch(r"per ?cents?", words, re.IGNORECASE):
            return Call("percent", (product,))
        if self.accept("^"):
            exponent = self.argument()
            words += f"^{exponent.value}" if isinstance(exponent, Num) else "^?"
        if self.peek() == "/" and self.tokens[self.at + 1 : self.at + 2] and self.tokens[self.at + 1][0] == "\x02":
            self.take()
            words += f"/{self.take()[1:-1]}"
        unit = unit_name(words)
        if unit is None or (self.unit and unit and unit != self.unit):
            raise Wordy(f"words that are no unit: {words!r}")
        if unit == "degree" and self.angles:
            return Call("deg", (product,))
        self.unit = unit or self.unit
        return product

    def times(self, left: Node, right: Node) -> Node:
        if any(isinstance(part, Text | Clock) for part in (left, right)):
            raise Wordy("words beside mathematics")
        return Call("mul", (left, right))

    def mixed(self, left: Node, right: Node) -> Node:
        """A fraction after something: a mixed number like 1\\frac{2}{3}, or a product."""
        whole = isinstance(left, Num) and left.value.denominator == 1
        parts = right.args if isinstance(right, Call) and right.name == "div" else ()
        if whole and parts and all(isinstance(part, Num) and part.value.denominator == 1 for part in parts):
            return Call("add", (left, right))
        return self.times(left, right)

    def signed(self) -> Node:
        return negated(self.signed()) if self.accept("-") else self.factor()

    def starts_factor(self) -> bool:
        token = self.peek()
        known = token[:1] == "\\" and token[1:] in COMMANDS
        bar = token == "|" and not self.bars and not self.sets
        return bool(token) and (token.isalnum() or token in ("(", "[", "{") or token[0] == "." or known or bar)

    def factor(self) -> Node:
        base = self.atom()
        while True:
            if self.accept("^"):
                base = Call("pow", (base, self.argument()))
            elif self.accept("!"):
                base = Call("factorial", (base,))
            elif self.accept("\\degree"):
                if self.angles:
                    base = Call("deg", (base,))
                self.unit = self.unit if self.angles else "degree"
            elif self.accept("'"):
                if not isinstance(base, Sym):
                    raise UnreadableAnswer("a prime on what is no symbol")
                base = Sym(base.name + "'")
            else:
                return base

    def argument(self) -> Node:
        """What stands after ^: in braces, or one thing (a whole number, "2^10", with its sign)."""
        if self.accept("{"):
            return self.until("}")
        return negated(self.atom()) if self.accept("-") else self.atom()

    def until(self, closing: str) -> Node:
        inside = self.listing((closing,))
        self.expect(closing)
        return self.lift(inside)

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
            raise UnreadableAnswer("ends too early")
        self.deeper()
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
            return negated(inner) if token == "-" else inner
        if token.startswith("\\"):
            return self.command(token[1:])
        if token.isalpha():
            return self.symbol(token)
        raise UnreadableAnswer(f"unexpected {token!r}")

    def words(self, words: str) -> Node:
        if words == "dollar":  # before its amount, the only unit that is
            self.unit = self.unit or words
            return self.factor()
        return self.words_alone(words)

    @staticmethod
    def words_alone(words: str) -> Node:
        single, number = words.strip("() "), number_of(words.strip(" .!"))
        if number is not None:
            return Num(Fraction(number))
        if re.fullmatch(r"(?:all )?(?:real numbers|reals)", words.strip(" ."), re.IGNORECASE):
            return Sym("mathbbR")
        return clock(words) or (Sym(single) if len(single) == 1 and single.isalpha() else Text(words.strip()))

    def between(self, closing: str, name: str) -> Node:
        self.bars += name == "abs"
        inside = self.lift(self.sum())
        self.bars -= name == "abs"
        self.expect(closing)
        return Call({"floor": "floor", "ceil": "ceil"}.get(name, "abs"), (inside,))

    def bracketed(self, opening: str) -> Node:
        ends = (")", "]", "\\}")
        if opening == "\\{" and self.accept("\\}"):
            return Sym("emptyset")
        bars, self.bars = self.bars, 0
        self.sets += opening == "\\{"
        items, separators = self.items(ends)
        self.sets -= opening == "\\{"
        self.bars = bars
        closing = self.expect(*ends)
        if len(items) == 1 and (opening, closing) in (("(", ")"), ("[", "]")):
            return self.lift(items[0])
        first = items[0]
        if opening == "\\{" and isinstance(first, Rel) and first.ops[0] == ":" and len(first.ops) > 1:
            conditions = (Rel(first.ops[1:], first.items[1:]), *items[1:])
            return Call("such_that", (Call("union", conditions),) if "\\or" in separators else conditions)
        return Bracketed(opening, closing, tuple(items))

    def number(self, token: str) -> Node:
        if self.accept("\\overline"):
            return Num(repeating(token, self.digits()))
        if self.accept("_"):
            base = self.braced()
            if isinstance(base, Num) and base.value.denominator == 1 and 2 <= base.value <= 36 and "." not in token:
                return Based(token, int(base.value))
            raise UnreadableAnswer("a number with an index")
        return Num(Fraction(token))

    def symbol(self, name: str) -> Node:
        if self.accept("_"):
            index = self.braced()
            label = index.name if isinstance(index, Sym) else index.value if isinstance(index, Num) else None
            if label is None:
                raise UnreadableAnswer("an index that is no number or symbol")
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
        if name in ROUNDED:
            return Call(name, (self.operand(),))
        if name == "begin":
            return self.matrix()
        if name in ("varnothing", "O"):
            return Sym("emptyset")
        if name in ("overline", "vec"):
            inside = self.braced()
            return inside if name == "vec" else Call("overline", (inside,))
        raise UnreadableAnswer(f"unknown command \\{name}")

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
        if power == Num(Fraction(-1)) and name in ("sin", "cos", "tan"):
            name, power = f"arc{name}", None
        self.angles += name in TRIGONOMETRIC
        value: Node = Call(name, (self.operand(),) if base is None else (self.operand(), base))
        self.angles -= name in TRIGONOMETRIC
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
        items, _ = self.items((")", "\\}"))
        self.expect(")", "\\}")
        return Call(name, tuple(items))

    def matrix(self) -> Node:
        kind = self.environment()
        if kind not in ("pmatrix", "bmatrix", "matrix", "vmatrix", "array", "smallmatrix"):
            raise UnreadableAnswer(f"unknown environment {kind!r}")
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
