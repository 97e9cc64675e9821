"""Python's text as a tree, safely from several threads."""

import ast
from threading import Lock

_ONE_AT_A_TIME = Lock()


def parse(text: str) -> ast.Module:
    """`ast.parse`, by one thread at a time.

    Python 3.11 keeps the depth of its recursion for all threads together: where a garbage collection lets another
    thread in, both lose count, and `ast.parse` raises SystemError ("AST constructor recursion depth mismatch").

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse` does.
    """
    with _ONE_AT_A_TIME:
        return ast.parse(text)
