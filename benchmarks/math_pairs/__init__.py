"""Templates of labelled pairs of a MATH answer and a gold answer, by class (see math_pairs_by_class.py)."""

from math_pairs import (  # each registers its templates
    algebra,
    angles,
    counting,
    geometry,
    inequalities,
    numbers,
    sets,
    surds_and_logs,
    units_and_dates,
    words,
)

__all__ = [
    "algebra",
    "angles",
    "counting",
    "geometry",
    "inequalities",
    "numbers",
    "sets",
    "surds_and_logs",
    "units_and_dates",
    "words",
]
