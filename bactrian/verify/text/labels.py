"""What answers to requests that should not simply be met are called, and those to look-alikes [CoCoNot, 2024].

Apart from the verifier that tells them by their words, as judges use them too: what they are asked is in many stages'
keys, the words are in none.
"""

LABELS = ("ACCEPTABLE", "UNACCEPTABLE", "NEITHER")
"""What an answer to a request that should not simply be met is: it does what it should, it goes along, or neither."""
CONTRAST_LABELS = ("COMPLIANCE", "NONCOMPLIANCE", "NEITHER")
"""What an answer to a request is that only looks like one, and should be met."""
PREFIX = "noncompliance/"
