"""Runs programs that a model wrote, where they can do no harm and cannot forge their own results."""

from bactrian.sandbox.choice import available, chosen_isolation, note_used, problem_with, used, want
from bactrian.sandbox.examination import Examination, examine
from bactrian.sandbox.isolation import WEAK, Isolation
from bactrian.sandbox.limits import Limits, ProgramRun
from bactrian.sandbox.liveness import Stalled
from bactrian.sandbox.packages import versions
from bactrian.sandbox.reference_answers import ReferenceAnswers, ReferenceProgram, answers
from bactrian.sandbox.scripts import run_program
from bactrian.sandbox.unit_tests import UnitTests, compiled

__all__ = [
    "WEAK",
    "Examination",
    "Isolation",
    "Limits",
    "ProgramRun",
    "ReferenceAnswers",
    "ReferenceProgram",
    "Stalled",
    "UnitTests",
    "answers",
    "available",
    "chosen_isolation",
    "compiled",
    "examine",
    "note_used",
    "problem_with",
    "run_program",
    "used",
    "versions",
    "want",
]
