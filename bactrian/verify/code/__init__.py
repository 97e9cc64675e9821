"""Verifiers of programs, which run in the sandbox."""
