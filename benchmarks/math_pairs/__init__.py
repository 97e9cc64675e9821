"""Templates of labelled pairs of a MATH answer and a gold answer, by class (see math_pairs_by_class.py)."""

from math_pairs import algebra, angles, geometry, numbers, sets, words  # each registers its templates

__all__ = ["algebra", "angles", "geometry", "numbers", "sets", "words"]
