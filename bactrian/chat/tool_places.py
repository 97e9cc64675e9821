"""Whether a model's chat template has a place for tools, by its text alone: no tokenizer, no model is loaded.

It only says what cannot be: that a template which has one writes tools whole, is seen when it is used
(chat/template.py:without_tools).
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bactrian.chat.named_templates import NAMED, WITH_TOOLS
from bactrian.chat.tool_calls import calls_within


def tools_in(rows: Iterable[Mapping[str, Any]]) -> tuple[bool, bool]:
    """(whether any row lists tools, whether any calls one)."""
    listed = called = False
    for row in rows:
        listed |= bool(row.get("tools"))
        turns = [row[name] for name in ("messages", "prompt", "chosen", "rejected") if isinstance(row.get(name), list)]
        called |= any(calls_within(each for each in some if isinstance(each, dict)) for some in turns)
    return listed, called


def lacks_tools(folder: Path, template: str | None, listed: bool, called: bool) -> str:
    """Why rows with tools cannot be rendered; "" where they may be.

    Args:
        folder: of the model. template: a setting of that name; None for the model's own.
        listed, called: whether rows have a column `tools`, and whether they have calls.
    """
    text = _text(folder, template)
    if text is None or "{" not in text:
        return ""
    missing = [
        what
        for word, what, wanted in (("tools", "the tools that rows list", listed), ("tool_calls", "calls", called))
        if wanted and not re.search(rf"\b{word}\b", text)
    ]
    if not missing:
        return ""
    whose = f"the chat template of {folder}" if template in (None, "model") else f"the chat template {template}"
    fitting = f"templates that do (setting `template`): {', '.join(WITH_TOOLS)}"
    return f"{whose} does not write {' and '.join(missing)}\n  {fitting}"


def _text(folder: Path, template: str | None) -> str | None:
    """The Jinja text, where a file says it."""
    if template in NAMED:
        return NAMED[template]
    if template not in (None, "model"):
        path = Path(template)
        return path.read_text("utf-8", "replace") if path.suffix == ".jinja" and path.is_file() else None
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text("utf-8", "replace")
    try:
        found: Any = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None  # several, by name: transformers chooses
