"""Which spans of an answer stand in the training data, and where: an index on disk, and what is looked up in it."""
