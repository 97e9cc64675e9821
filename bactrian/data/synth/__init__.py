"""Rows that are made rather than found: procedural problems, stories, programs, constraints."""
