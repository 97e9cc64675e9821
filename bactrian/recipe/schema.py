"""The JSON schema of recipes, made from the settings of the stages: editors complete and check with it as one types."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bactrian.recipe.ablate import Ablate
from bactrian.recipe.given import reading_settings, takes_several
from bactrian.recipe.groups import groups_of
from bactrian.recipe.recipe import Header
from bactrian.stages import all_stages
from bactrian.stages.data.source import ReadingSettings
from bactrian.store.hardware import PRESETS, HardwareSettings

OWN_STAGE = r"\.py:[A-Za-z_]\w*$"
"""A stage in a user's own file: FILE.py:CLASS."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a recipe. Each step is checked by the settings of the stage that it names."""
    stages = all_stages()
    models: list[type[BaseModel]] = [Header, HardwareSettings, Ablate, ReadingSettings, *stages.values()]
    places, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Plain, ref_template="#/$defs/{model}"
    )
    definitions = schema["$defs"]
    top = dict(definitions.pop(_name(places[Header, "validation"])))
    steps = {}
    reading = definitions[_name(places[ReadingSettings, "validation"])]["properties"]
    for name, stage in stages.items():
        own = dict(definitions[_name(places[stage, "validation"])])
        own["properties"] = {
            "stage": {"const": name, "description": own.get("description", "")},
            **own["properties"],
            "ablate": places[Ablate, "validation"],
        }
        for group, record in groups_of(stage).items():
            if record.shorthand:
                own["properties"][group] = {"anyOf": [own["properties"][group], {"type": "string"}]}
        own["properties"] |= {
            setting: described for setting, described in reading.items() if setting in reading_settings(stage)
        }
        for setting, field in stage.model_fields.items():
            if takes_several(field.rebuild_annotation()):
                own["properties"][setting] = _or_several(own["properties"][setting])
        own["required"] = ["stage", *own.get("required", [])]
        definitions[_name(places[stage, "validation"])] = own
        steps[name] = places[stage, "validation"]
    top["properties"]["steps"] |= {
        "additionalProperties": {
            "type": "object",
            "required": ["stage"],
            "properties": {"stage": {"anyOf": [{"enum": list(steps)}, {"type": "string", "pattern": OWN_STAGE}]}},
            "allOf": [
                {"if": {"properties": {"stage": {"const": name}}}, "then": reference}
                for name, reference in steps.items()
            ],
        }
    }
    top["properties"]["hardware"] = {
        "anyOf": [{"$ref": top["properties"]["hardware"]["$ref"]}, {"enum": list(PRESETS)}]
    }
    top["required"] = ["steps"]  # a recipe without a name is called by its file
    return {"$schema": DRAFT, **top, "title": "Bactrian recipe", "$defs": definitions}


def _or_several(described: dict[str, Any]) -> dict[str, Any]:
    """A setting that names one data set, or a list of files, which are read as one."""
    rest = {name: value for name, value in described.items() if name not in ("type", "anyOf")}
    one = described.get("anyOf", [{"type": "string"}])
    return {"anyOf": [*one, {"type": "array", "items": {"type": "string"}, "minItems": 1}], **rest}


def schema_text() -> str:
    """The schema as it is written to a file; recipes/recipe.schema.json is this."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


class _Plain(GenerateJsonSchema):
    """Without a title for each field: editors would show it in place of the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")
