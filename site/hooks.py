"""What mkdocs does not do by itself: a page per stage from its settings, and links to files outside docs/."""

import inspect
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bactrian.recipe.schema import recipe_schema
from bactrian.stages import all_stages

ROOT = Path(__file__).parents[1]
ROOMS = {
    "data": "Data",
    "tune": "Training",
    "rl": "Reinforcement learning",
    "judge": "Preferences and judges",
    "synth": "Synthetic data",
    "measure": "Measuring",
}
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The stages' part of the menu, by room."""
    sections: list[dict[str, list[str]]] = [
        {title: [f"stages/{name}.md" for name, stage in all_stages().items() if _room(stage) == room]}
        for room, title in ROOMS.items()
    ]
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Stages" in entry:
            entry["Stages"] = sections
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the stages' pages."""
    definitions = recipe_schema()["$defs"]
    for name, stage in all_stages().items():
        own = next(d for d in definitions.values() if d["properties"].get("stage", {}).get("const") == name)
        page = stage_page(name, inspect.getdoc(stage) or "", own["properties"], definitions, _room(stage))
        files.append(File.generated(config, f"stages/{name}.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file of the repository that is no page becomes its path; one to nothing is an error."""

    def path_of(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        docs = Path(config.docs_dir).resolve()
        found = ((docs / page.file.src_path).parent / target).resolve()
        if found.is_relative_to(docs):  # mkdocs looks after these
            return link[0]
        if not found.exists():
            raise PluginError(f"{page.file.src_path}: the link to {target} leads nowhere")
        path = found.relative_to(ROOT).as_posix()
        return f"{text}" if path in text else f"{text} (`{path}` in the repository)"

    return _OUTSIDE.sub(path_of, markdown)


def stage_page(name: str, told: str, settings: dict[str, Any], definitions: dict[str, Any], room: str) -> str:
    """Markdown: what the stage does, then a table of its settings and one of each group."""
    groups = {
        field: _reference(schema)
        for field, schema in settings.items()
        if field != "ablate" and _reference(schema) in definitions
    }
    flat = {field: schema for field, schema in settings.items() if field not in ("stage", "ablate", *groups)}
    required = [field for field, schema in flat.items() if "default" not in schema]
    lines = [f"# {name}", "", told, "", "```yaml", "  a_step:", f"    stage: {name}"]
    lines += [f"    {field}: …  # {flat[field].get('description', '')}".rstrip(" #") for field in required]
    lines += [
        "```",
        "",
        f"The maths and what is not done: [The stages](../stages.md). As a command: `bactrian {name} --help`.",
        "",
    ]
    lines += ["## Settings", "", *_table(flat)]
    for field, reference in groups.items():
        told = settings[field].get("description") or definitions[reference].get("description", "")
        lines += ["", f"## {field}", "", f"A group: `{field}: {{…}}`. {_cell(told)}", ""]
        lines += _table(definitions[reference]["properties"])
    return "\n".join(lines) + "\n"


def _table(fields: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{field}` | {_type(schema)} | {_default(schema)} | {_cell(schema.get('description', ''))} |"
        for field, schema in fields.items()
    ]
    return ["| setting | value | default | meaning |", "|---|---|---|---|", *rows]


def _type(schema: dict[str, Any]) -> str:
    """In the words of error messages."""
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if (reference := _reference(schema)) is not None:
        return reference if "anyOf" not in schema else "a mapping"
    if "anyOf" in schema or "oneOf" in schema:
        parts = [_type(part) for part in schema.get("anyOf", schema.get("oneOf", [])) if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    words = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    if schema.get("type") == "array":
        return "a list"
    if schema.get("type") == "object":
        return "a mapping"
    return words.get(str(schema.get("type")), "")


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return "must be given"
    value = schema["default"]
    empty = value is None or value in ("", [], {})
    return "" if empty else f"`{str(value).lower() if isinstance(value, bool) else _cell(str(value))}`"


def _reference(schema: dict[str, Any]) -> str | None:
    """The definition that a schema is, also where it may be left out."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix("#/$defs/")
    parts = [part for part in schema.get("anyOf", []) if part.get("type") != "null"]
    return _reference(parts[0]) if len(parts) == 1 else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _room(stage: type) -> str:
    return stage.__module__.split(".")[2]
