"""SVG elements with every attribute and text escaped."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape


def tag(name: str, attributes: Mapping[str, str | float], *children: str | Markup) -> Markup:
    """One element. Plain strings among the children are escaped, Markup is not.

    >>> tag("text", {"x": 3.14159}, "a < b")
    Markup('<text x="3.1">a &lt; b</text>')
    """
    written = "".join(f' {key}="{escape(_value(value))}"' for key, value in attributes.items())
    inside = "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def join(parts: list[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else coordinate(value)


def coordinate(value: float) -> str:
    """A pixel position to a tenth, without a needless fraction."""
    return f"{value:.1f}".removesuffix(".0")
