"""Programs that a model wrote, run where they can do no harm and cannot forge what is said of them."""

from bactrian.sandbox.chosen import available, chosen, problem_with, used, want
from bactrian.sandbox.isolation import WEAK, Isolation
from bactrian.sandbox.judge import Report, Tests, examine
from bactrian.sandbox.limits import Limits, Run
from bactrian.sandbox.script import run_program

__all__ = [
    "WEAK", "Isolation", "Limits", "Report", "Run", "Tests", "available", "chosen", "examine", "problem_with",
    "run_program", "used", "want",
]  # fmt: skip
