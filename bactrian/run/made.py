"""An artifact in the hands of Python code: its folder and its manifest, whatever its kind (handles.py has those)."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bactrian.progress import duration
from bactrian.store.manifest import Manifest


@dataclass(frozen=True)
class Made:
    """An artifact, or a model or data of somebody else's, on this machine.

    ref: how a recipe would name it; a later step takes the handle in its place. path: the folder or file.
    manifest: None for what bactrian did not make.
    """

    ref: str
    path: Path
    manifest: Manifest | None = field(default=None, repr=False)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return self.ref

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """What the stage measured, by name; empty for what bactrian did not make."""
        return self.manifest.metrics if self.manifest else {}

    def _repr_html_(self) -> str:
        lines = {"folder": str(self.path)}
        if self.manifest is not None:
            made = self.manifest
            lines |= {"stage": made.stage, "content": made.content_hash[:16], "took": duration(made.seconds)}
            lines |= {name: f"{value:,.4g}" for name, value in made.metrics.items() if value is not None}
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in lines.items()
        )
        return f"<table><caption>{type(self).__name__} {html.escape(self.ref)}</caption>{rows}</table>"
