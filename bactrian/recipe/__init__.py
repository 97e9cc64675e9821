"""A recipe file → typed steps in the order of making; what the names in it refer to."""
