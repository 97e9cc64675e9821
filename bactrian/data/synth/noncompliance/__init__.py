"""Requests that should not simply be met: which there are, and rows of them made by rules."""
