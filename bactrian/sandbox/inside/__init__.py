"""What runs inside sandboxes: sent there as code, with nothing of bactrian's but this folder, and Python's library.

confine.py shuts the door, codec.py carries values, candidate.py runs the program, examiner.py the tests.
"""
