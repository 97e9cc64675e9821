"""Verifiers of short answers in words, of multiple choice, of form, and of refusals."""
