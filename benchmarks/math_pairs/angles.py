"""Classes of trigonometry: identities, values at radians and at degrees, angles."""

from fractions import Fraction

from mpmath import cos, mpf, pi, sin, sqrt, tan

from math_pairs.cases import Draw, MathCase, frac, template, times


@template("trigonometric identities", "dev")
def identities(d: Draw) -> MathCase:
    x, k = d.choice(["x", r"\theta", "t"]), d.randint(2, 9)
    gold, right, wrong = d.choice(
        [
            (
                rf"{k}\sin^2 {x}",
                [
                    rf"{k}(1-\cos^2 {x})",
                    rf"{k} - {k}\cos^2 {x}",
                    rf"{k}(\sin {x})^2",
                    rf"\frac{{{k}}}{{2}}(1-\cos 2{x})",
                    rf"{k}\sin {x} \cdot \sin {x}",
                ],
                [rf"{k}\cos^2 {x}", rf"{k}\sin 2{x}", rf"{k}(1+\cos^2 {x})", rf"{k + 1}\sin^2 {x}", rf"{k}\sin {x}"],
            ),
            (
                rf"\frac{{\sin 2{x}}}{{{k}}}",
                [
                    rf"\frac{{2\sin {x}\cos {x}}}{{{k}}}",
                    rf"\frac{{1}}{{{k}}}\sin(2{x})",
                    rf"\frac{{\sin({x}+{x})}}{{{k}}}",
                    rf"\frac{{2}}{{{k}}}\cos {x} \sin {x}",
                ],
                [
                    rf"\frac{{\sin {x}\cos {x}}}{{{k}}}",
                    rf"\frac{{2\sin {x}}}{{{k}}}",
                    rf"\frac{{\cos 2{x}}}{{{k}}}",
                    rf"\frac{{\sin^2 {x}}}{{{k}}}",
                    rf"\sin \frac{{2{x}}}{{{k + 2}}}",
                ],
            ),
        ]
    )
    return MathCase(gold, right, wrong)


@template("trigonometric identities", "hidden")
def more_identities(d: Draw) -> MathCase:
    x, k = d.choice(["x", r"\alpha", "y"]), d.randint(2, 9)
    gold, right, wrong = d.choice(
        [
            (
                rf"{k}\sec {x}",
                [
                    rf"\frac{{{k}}}{{\cos {x}}}",
                    rf"{k} \sec({x})",
                    rf"{k}(\cos {x})^{{-1}}",
                    rf"\frac{{{k}\tan {x}}}{{\sin {x}}}",
                ],
                [
                    rf"{k}\csc {x}",
                    rf"{k}\cos {x}",
                    rf"\frac{{{k}}}{{\sin {x}}}",
                    rf"{k}\sec^2 {x}",
                    rf"\frac{{1}}{{{k}\cos {x}}}",
                ],
            ),
            (
                rf"{k}\tan^2 {x}",
                [
                    rf"{k}\sec^2 {x} - {k}",
                    rf"{k}(\sec^2 {x}-1)",
                    rf"\frac{{{k}\sin^2 {x}}}{{\cos^2 {x}}}",
                    rf"{k}(\tan {x})^2",
                    rf"{k}\left(\frac{{\sin {x}}}{{\cos {x}}}\right)^2",
                ],
                [rf"{k}\cot^2 {x}", rf"{k}\sec^2 {x}", rf"{k}\sec^2 {x} - 1", rf"{k}(\csc^2 {x}-1)"],
            ),
            (
                rf"\cos 2{x} + {k}",
                [
                    rf"1 - 2\sin^2 {x} + {k}",
                    rf"2\cos^2 {x} + {k - 1}",
                    rf"\cos^2 {x} - \sin^2 {x} + {k}",
                    rf"{k}+\cos(2{x})",
                ],
                [
                    rf"2\sin^2 {x} + {k - 1}",
                    rf"2\cos {x} + {k}",
                    rf"\cos^2 {x} + \sin^2 {x} + {k}",
                    rf"\cos (2{x} + {k})",
                    rf"\cos {x}^2 + {k}",
                ],
            ),
            (
                rf"{k}\cot {x}",
                [rf"\frac{{{k}\cos {x}}}{{\sin {x}}}", rf"\frac{{{k}}}{{\tan {x}}}", rf"{k}\cos {x} \csc {x}"],
                [rf"{k}\tan {x}", rf"\frac{{{k}\sin {x}}}{{\cos {x}}}", rf"\cot {k}{x}", rf"-{k}\cot {x}"],
            ),
        ]
    )
    return MathCase(gold, right, wrong)


@template("trigonometric identities")
def of_radians(d: Draw) -> MathCase:
    f, (v, shown), angle = d.of(
        [
            (r"\sin", (sqrt(3) / 2, r"\frac{\sqrt{3}}{2}"), r"\frac{\pi}{3}"),
            (r"\cos", (mpf(1) / 2, r"\frac{1}{2}"), r"\frac{\pi}{3}"),
            (r"\tan", (sqrt(3), r"\sqrt{3}"), r"\frac{\pi}{3}"),
            (r"\sin", (mpf(1) / 2, r"\frac{1}{2}"), r"\frac{5\pi}{6}"),
        ],
        [
            (r"\cos", (sqrt(2) / 2, r"\frac{\sqrt{2}}{2}"), r"\frac{\pi}{4}"),
            (r"\cos", (-sqrt(3) / 2, r"-\frac{\sqrt{3}}{2}"), r"\frac{5\pi}{6}"),
            (r"\tan", (2 - sqrt(3), r"2-\sqrt{3}"), r"\frac{\pi}{12}"),
            (r"\sin", ((sqrt(6) - sqrt(2)) / 4, r"\frac{\sqrt{6}-\sqrt{2}}{4}"), r"\frac{\pi}{12}"),
        ],
    )
    k = d.randint(2, 40)
    gold = d.choice([rf"{k} {f} {angle}", rf"{k}\left({shown}\right)"])
    right = [
        (rf"{k}{f} {angle}", k * v),
        (rf"{k}{f}\left({angle}\right)", k * v),
        (rf"{k} \cdot \left({shown}\right)", k * v),
        (rf"{f} {angle} \cdot {k}", k * v),
        (rf"\frac{{{2 * k}{f}({angle})}}{{2}}", k * v),
    ]
    wrong = [
        (rf"{k + 1}{f} {angle}", (k + 1) * v),
        (rf"-{k}{f}\left({angle}\right)", -k * v),
        (rf"{k} + {shown}", k + v),
        (rf"\frac{{{f} {angle}}}{{{k}}}", v / k),
        (rf"{shown}", v),
    ]
    return MathCase(gold, right, wrong, k * v)


@template("degrees", "dev")
def sine_of_degrees(d: Draw) -> MathCase:
    a = d.randint(1, 44)
    k = d.choice([1, 1, d.randint(2, 8)])
    f, g = d.choice([(r"\sin", r"\cos"), (r"\cos", r"\sin")])
    t = a * pi / 180
    v = k * (sin(t) if f == r"\sin" else cos(t))
    n = times(k, "")
    gold = rf"{n}{f} {a}^\circ"
    right = [
        (rf"{n}{g} {90 - a}^\circ", v),
        (rf"{n}{f}({a}^\circ)", v),
        (rf"{n}{f} {a}^{{\circ}}", v),
        (rf"{n}{g}(90^\circ - {a}^\circ)", v),
        (rf"{n}{f}\left({frac(Fraction(a, 180))}\pi\right)", v),
        (rf"{'-' if f == chr(92) + 'cos' else ''}{n}{f} {180 - a}^\circ", v),
        (rf"{n}{f} {a + 360}^\circ", v),
    ]
    w = k * (cos(t) if f == r"\sin" else sin(t))
    wrong = [
        (rf"{n}{g} {a}^\circ", w),
        (rf"{n}{f} {90 - a}^\circ", w),
        (rf"-{n}{f} {a}^\circ", -v),
        (rf"{n}{f} {a + 1}^\circ", k * (sin(t + pi / 180) if f == r"\sin" else cos(t + pi / 180))),
        (rf"{k + 1}{f} {a}^\circ", v * (k + 1) / k),
    ]
    return MathCase(gold, right, wrong, v)


@template("degrees", "hidden")
def other_functions_of_degrees(d: Draw) -> MathCase:
    a = d.choice([n for n in range(3, 88) if n not in (30, 45, 60)])
    k = d.choice([1, 1, d.randint(2, 8)])
    n = times(k, "")
    t, u = a * pi / 180, (90 - a) * pi / 180
    f, g, value, same = d.choice(
        [
            ("tan", "cot", tan(t), rf"\frac{{{n or 1}}}{{\cot {a}^\circ}}"),
            ("csc", "sec", 1 / sin(t), rf"\frac{{{n or 1}}}{{\sin {a}^\circ}}"),
            ("sec", "csc", 1 / cos(t), rf"\frac{{{n or 1}}}{{\cos {a}^{{\circ}}}}"),
            ("cot", "tan", 1 / tan(t), rf"\frac{{{n or 1}\cos {a}^\circ}}{{\sin {a}^\circ}}"),
        ]
    )
    crossed = {"tan": tan(u), "csc": 1 / sin(u), "sec": 1 / cos(u), "cot": 1 / tan(u)}[f]
    same = same.replace(rf"{{{1}\cos", r"{\cos")
    gold = rf"{n}\{f} {a}^\circ"
    right = [
        (rf"{n}\{g} {90 - a}^\circ", k * value),
        (same, k * value),
        (rf"{n}\{f}({a}^{{\circ}})", k * value),
        (rf"{n}\{g}({90 - a}^\circ)", k * value),
        (rf"{n}\{f}\left({a}^\circ\right)", k * value),
        (rf"{n}\{f}\left(\frac{{{a}\pi}}{{180}}\right)", k * value),
    ]
    wrong = [
        (rf"{n}\{g} {a}^\circ", k * crossed),
        (rf"{n}\{f} {90 - a}^\circ", k * crossed),
        (rf"-{n}\{f} {a}^\circ", -k * value),
        (rf"{k + 2}\{f} {a}^\circ", (k + 2) * value),
        (rf"\frac{{{n or 1}}}{{\{f} {a}^\circ}}", k / value),
    ]
    return MathCase(gold, right, wrong, k * value)


@template("degrees")
def exact_degrees(d: Draw) -> MathCase:
    shown, exact, v = d.of(
        [
            (r"\cos 15^{\circ}", r"\frac{\sqrt{6}+\sqrt{2}}{4}", cos(pi / 12)),
            (r"\sin 60^\circ", r"\frac{\sqrt{3}}{2}", sqrt(3) / 2),
            (r"\cos 120^\circ", r"-\frac{1}{2}", mpf(-1) / 2),
            (r"\tan 30^\circ", r"\frac{\sqrt{3}}{3}", sqrt(3) / 3),
        ],
        [
            (r"\sin 75^{\circ}", r"\frac{\sqrt{6}+\sqrt{2}}{4}", cos(pi / 12)),
            (r"\tan 15^\circ", r"(2-\sqrt{3})", 2 - sqrt(3)),
            (r"\sin 18^\circ", r"\frac{\sqrt{5}-1}{4}", (sqrt(5) - 1) / 4),
            (r"\cos 36^\circ", r"\frac{1+\sqrt{5}}{4}", (1 + sqrt(5)) / 4),
        ],
    )
    k = d.randint(2, 40)
    gold = d.choice(
        [rf"{k}{shown}", rf"{k} \cdot {exact}" if "frac" in exact and exact[0] != "-" else rf"{k}\left({exact}\right)"]
    )
    right = [
        (rf"{k}{shown}", k * v),
        (rf"{k}\left({exact}\right)", k * v),
        (rf"{k} \cdot {shown}", k * v),
        (rf"({exact}) \cdot {k}", k * v),
        (rf"\frac{{{2 * k}{shown}}}{{2}}", k * v),
        (rf"{k}{shown}".replace("^{\\circ}", "^\\circ").replace(" ", "(").replace("circ", "circ)"), k * v),
    ]
    wrong = [
        (rf"{k + 1}{shown}", (k + 1) * v),
        (rf"-{k}{shown}", -k * v),
        (rf"\frac{{{shown}}}{{{k}}}", v / k),
        (
            rf"{k}{shown.replace('sin', 'c0s').replace('cos', 'sin').replace('c0s', 'cos').replace('tan', 'cot')}",
            k * (sqrt(1 - v * v) if "tan" not in shown else 1 / v),
        ),
        (rf"{k + 3}\left({exact}\right)", (k + 3) * v),
    ]
    return MathCase(gold, right, [w for w in wrong if abs(w[1] - k * v) > 1e-9], k * v)


@template("degrees")
def angle(d: Draw) -> MathCase:
    a = d.choice([n for n in range(3, 359) if n not in (180, 270)])
    gold = d.of(
        [rf"{a}^\circ", rf"{a}\text{{ degrees}}"], [rf"{a}^{{\circ}}", rf"{a} \text{{ degrees}}", rf"{a}.5^\circ"]
    )
    n = f"{a}.5" if ".5" in gold else str(a)
    right = [
        n,
        rf"{n}^\circ",
        rf"{n}^{{\circ}}",
        f"{n}°",
        rf"{n}\text{{ degrees}}",
        rf"\text{{{n} degrees}}",
        rf"{n}^{{\,\circ}}",
        rf"{n} degrees",
        rf"\left({n}\right)^\circ",
    ]
    if "." not in n:
        right += [rf"{frac(Fraction(a, 180))}\pi\text{{ radians}}"]
    wrong = [
        rf"{n}\text{{ radians}}",
        rf"{n}\text{{ rad}}",
        rf"{a + 1}^\circ",
        rf"-{n}^\circ",
        rf"{a + 1}\text{{ degrees}}",
        rf"{n}0^\circ" if "." not in n else rf"{a}^\circ",
        rf"{180 - a if a != 90 else 80}^\circ",
        rf"{n}^{{\prime}}",
        rf"{n}\text{{ minutes}}",
    ]
    return MathCase(gold, right, wrong)
