"""Conversations in which a model asks and a simulator answers: whether what is asked helps (research only)."""
