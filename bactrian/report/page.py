"""Puts the page together: one template, one style sheet, one small script, all inside the file."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bactrian.report import curves, graph, provenance, scores, transcripts, trust
from bactrian.report.records import Run
from bactrian.report.words import count, date, duration, visible
from bactrian.verify.verdict import OUTCOMES

HERE = Path(__file__).parent
RECIPE_LIMIT = 100_000


def render_page(run: Run) -> str:
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
    style, script = ((HERE / name).read_text(encoding="utf-8").strip() for name in ("style.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src {_allowed(script)}; style-src {_allowed(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template("page.html.j2")
    return visible(page.render(policy=policy, style=Markup(style), script=Markup(script), **_content(run)))


def _allowed(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _content(run: Run) -> dict[str, Any]:
    """All that the template shows, by name."""
    boxes = provenance.boxes(run)
    trained = [drawn for step in run.steps if (drawn := curves.step_curves(step))]
    final, marks = provenance.final_marks(run)
    recipe = run.record.recipe
    return {
        "name": run.record.name,
        "verdict": scores.verdict(run),
        "date": date(run.record.started),
        "total": duration(run.record.seconds),
        "hardware": provenance.hardware_line(run),
        "seeds": provenance.seeds(run),
        "code": provenance.code_version(run),
        "command": run.command,
        "problems": [(step.name, step.note) for step in run.steps if step.note],
        "graph": graph.draw(boxes) if boxes else None,
        "boxes": boxes,
        "evaluations": [(step.name, scores.task_views(step.results)) for step in run.evaluations if step.results],
        "outcomes": [name.replace("_", " ") for name in OUTCOMES],
        "outcome_classes": OUTCOMES,
        "curves": trained,
        "transcripts": [(step.name, transcripts.task_transcripts(step)) for step in run.evaluations[-1:]],
        "checks": trust.checks(run),
        "licences": provenance.licences(run),
        "final": final,
        "marks": marks,
        "times": provenance.times(run),
        "made": count(sum(step.record.status == "made" for step in run.steps)),
        "reused": count(sum(step.record.status == "reused" for step in run.steps)),
        "details": provenance.details(run),
        "recipe": recipe[:RECIPE_LIMIT],
        "recipe_path": run.record.recipe_path,
        "recipe_cut": max(0, len(recipe) - RECIPE_LIMIT),
    }
