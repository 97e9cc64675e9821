"""One self-contained HTML file: a template, style sheets and a script, all inside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bactrian.report.formatting import visible

HERE = Path(__file__).parent


def render(template: str, styles: Sequence[str], script: str, content: Mapping[str, Any]) -> str:
    """The whole page as HTML.

    Every expression of the template is escaped unless it is markup that this package drew, and the finished page passes
    through `visible`, so that no text in it can reorder or hide its surroundings. The page's own style and script are
    allowed by their hashes and nothing else is: no other script, image, font, frame or connection.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join((HERE / name).read_text(encoding="utf-8").strip() for name in styles)
    code = (HERE / script).read_text(encoding="utf-8").strip()
    policy = (
        f"default-src 'none'; script-src {_allowed(code)}; style-src {_allowed(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template(template)
    return visible(page.render(policy=policy, style=Markup(style), script=Markup(code), **content))


def _allowed(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
