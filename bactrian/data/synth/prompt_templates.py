"""Prompt templates of synthesis: Jinja in a sandbox, shipped by name, in a file, or in the recipe.

A template is the user's own text; what is put into it (seeds, personas, documents) is data, never read as a template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest

SHIPPED = Path(__file__).with_name("prompts")
ENDING = ".jinja"
LONGEST_PROMPT = 400_000
"""Characters of a prompt; a longer one is a mistake in the template or a seed that is a book."""
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


def shipped_prompts() -> dict[str, Path]:
    """Name → file of the templates that come with Bactrian, in order of name."""
    return {path.name.removesuffix(ENDING): path for path in sorted(SHIPPED.glob(f"*{ENDING}"))}


def prompt_text(name: str) -> str:
    """The text of a template: one of ours by its name, or a file ending in .jinja.

    Raises:
        BactrianError: there is none of that name, with the nearest; or the file cannot be read.
    """
    if name.endswith(ENDING):
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BactrianError(f"template: {name} cannot be read as text: {error}") from None
    known = shipped_prompts()
    if name not in known:
        near = nearest(name, list(known))
        hint = f'; did you mean "{near}"?' if near else f"; shipped are {', '.join(known)}"
        raise BactrianError(f"template: found {name!r}, expected a file ending in {ENDING} or a shipped name{hint}")
    return known[name].read_text(encoding="utf-8")


class PromptTemplate:
    """A template, compiled. hash: 16 hex digits of its text's SHA-256. variables: what it reads of a seed."""

    def __init__(self, name: str, text: str) -> None:
        """
        Raises:
            BactrianError: the text is no Jinja, with the line.
        """
        self.name, self.hash = name, hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            self.variables = sorted(meta.find_undeclared_variables(_ENVIRONMENT.parse(text)))
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise BactrianError(f"template {name}{f', line {line}' if line else ''}: no Jinja: {error}") from None

    def render(self, fields: Mapping[str, Any], where: str) -> str:
        """The prompt for one seed; `where` says which, for messages.

        Raises:
            BactrianError: a variable that the seed does not have, an error in the template, a prompt that is too long.
        """
        try:
            text = self._template.render(**fields).strip()
        except UndefinedError as error:
            has = ", ".join(sorted(fields)) or "nothing"
            raise BactrianError(f"{where}: template {self.name}: {error.message}; the seed has {has}") from None
        except Exception as error:  # whatever a template's own expressions raise is its author's to mend
            raise BactrianError(f"{where}: template {self.name}: {type(error).__name__}: {error}") from None
        if not text or len(text) > LONGEST_PROMPT:
            found = f"{len(text):,} characters" if text else "an empty prompt"
            raise BactrianError(f"{where}: template {self.name}: {found}, expected 1 to {LONGEST_PROMPT:,} characters")
        return text
