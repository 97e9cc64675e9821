"""Verifiers of answers in mathematics."""
