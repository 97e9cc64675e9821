"""Verifiers: does a completion give the right answer, and if not, why not."""

from bactrian.verify import (  # each registers its verifiers
    choice,
    code,
    competition,
    contained,
    deepmind,
    form,
    gsm8k,
    gym,
    ifeval,
    pal,
    refusal,
    spans,
    training_constraints,
)  # fmt: skip
from bactrian.verify.judge import Judge
from bactrian.verify.pool import Item, Pool, verify_all
from bactrian.verify.registry import VERIFIERS, check_verifiers, names, register, self_check, verifier, verify
from bactrian.verify.verdict import OUTCOMES, Example, Outcome, Problem, Verdict, at_limit

__all__ = [
    "OUTCOMES", "VERIFIERS", "Example", "Item", "Judge", "Outcome", "Pool", "Problem", "Verdict", "at_limit",
    "check_verifiers", "choice", "code", "competition", "contained", "deepmind", "form", "gsm8k", "gym", "ifeval",
    "names", "pal", "refusal", "register", "self_check", "spans", "training_constraints", "verifier", "verify",
    "verify_all",
]  # fmt: skip
