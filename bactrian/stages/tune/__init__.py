"""Stages that train a model on rows that are there: pretraining, SFT, preference tuning, reward models."""
