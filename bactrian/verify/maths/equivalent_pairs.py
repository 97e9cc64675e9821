"""Answers to mathematics problems that are the same as a gold answer, and such that are not: written by hand.

What `bactrian verify check math` and the tests measure error rates on. Where two people could disagree (is 50 % 0.5?),
the rule is in docs/verifiers.md.
"""

from typing import NamedTuple


class Pairs(NamedTuple):
    """A gold answer, other ways to write it, and answers that are wrong."""

    gold: str
    same: tuple[str, ...]
    other: tuple[str, ...]


PAIRS = (
    # integers and signs
    Pairs(
        "7",
        ("7.0", "+7", "\\frac{14}{2}", "x = 7", "7.", "$7$", "\\text{7}", "(7)"),
        ("-7", "70", "0.7", "77", "7x", "\\frac{1}{7}"),
    ),
    Pairs("-12", ("−12", "-12.00", "-\\frac{24}{2}", "x=-12", "- 12"), ("12", "-1.2", "-2", "-12i")),
    Pairs("1234567", ("1,234,567", "1{,}234{,}567", "1\\,234\\,567", "1234567.0"), ("1,234,576", "1234", "1,234")),
    Pairs("0", ("0.0", "-0", "\\frac{0}{5}", "x=0"), ("1", "\\emptyset", "\\infty", "O")),
    Pairs("2^{10}", ("1024", "2^10", "1{,}024", "4^5"), ("2^{11}", "20", "210", "10^2")),
    Pairs("10!", ("3628800", "3{,}628{,}800"), ("10", "9!")),
    # fractions and decimals
    Pairs(
        "\\frac{1}{2}",
        ("1/2", "0.5", ".5", "\\frac12", "\\dfrac{1}{2}", "\\tfrac12", "\\frac{2}{4}", "½", "50\\%", "2^{-1}"),
        ("2", "\\frac{1}{3}", "-\\frac12", "0.05", "\\frac{2}{1}", "1,2", "(1,2)"),
    ),
    Pairs(
        "-\\frac{3}{4}",
        ("\\frac{-3}{4}", "\\frac{3}{-4}", "-3/4", "-0.75", "-.75"),
        ("\\frac{3}{4}", "-\\frac{4}{3}", "-0.7"),
    ),
    Pairs("1\\frac{2}{3}", ("\\frac{5}{3}", "5/3", "1 \\frac{2}{3}"), ("\\frac{2}{3}", "\\frac{12}{3}", "1.67", "1.6")),
    Pairs("0.\\overline{3}", ("\\frac{1}{3}", "1/3"), ("0.3", "0.33", "3", "0.333333")),
    Pairs("3.1\\overline{45}", ("\\frac{173}{55}",), ("3.145", "3.1454545", "3.45")),
    Pairs("\\frac{22}{7}", ("22/7", "3\\frac{1}{7}"), ("\\pi", "3.14", "3.142857")),
    Pairs("0.125", ("\\frac18", "1/8", "12.5\\%", ".125", "0.1250"), ("0.12", "1.25", "125")),
    # surds
    Pairs(
        "\\sqrt{2}",
        ("\\sqrt2", "2^{1/2}", "√2", "\\frac{2}{\\sqrt{2}}", "2^{0.5}", "\\sqrt[2]{2}"),
        ("2", "1.414", "\\sqrt{3}", "-\\sqrt{2}", "\\sqrt[3]{2}"),
    ),
    Pairs(
        "2\\sqrt{3}",
        ("\\sqrt{12}", "2 \\cdot \\sqrt{3}", "\\frac{6}{\\sqrt{3}}", "2\\sqrt3"),
        ("3\\sqrt{2}", "\\sqrt{6}", "2+\\sqrt{3}", "\\sqrt{5}"),
    ),
    Pairs(
        "\\frac{\\sqrt{2}}{2}",
        ("\\frac{1}{\\sqrt{2}}", "\\sqrt{\\frac{1}{2}}", "\\sqrt{2}/2", "\\sqrt{0.5}"),
        ("\\sqrt{2}", "\\frac{\\sqrt{3}}{2}", "\\frac{2}{\\sqrt{2}}"),
    ),
    Pairs(
        "3+2\\sqrt{2}",
        ("2\\sqrt{2}+3", "(1+\\sqrt{2})^2", "3+\\sqrt{8}"),
        ("3-2\\sqrt{2}", "5\\sqrt{2}", "2+3\\sqrt{2}", "3 \\pm 2\\sqrt{2}"),
    ),
    Pairs("\\sqrt[3]{5}", ("5^{1/3}", "5^{\\frac13}"), ("\\sqrt{5}", "3\\sqrt{5}", "5^3")),
    Pairs(
        "\\frac{-1+\\sqrt{5}}{2}",
        ("\\frac{\\sqrt{5}-1}{2}", "-\\frac12+\\frac{\\sqrt5}{2}"),
        ("\\frac{1+\\sqrt{5}}{2}", "\\frac{-1-\\sqrt{5}}{2}", "-1+\\frac{\\sqrt5}{2}"),
    ),
    Pairs(
        "1\\pm\\sqrt{7}",
        ("1+\\sqrt{7}, 1-\\sqrt{7}", "1-\\sqrt7,1+\\sqrt7", "x = 1 \\pm \\sqrt{7}", "\\{1-\\sqrt{7}, 1+\\sqrt{7}\\}"),
        ("1+\\sqrt{7}", "-1\\pm\\sqrt{7}", "\\pm\\sqrt{7}"),
    ),
    # π, i, e, degrees, logarithms, trigonometry
    Pairs(
        "\\frac{\\pi}{3}",
        ("\\pi/3", "\\frac13\\pi", "\\frac{1}{3}\\pi", "π/3", "\\frac{2\\pi}{6}"),
        ("\\frac{\\pi}{6}", "\\frac{3}{\\pi}", "1.047", "60", "\\pi"),
    ),
    Pairs("12\\pi", ("12 \\pi", "12\\cdot\\pi", "\\pi \\cdot 12", "12π"), ("12", "\\pi^{12}", "37.7", "12+\\pi")),
    Pairs("3+4i", ("4i+3", "3 + 4 i", "3+i4"), ("3-4i", "4+3i", "7i", "5", "3+4")),
    Pairs("-i", ("\\frac{1}{i}", "0-i", "i^3"), ("i", "-1", "1")),
    Pairs("e^{2}", ("e^2", "e \\cdot e"), ("2e", "7.389", "2^e")),
    Pairs(
        "60^\\circ", ("60", "60^{\\circ}", "60°", "60 degrees", "60\\text{ degrees}"), ("30^\\circ", "6^\\circ", "120")
    ),
    Pairs("\\ln 2", ("\\ln(2)", "-\\ln\\frac12", "\\frac{\\ln 4}{2}"), ("\\log 2", "\\ln 3", "0.693", "2\\ln 2")),
    Pairs("\\log_2 3", ("\\frac{\\ln 3}{\\ln 2}", "\\log_{2} 3", "\\log_2(3)"), ("\\log_3 2", "\\log 3", "\\log_2 9")),
    Pairs("\\sin^2 x", ("(\\sin x)^2", "\\sin^2(x)", "1-\\cos^2 x"), ("\\sin x^2", "\\cos^2 x", "\\sin x", "2\\sin x")),
    Pairs("\\tan 40^\\circ", ("\\tan 40",), ("\\tan 50^\\circ", "\\cot 40^\\circ")),
    # powers and expressions
    Pairs(
        "x^2+2x+1",
        ("(x+1)^2", "1+2x+x^2", "x^2 + 2x + 1", "x(x+2)+1"),
        ("x^2+2x", "x^2-2x+1", "(x-1)^2", "y^2+2y+1", "x^2+2x+2"),
    ),
    Pairs(
        "\\frac{x+2}{x}",
        ("1+\\frac{2}{x}", "(x+2)/x", "\\frac{2+x}{x}"),
        ("\\frac{x}{x+2}", "x+2/x", "2", "x+\\frac{2}{x}"),
    ),
    Pairs("y=2x+3", ("2x+3", "y = 3+2x", "2x+3=y", "f(x)=2x+3"), ("y=2x-3", "y=3x+2", "2x", "y=2(x+3)")),
    Pairs(
        "x^2+y^2=25",
        ("y^2+x^2=25", "25=x^2+y^2", "2x^2+2y^2=50", "x^2+y^2-25=0"),
        ("x^2+y^2=5", "x^2-y^2=25", "x+y=5", "x^2+y^2=26"),
    ),
    Pairs("2x-3y=6", ("4x-6y=12", "3y=2x-6", "-2x+3y=-6"), ("2x+3y=6", "2x-3y=5", "3x-2y=6")),
    Pairs("(x-2)(x+3)", ("(x+3)(x-2)", "x^2+x-6"), ("(x+2)(x-3)", "x^2-x-6", "(x-2)(x-3)")),
    Pairs("|x|", ("\\sqrt{x^2}", "\\lvert x \\rvert"), ("x", "-x", "x^2")),
    Pairs("a^2b", ("ba^2", "a \\cdot a \\cdot b"), ("ab^2", "a^2+b", "2ab")),
    Pairs("2^{n+1}", ("2\\cdot 2^n", "2^{1+n}"), ("2^n+1", "2^{n-1}", "2n+1", "4^n")),
    Pairs("\\binom{5}{2}", ("10", "\\frac{5!}{2!3!}", "\\binom{5}{3}"), ("\\frac{5}{2}", "20", "\\binom{5}{1}")),
    Pairs("\\lfloor 3.7 \\rfloor", ("3",), ("4", "3.7")),
    # tuples, lists, sets, ordering
    Pairs(
        "(3,-4)",
        ("(3, -4)", "\\left(3,-4\\right)", "( 3 , -4 )", "(\\frac{6}{2}, -4.0)", "3,-4"),
        ("(-4,3)", "(3,4)", "[3,-4]", "(3,-4,0)", "3", "-4,3", "\\{3,-4\\}"),
    ),
    Pairs(
        "1,2,3",
        ("3, 2, 1", "1, 2, 3", "\\{1,2,3\\}", "1,2,\\text{ and }3", "x=1,2,3", "x = 1, x = 2, x = 3"),
        ("1,2", "1,2,4", "123", "1,2,3,4", "1,1,2,3", "(3,2,1)"),
    ),
    Pairs("-2, 5", ("5,-2", "5 \\text{ or } -2", "x=5,x=-2", "\\{-2, 5\\}"), ("2,5", "-2,-5", "5", "-2", "(5,-2)")),
    Pairs(
        "\\{1,3,5\\}", ("\\{5,3,1\\}", "\\left\\{1, 3, 5\\right\\}", "1,3,5"), ("(1,3,5)", "\\{1,3\\}", "\\{1,3,5,7\\}")
    ),
    Pairs("(1,100)", ("(1, 100)",), ("1100", "(100,1)", "[1,100]", "1,100,0")),
    Pairs(
        "\\left(\\frac12, \\frac{\\sqrt{3}}{2}\\right)",
        ("(0.5, \\sqrt{3}/2)", "(\\frac{1}{2},\\frac{\\sqrt3}{2})"),
        ("(\\frac{\\sqrt3}{2}, \\frac12)", "(\\frac12, \\frac{3}{2})"),
    ),
    # intervals, unions, inequalities
    Pairs(
        "[2,\\infty)",
        ("[2, +\\infty)", "x \\ge 2", "x\\geq 2", "2 \\le x", "x \\in [2,\\infty)", "[2,∞)"),
        ("(2,\\infty)", "x > 2", "x \\le 2", "[-2,\\infty)", "2", "[2,10)"),
    ),
    Pairs(
        "(-3,5]",
        ("-3 < x \\le 5", "5 \\ge x > -3", "x\\in(-3,5]", "\\left(-3, 5\\right]"),
        ("[-3,5)", "(-3,5)", "[-3,5]", "-3 \\le x \\le 5", "(-5,3]"),
    ),
    Pairs(
        "(-\\infty,0)\\cup(1,\\infty)",
        ("(1,\\infty) \\cup (-\\infty,0)", "x \\in (-\\infty,0) \\cup (1,\\infty)"),
        ("(-\\infty,0]\\cup[1,\\infty)", "(-\\infty,0)", "(0,1)", "(-\\infty,1)\\cup(0,\\infty)"),
    ),
    Pairs("x>4", ("4<x", "(4,\\infty)", "x \\gt 4"), ("x<4", "x\\ge 4", "4", "x>-4")),
    Pairs(
        "-1\\le x\\le 1", ("[-1,1]", "1 \\ge x \\ge -1", "-1 \\leq x \\leq 1"), ("-1<x<1", "(-1,1)", "0\\le x\\le 1")
    ),
    Pairs("\\infty", ("+\\infty", "∞"), ("-\\infty", "0", "\\text{undefined}", "1000000")),
    # matrices and vectors
    Pairs(
        "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
        ("\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}", "\\begin{pmatrix}1&2\\\\3&\\frac{8}{2}\\end{pmatrix}"),
        (
            "\\begin{pmatrix} 1 & 3 \\\\ 2 & 4 \\end{pmatrix}",
            "\\begin{pmatrix} 1 & 2 \\\\ 3 & 5 \\end{pmatrix}",
            "\\begin{pmatrix} 1 & 2 & 3 & 4 \\end{pmatrix}",
            "(1,2,3,4)",
        ),
    ),
    Pairs(
        "\\begin{pmatrix} 1/2 \\\\ -3 \\end{pmatrix}",
        ("\\begin{pmatrix}0.5\\\\-3\\end{pmatrix}", "\\begin{pmatrix} \\frac{1}{2} \\\\ -3 \\\\ \\end{pmatrix}"),
        (
            "\\begin{pmatrix} -3 \\\\ 1/2 \\end{pmatrix}",
            "\\begin{pmatrix} 1/2 & -3 \\end{pmatrix}",
            "\\begin{pmatrix} 1/2 \\\\ 3 \\end{pmatrix}",
        ),
    ),
    # units, money, percent
    Pairs(
        "180\\text{ miles}",
        ("180", "180 miles", "180\\text{ miles}.", "180 \\text{ mile}"),
        ("18", "180\\text{ km}", "180\\text{ hours}"),
    ),
    Pairs(
        "5\\text{ cm}^2",
        ("5", "5 \\text{ square centimeters}", "5\\,\\text{cm}^2", "5\\mathrm{~cm}^2"),
        ("25", "5\\text{ m}^2", "5^2"),
    ),
    Pairs(
        "\\$12.50",
        ("12.5", "\\$12.5", "12.50", "\\frac{25}{2}", "12.50\\text{ dollars}"),
        ("\\$12.05", "1250", "\\$125"),
    ),
    Pairs(
        "25\\%",
        ("25", "0.25", "\\frac14", "25 \\%", "25 percent", "25\\text{ percent}"),
        ("2.5", "0.025", "75\\%", "2500"),
    ),
    Pairs("10\\text{ inches}", ("10", "10\\text{ in}", "10\\text{ in.}", "10 inches"), ("10\\text{ feet}", "100")),
    Pairs("6\\text{ ways}", ("6", "6 ways"), ("60", "\\frac16")),
    # words
    Pairs("\\text{east}", ("east", "East", "\\text{East}", "\\textbf{east}"), ("west", "\\text{northeast}", "e")),
    Pairs(
        "\\text{Evelyn}",
        ("Evelyn", "\\text{evelyn}", "\\mathrm{Evelyn}"),
        ("\\text{Evan}", "Eve", "\\text{Evelyn and Bob}"),
    ),
    Pairs("\\text{(C)}", ("C", "(C)", "\\text{C}", "\\mathrm{(C)}"), ("(D)", "\\text{(A)}", "c^2", "BC")),
    Pairs("\\text{no solution}", ("no solution", "\\text{No solution}"), ("\\text{one solution}", "0", "solution")),
    Pairs("\\text{odd}", ("odd", "\\text{Odd}"), ("even", "\\text{neither}")),
    # bases, ratios, times
    Pairs("1101_2", ("1101_{2}", "1101"), ("1101_3", "13", "1011_2", "101_2")),
    Pairs("3:4", ("3 : 4", "3\\!:\\!4"), ("4:3", "3:5", "34")),
    # roots of equations in several unknowns
    Pairs("x=2,y=3", ("x = 2, y = 3", "x=2,\\ y=3"), ("x=2,y=4", "x=2")),
    # times of day, degrees and radians
    Pairs(
        "9\\text{ a.m.}",
        ("9 AM", "9:00\\text{ a.m.}", "\\text{9 a.m.}", "9", "9\\ \\text{am}"),
        ("\\text{9 p.m.}", "9 PM", "9:30\\text{ a.m.}", "9\\text{ hours}", "10\\text{ a.m.}"),
    ),
    Pairs(
        "\\sin 32^\\circ",
        ("\\cos 58^\\circ", "\\sin(32^{\\circ})", "\\sin 32", "\\sin 148^\\circ", "\\sin\\frac{8\\pi}{45}"),
        ("\\sin 58^\\circ", "\\cos 32^\\circ", "32^\\circ", "-\\sin 32^\\circ"),
    ),
    Pairs("52^\\circ", ("52", "52\\text{ deg}"), ("52\\text{ radians}", "52\\text{ minutes}", "128^\\circ")),
    # thousands and lists
    Pairs("70,\\!110", ("70110", "70,110", "70{,}110", "70\\,110"), ("70, 110", "(70,110)", "7,\\!011")),
    Pairs("70^\\circ, 110^\\circ", ("110^\\circ,70^\\circ", "70, 110", "70°, 110°"), ("70110", "70,\\!110", "70")),
    Pairs("\\text{A, C}", ("C, A", "\\text{A and C}", "\\text{(A), (C)}", "A,C"), ("A", "A, B", "A, B, C")),
    Pairs(
        "\\pm 2, 3",
        ("-2, 2, 3", "\\{2, -2, 3\\}", "3, \\pm 2", "x = \\pm 2 \\text{ or } x = 3"),
        ("2, 3", "\\pm 2, \\pm 3", "\\pm 2, -3"),
    ),
    # vectors, plain text
    Pairs(
        "\\frac{1}{2}\\begin{pmatrix} 4 \\\\ -6 \\end{pmatrix}",
        ("\\begin{pmatrix} 2 \\\\ -3 \\end{pmatrix}", "-\\begin{pmatrix} -2 \\\\ 3 \\end{pmatrix}"),
        ("\\begin{pmatrix} 4 \\\\ -6 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ -6 \\end{pmatrix}", "2, -3"),
    ),
    Pairs("18\\sqrt{3}", ("18*sqrt(3)", "18sqrt3", "18√3", "\\sqrt{972}"), ("18*sqrt(5)", "sqrt(18*3)", "18^3")),
    # equations, solution sets
    Pairs(
        "y=2x+3",
        ("2x-y+3=0", "y-3=2x", "4x-2y=-6", "\\frac{y-3}{2}=x", "2x+3"),
        ("2x-y=3", "x=2y+3", "2x-y+3", "y>2x+3", "2x+y+3=0"),
    ),
    Pairs(
        "|x|>8",
        ("x<-8 \\text{ or } x>8", "(-\\infty,-8)\\cup(8,\\infty)", "\\{x : |x| > 8\\}", "2|x| > 16"),
        ("|x|\\ge 8", "x>8", "-8<x<8", "(-\\infty,-8]\\cup[8,\\infty)", "x<8 \\text{ or } x>-8", "|y|>8"),
    ),
    Pairs(
        "x\\neq 3",
        ("(-\\infty,3)\\cup(3,\\infty)", "\\mathbb{R}\\setminus\\{3\\}", "3 \\ne x", "x<3 \\text{ or } x>3"),
        ("x=3", "3", "x\\ne -3", "(-\\infty,\\infty)", "y \\ne 3", "\\{3\\}"),
    ),
    # units
    Pairs(
        "144\\text{ m}^3",
        ("144 m^3", "144", "144\\text{ cubic meters}", "144\\,\\mathrm{m}^3"),
        ("144 m^2", "144\\text{ m}", "144\\text{ cm}^3", "12^3\\text{ m}^3"),
    ),
    Pairs("12\\text{ gm}", ("12 grams", "12\\text{ g}", "12 g"), ("12\\text{ kg}", "12\\text{ mg}", "12 gallons")),
    Pairs("1\\text{ foot}", ("1 ft", "1"), ("12\\text{ inches}", "12", "1\\text{ inch}", "1\\text{ square foot}")),
    # functions that part company far out or at single places
    Pairs("\\max(1000,n)", ("\\max(n, 1000)", "\\frac{n+1000+|n-1000|}{2}"), ("1000", "n", "\\min(1000,n)", "1000+n")),
    Pairs("|x-10|", ("|10-x|", "\\sqrt{(x-10)^2}", "\\max(x-10,10-x)"), ("10-x", "x-10", "|x|-10", "|x+10|")),
    Pairs("\\lfloor x \\rfloor", ("-\\lceil -x \\rceil",), ("x", "\\lceil x \\rceil", "\\lceil x \\rceil-1")),
    Pairs("\\ln x^2", ("2\\ln|x|",), ("2\\ln x", "(\\ln x)^2", "\\ln 2x")),
    Pairs("\\sqrt{x^2-4}", ("(x^2-4)^{1/2}",), ("x-2", "\\sqrt{x^2}-2", "\\sqrt{|x^2-4|}", "\\sqrt{x-2}\\sqrt{x+2}")),
    # hedges and alternatives
    Pairs(
        "5",
        ("5\\text{ in total}", "\\text{five}"),
        ("5 \\text{ or so, maybe 6}", "5\\text{ or }6", "\\text{about }5", "\\text{at least }5", "5\\text{ or more}"),
    ),
)
