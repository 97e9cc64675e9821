"""The one exception that means: the input, not the program, is at fault."""


class BactrianError(Exception):
    """A message for the person at the keyboard.

    It names the file, line or row, field, what was found and what was expected. The command line prints it without a
    traceback and exits with status 2; library users catch it like any exception.
    """
