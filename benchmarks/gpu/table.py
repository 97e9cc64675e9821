"""Rows as Markdown, one table for each kind of row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPEED = ("part", "what", "tokens_per_second", "mfu", "mfu_6n", "step_seconds", "spread", "steps", "peak_gib", "loss")
CHECKS = ("part", "what", "value", "allowed", "ok")


def table(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """All that was measured. A row with `tokens_per_second` is a speed, one with `allowed` a check."""
    speeds = [row for row in rows if "tokens_per_second" in row]
    checks = [row for row in rows if "allowed" in row]
    broken = [row for row in rows if "error" in row]
    rest = [row for row in rows if not any(row in some for some in (speeds, checks, broken))]
    told = [f"`{about.get('command', '')}`, commit {about.get('commit', '')}, {about.get('started', '')}", ""]
    facts = [f"- {row['part']}: {row.get('what', '')} {_shown(row.get('value', ''))}" for row in rest]
    parts = ["\n".join([*told, *facts])]
    for title, columns, some in (("Speed", SPEED, speeds), ("Checks", CHECKS, checks)):
        if some:
            parts.append(f"## {title}\n\n{_grid(columns, some)}")
    if broken:
        parts.append(f"## Not measured\n\n{_grid(('part', 'error'), broken)}")
    return "\n\n".join(parts) + "\n"


def _grid(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(_shown(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "/")
