"""Configurations of other trainers (axolotl, TRL and what is built on it) as recipes."""
