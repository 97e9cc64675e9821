"""Stages for reliable models: what a model declines, asks, and recites."""
