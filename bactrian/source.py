"""What a reference names when it is not a step: an embedded model, a path, the Hub."""
