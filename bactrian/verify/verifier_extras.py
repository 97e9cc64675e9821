"""Verifiers that need an extra of the package. By name alone, so that nothing is imported to know it."""

EXTRA_OF = {
    "math": "math",
    "math_verify": "math",
    "ifeval": "instructions",
    "ifeval_strict": "instructions",
    "instructions": "instructions",
    "reasoning_gym": "problems",
}
"""Verifier → extra (store/extras.py). `math` asks the library for LaTeX that our own parser cannot read."""
