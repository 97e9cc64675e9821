"""Which rows are kept: duplicates, quality, hygiene, selection, mixture."""
