"""Does training data hold what models are tested on? N-gram overlap by its definition, exactly, on one machine.

words.py splits texts into words, all of a batch at once; benchmarks.py knows which fields of which evaluation set hold
what a model is asked; index.py holds the words and n-grams of all test items; match.py says which items a batch of
training rows contains; scan.py streams any number of rows through it; table.py counts per source and benchmark and
decides what goes; meaning.py is the mode that compares by embeddings.
"""
