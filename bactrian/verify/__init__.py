"""Verifiers: does a completion give the right answer, and if not, why not."""

from bactrian.verify.pool import Item, Pool, verify_all
from bactrian.verify.registry import VERIFIERS, check_verifiers, self_check, verifier, verify
from bactrian.verify.verdict import Example, Outcome, Verdict

__all__ = [
    "VERIFIERS", "Example", "Item", "Outcome", "Pool", "Verdict", "check_verifiers", "self_check", "verifier", "verify",
    "verify_all",
]  # fmt: skip
