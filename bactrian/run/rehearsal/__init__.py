"""A recipe on this machine at toy scale: the same steps and settings, made-up rows, models of random weights."""
