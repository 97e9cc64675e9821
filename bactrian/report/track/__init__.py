"""What happens in a step, told while it happens: to experiment trackers, and to whoever else follows its files."""
