"""The page on which people judge pairs, and its server: one browser an annotator, all on this machine."""
