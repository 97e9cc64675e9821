"""Programs that a model wrote, run where they can do no harm and cannot forge what is said of them."""

from bactrian.sandbox.choice import available, chosen, problem_with, used, want
from bactrian.sandbox.isolation import WEAK, Isolation
from bactrian.sandbox.judge import Report, examine
from bactrian.sandbox.limits import Limits, Run
from bactrian.sandbox.script import run_program
from bactrian.sandbox.suite import Suite, compiled

__all__ = [
    "WEAK", "Isolation", "Limits", "Report", "Run", "Suite", "available", "chosen", "compiled",
    "examine", "problem_with",
    "run_program", "used", "want",
]  # fmt: skip
