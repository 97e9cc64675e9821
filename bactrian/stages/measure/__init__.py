"""Stages that measure models: evaluation, test-time compute, ablations, the choice of a checkpoint."""
