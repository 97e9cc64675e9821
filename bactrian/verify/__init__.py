"""Verifiers: does a completion give the right answer, and if not, why not."""

from bactrian.verify.model_verifiers import Judge
from bactrian.verify.own import check_own, check_written, use_own
from bactrian.verify.pool import Item, Pool, verify_all
from bactrian.verify.registry import check_verifiers, names, register, self_check, verifier, verify, versions
from bactrian.verify.verdict import OUTCOMES, Example, Outcome, Problem, Verdict, at_limit

__all__ = [
    "OUTCOMES",
    "Example",
    "Item",
    "Judge",
    "Outcome",
    "Pool",
    "Problem",
    "Verdict",
    "at_limit",
    "check_own",
    "check_verifiers",
    "check_written",
    "names",
    "register",
    "self_check",
    "use_own",
    "verifier",
    "verify",
    "verify_all",
    "versions",
]
