"""Rows as streams: kinds, layouts, files, the Hub, and what became of each row."""
