"""Plans, rehearses and makes the steps of a recipe."""
