"""Verifiers: does a completion give the right answer, and if not, why not."""

from bactrian.verify import code, gsm8k, gym, pal  # each registers its verifiers
from bactrian.verify.pool import Item, Pool, verify_all
from bactrian.verify.registry import VERIFIERS, check_verifiers, names, register, self_check, verifier, verify
from bactrian.verify.verdict import OUTCOMES, Example, Outcome, Problem, Verdict, at_limit

__all__ = [
    "OUTCOMES", "VERIFIERS", "Example", "Item", "Outcome", "Pool", "Problem", "Verdict", "at_limit", "check_verifiers",
    "code", "gsm8k", "gym", "names", "pal", "register", "self_check", "verifier", "verify", "verify_all",
]  # fmt: skip
