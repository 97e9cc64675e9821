"""Stages of reliable models: what they decline, what they ask, what they recite."""
