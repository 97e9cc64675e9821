"""Classes of quantities: lists in text, units, times and dates."""

from math_pairs.cases import Draw, MathCase, others, template

COLOURS = ["red", "blue", "green", "yellow", "orange", "purple", "black", "white", "gray", "brown"]
SPORTS = ["Softball", "Kickball", "Picnic", "Tennis", "Soccer", "Hiking", "Chess", "Swimming"]
NAMES = ["Alice", "Bob", "Carol", "Dan", "Eve", "Frank", "Grace", "Heidi", "Ivan", "Judy"]
TREES = ["oak", "maple", "birch", "pine", "elm", "cedar", "willow", "ash"]


@template("lists in text")
def words_in_text(d: Draw) -> MathCase:
    words = d.of([COLOURS, SPORTS], [NAMES, TREES])
    *some, more, extra = d.sample(words, d.randint(4, 6))
    some.append(more)
    inner = ", ".join(some)
    gold = d.of(
        [rf"\text{{{inner}}}", rf"\text{{{inner}}}"], [rf"\text{{{inner}}}", ", ".join(rf"\text{{{w}}}" for w in some)]
    )
    right = [
        inner,
        ", ".join(rf"\text{{{w}}}" for w in some),
        rf"\text{{{inner}}}",
        rf"\text{{{','.join(some)}}}",
        rf"\text{{{', '.join(some[:-1])}, and {some[-1]}}}",
        rf"\text{{{inner.lower()}}}",
        rf"\mathrm{{{','.join(some)}}}",
    ]
    right += d.half(
        [rf"\textbf{{{inner}}}", rf"\mbox{{{inner}}}"],
        [
            r",\ ".join(rf"\text{{{w}}}" for w in some),
            rf"\text{{{', '.join(some[:-1])} and {some[-1]}}}",
            rf"\textit{{{inner}}}",
        ],
    )
    at = d.randrange(len(some))
    changed = [*some[:at], extra, *some[at + 1 :]]
    wrong = [
        rf"\text{{{', '.join(changed)}}}",
        ", ".join(rf"\text{{{w}}}" for w in changed),
        rf"\text{{{', '.join(some[:-1])}}}",
        rf"\text{{{inner}, {extra}}}",
        rf"\text{{{some[0]}}}",
        ", ".join(changed),
    ]
    return MathCase(gold, right, wrong)


@template("lists in text")
def letters(d: Draw) -> MathCase:
    pool = d.half("ABCDEFG", "PQRSTUVW")
    some = sorted(d.sample(pool, d.randint(2, 4)))
    extra = d.choice([c for c in pool if c not in some])
    turned = d.sample(some, len(some))
    gold = d.of(
        [rf"\text{{{', '.join(some)}}}", rf"\text{{{','.join(some)}}}"],
        [", ".join(rf"\text{{{c}}}" for c in some), ", ".join(some)],
    )
    both = [some, turned]
    right = [
        form
        for x in both
        for form in (
            ", ".join(x),
            rf"\text{{{', '.join(x)}}}",
            ", ".join(rf"\text{{{c}}}" for c in x),
            ",".join(x),
            rf"\text{{{', '.join(x[:-1])} and {x[-1]}}}",
            rf"{', '.join(x[:-1])} \text{{ and }} {x[-1]}",
            rf"\text{{({'), ('.join(x)})}}",
        )
    ]
    changed = [*some[:-1], extra]
    wrong = [
        form
        for x in (changed, some[:-1], [*some, extra])
        for form in (", ".join(x), rf"\text{{{', '.join(x)}}}", rf"\text{{{','.join(x)}}}")
    ]
    return MathCase(gold, right, wrong)


UNITS = {
    "cm": ("centimeters", "cm"),
    "m": ("meters", "m"),
    "km": ("kilometers", "km"),
    "g": ("grams", "g"),
    "kg": ("kilograms", "kg"),
    "ft": ("feet", "ft"),
    "in": ("inches", "in"),
    "mi": ("miles", "mi"),
    "lb": ("pounds", "lb"),
    "min": ("minutes", "min"),
    "hr": ("hours", "hr"),
    "mph": ("miles per hour", "mph"),
    "gal": ("gallons", "gal"),
    "s": ("seconds", "s"),
    "yd": ("yards", "yd"),
    "mm": ("millimeters", "mm"),
    "L": ("liters", "L"),
}
ABBREVIATED = {"g": "gm", "lb": "lbs", "hr": "h", "s": "sec"}
CONFUSED = {
    "cm": "mm",
    "m": "km",
    "km": "mi",
    "g": "kg",
    "kg": "lb",
    "ft": "in",
    "in": "ft",
    "mi": "km",
    "lb": "kg",
    "min": "s",
    "hr": "min",
    "mph": "mi",
    "gal": "L",
    "s": "hr",
    "yd": "ft",
    "mm": "cm",
    "L": "gal",
}


@template("units")
def unit(d: Draw) -> MathCase:
    n = d.choice([str(d.randint(2, 900)), f"{d.randint(2, 90)}.{d.randint(1, 9)}"])
    code = d.of(["cm", "m", "g", "ft", "mi", "min", "mph", "s"], ["km", "kg", "in", "lb", "hr", "gal", "yd", "mm", "L"])
    long, short = UNITS[code]
    gold = d.of(
        [rf"{n}\text{{ {long}}}", rf"{n} \text{{ {short}}}"],
        [rf"{n}\mbox{{ {long}}}", rf"{n}\,\text{{{short}}}", rf"{n}\ \mathrm{{{short}}}"],
    )
    right = [
        n,
        f"{n} {long}",
        f"{n} {short}",
        rf"{n}\text{{ {short}}}",
        rf"{n} \text{{ {long}}}",
        rf"{n}\,\mathrm{{{short}}}",
        rf"\text{{{n} {long}}}",
        rf"{n}\ \text{{{short}}}",
        rf"{n}~\text{{{long}}}",
        rf"{n}\textrm{{ {short}}}",
    ]
    if code in ABBREVIATED:
        right += [rf"{n}\text{{ {ABBREVIATED[code]}}}"] * 2
    other_long, other_short = UNITS[CONFUSED[code]]
    m = n.replace(n[0], str(int(n[0]) % 9 + 1), 1)
    wrong = [
        rf"{n}\text{{ {other_long}}}",
        rf"{n}\text{{ {other_short}}}",
        rf"{m}\text{{ {long}}}",
        m,
        rf"{n}\,\mathrm{{{other_short}}}",
        f"{m} {short}",
        rf"{n}0\text{{ {short}}}",
    ]
    if code not in ("g", "min", "hr", "mph", "lb", "gal", "kg", "s", "L"):
        wrong.append(rf"{n}\text{{ {short}}}^2")
    return MathCase(gold, right, [w for w in wrong if "." not in n or not w.startswith(f"{n}0")])


@template("units")
def powers_of_units(d: Draw) -> MathCase:
    n = d.randint(2, 3000)
    code, p = d.choice(d.half(["cm", "m", "ft"], ["in", "km", "yd", "mm"])), d.choice([2, 3])
    long, short = UNITS[code]
    word = {2: "square", 3: "cubic"}[p]
    other = {2: "cubic", 3: "square"}[p]
    gold = d.of(
        [rf"{n}\text{{ {short}}}^{p}", rf"{n} \text{{ {word} {long}}}"],
        [rf"{n}\mbox{{ {short}}}^{p}", rf"{n}\,\text{{{short}}}^{{{p}}}", str(n)],
    )
    right = [
        str(n),
        f"{n} {short}^{p}",
        rf"{n}\text{{ {short}}}^{p}",
        rf"{n}\text{{ {word} {long}}}",
        rf"{n}\,\mathrm{{{short}}}^{p}",
        f"{n} {word} {long}",
        rf"{n}\text{{ {short}}}^{{{p}}}",
        rf"{n}\ \text{{{short}$^{p}$}}",
        rf"{n}\,\mathrm{{{short}^{p}}}",
    ]
    m = others(d, n)
    wrong = [rf"{m}\text{{ {short}}}^{p}", f"{m} {short}^{p}", str(m), rf"{m}\text{{ {word} {long}}}", f"{n}^{p}"]
    if gold != str(n):
        wrong += [
            rf"{n}\text{{ {short}}}^{5 - p}",
            rf"{n}\text{{ {other} {long}}}",
            f"{n} {short}^{5 - p}",
            rf"{n}\text{{ {long}}}",
        ]
    return MathCase(gold, right, wrong)


@template("units", "hidden")
def unit_after_surd(d: Draw) -> MathCase:
    a, b = d.randint(2, 40), d.choice([2, 3, 5, 7, 13])
    long, short = UNITS[d.choice(["cm", "ft", "in"])]
    other = "meters"
    gold = rf"{a}\sqrt{{{b}}}\text{{ {long}}}"
    right = [
        rf"{a}\sqrt{{{b}}}",
        rf"{a} \sqrt {b} \text{{ {short}}}",
        rf"\sqrt{{{a * a * b}}}\text{{ {long}}}",
        rf"{a}\sqrt{{{b}}} {long}",
    ]
    wrong = [
        rf"{a}\sqrt{{{b + 1}}}\text{{ {long}}}",
        rf"{a + 1}\sqrt{{{b}}}",
        rf"{a}\sqrt{{{b}}}\text{{ {other}}}",
        rf"{a}{b}\text{{ {long}}}",
    ]
    return MathCase(gold, right, wrong)


@template("times and dates")
def hour(d: Draw) -> MathCase:
    h, half = d.randint(1, 11), d.choice("ap")
    m = d.of([0, 0, d.randint(1, 59)], [d.randint(1, 59)])
    t = f"{h}:{m:02}" if m else str(h)
    gold = d.of(
        [rf"{t}\text{{ {half}.m.}}", rf"{t} \text{{ {half}.m.}}"],
        [rf"{t.replace(':', chr(92) + '!:' + chr(92) + '!')} \text{{ {half}.m.}}", rf"{t}\text{{ {half.upper()}M}}"],
    )
    right = [
        rf"\text{{{t} {half}.m.}}",
        f"{t} {half.upper()}M",
        rf"{t}\text{{ {half.upper()}M}}",
        rf"{t}\ \text{{{half}.m.}}",
        f"{t} {half}.m.",
        f"{h}:{m:02} {half.upper()}M",
        rf"{h}:{m:02}\text{{ {half}m}}",
        rf"\text{{{h}:{m:02} {half.upper()}.M.}}",
        rf"{t}\,\text{{{half}m}}",
    ]
    o = "p" if half == "a" else "a"
    g = h + 1
    wrong = [
        rf"\text{{{t} {o}.m.}}",
        rf"{t}\text{{ {o}.m.}}",
        f"{t} {o.upper()}M",
        rf"{g}:{m:02}\text{{ {half}.m.}}",
        rf"{h}:{(m + 7) % 60:02}\text{{ {half}.m.}}",
        f"{g}:{m:02} {half.upper()}M",
        rf"\text{{{h}:{(m + 30) % 60:02} {half}.m.}}",
    ]
    return MathCase(gold, right, wrong)


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
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@template("times and dates")
def date(d: Draw) -> MathCase:
    m, n = d.randrange(12), d.randint(1, 28)
    name, other = MONTHS[m], MONTHS[(m + d.randint(1, 11)) % 12]
    year = d.randint(1950, 2040)
    gold = d.half(rf"\text{{{name} {n}}}", rf"\text{{{name} {n}, {year}}}")
    tail = d.half("", f", {year}")
    right = [
        f"{name} {n}{tail}",
        rf"\text{{{name}}} {n}{tail}",
        rf"\text{{{name} }}{n}{tail}",
        rf"\mathrm{{{name}}}\ {n}{tail}",
        rf"\text{{{name.lower()} {n}{tail}}}",
        rf"\mbox{{{name} {n}{tail}}}",
        rf"\textbf{{{name} {n}{tail}}}",
    ]
    wrong = [
        rf"\text{{{name} {n + 1}{tail}}}",
        rf"\text{{{other} {n}{tail}}}",
        f"{other} {n}{tail}",
        rf"\text{{{name}}}",
        f"{name} {n + 2}{tail}",
    ]
    wrong += d.half([], [rf"\text{{{name} {n}, {year + 1}}}", f"{name} {n}, {year - 10}"])
    return MathCase(gold, right, wrong)


@template("times and dates", "dev")
def clock(d: Draw) -> MathCase:
    h, m = d.randint(1, 12), d.randint(1, 59)
    gold = f"{h}:{m:02}"
    right = [
        rf"\text{{{gold}}}",
        rf"{h}\!:\!{m:02}",
        f"{h} : {m:02}",
        rf"{h}{{:}}{m:02}",
        f"0{gold}" if h < 10 else rf"\mathrm{{{gold}}}",
    ]
    wrong = [
        f"{h}:{(m + 1) % 60:02}",
        f"{h % 12 + 1}:{m:02}",
        f"{h}{m:02}",
        str(h),
        rf"\text{{{h}:{(m + 20) % 60:02}}}",
        rf"{h}\!:\!{(m + 5) % 60:02}",
    ]
    return MathCase(gold, right, wrong)
