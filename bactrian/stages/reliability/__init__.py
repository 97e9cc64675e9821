"""Stages for models that say no, ask well and do not recite (docs/reliability.md)."""
