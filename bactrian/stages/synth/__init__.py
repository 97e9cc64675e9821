"""Stages that have models make data."""
