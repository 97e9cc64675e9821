"""What another package's module would hold: one verifier."""

from bactrian.verify import Example, Problem, Verdict, register


@register("third_party", examples=[Example("yes", "", "right"), Example("no", "", "wrong")])
def third_party(problem: Problem, completion: str) -> Verdict:
    return Verdict(1.0, "right", completion, "") if completion == "yes" else Verdict(0.0, "wrong", completion, "")
