"""Stages of reliable models: saying no, asking well, not reciting."""
