"""The program in a completion: its last fenced block of Python."""

import re

FENCE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n`]*\n", re.MULTILINE)
PYTHON = ("python", "py", "python3")


def last_program(text: str) -> str | None:
    """The content of the last block marked as Python, else of the last one without a language; None without either.

    A last block that is never closed runs to the end of the text: a stop string may have taken its end away.

    >>> last_program("So:\\n```python\\nprint(5)\\n```\\nThat prints 5.")
    'print(5)\\n'
    """
    found: dict[bool, str] = {}
    at = 0
    while opening := FENCE.search(text, at):
        closing = re.compile(rf"^[ \t]*{re.escape(opening['fence'])}[ \t]*$", re.MULTILINE).search(text, opening.end())
        at = closing.end() if closing else len(text)
        language = opening["language"].lower()
        if language in PYTHON or not language:
            found[bool(language)] = text[opening.end() : closing.start() if closing else len(text)]
    return found.get(True, found.get(False))
