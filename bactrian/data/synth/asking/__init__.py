"""Underspecified requests and questions about them, made by rules: what they leave open, and what would help most."""
