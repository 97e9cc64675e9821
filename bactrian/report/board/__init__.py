"""The board: the runs of a store while they train, and every answer of its evaluations, in a browser on this machine.

All is read and nothing is written. A step that is being made is read as it grows: a last line that is not whole yet,
and a file that is renamed away between two looks, are as usual here and no errors.
"""
