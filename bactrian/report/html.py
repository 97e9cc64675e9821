"""One self-contained HTML file: a template, style sheets and scripts, all inside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bactrian.report.formatting import visible

HERE = Path(__file__).parent


def render(
    template: str, styles: Sequence[str], scripts: Sequence[str], content: Mapping[str, Any], connect: str = ""
) -> str:
    """The whole page as HTML.

    Every expression of the template is escaped unless it is markup that this package drew, and the finished page passes
    through `visible`, so that no text in it can reorder or hide its surroundings. The page's own style and script are
    allowed by their hashes and nothing else is: no other script, image, font or frame, and no connection but to
    `connect`, if that is given.
    """
    style, code = (_joined(names) for names in (styles, scripts))
    page = _environment().get_template(template)
    allowed = policy(styles, scripts, connect)
    return visible(page.render(policy=allowed, style=Markup(style), script=Markup(code), **content))


@cache
def _environment() -> Environment:
    """Templates are compiled once; one that was changed is read anew."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy(styles: Sequence[str], scripts: Sequence[str], connect: str = "") -> str:
    """The Content-Security-Policy of a page of these."""
    parts = [
        "default-src 'none'",
        f"script-src {_allowed(_joined(scripts))}",
        f"style-src {_allowed(_joined(styles))}",
        *([f"connect-src {connect}"] if connect else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


def _joined(names: Sequence[str]) -> str:
    return "\n".join((HERE / name).read_text(encoding="utf-8").strip() for name in names)


def _allowed(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
