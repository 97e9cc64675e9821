"""The JSON schema of recipes, made from the settings of the stages: editors complete and check with it as one types."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bactrian.recipe.ablate import Ablate
from bactrian.recipe.recipe import Header
from bactrian.stages import all_stages
from bactrian.store.hardware import HardwareSettings

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a recipe. Each step is checked by the settings of the stage that it names."""
    stages = all_stages()
    models: list[type[BaseModel]] = [Header, HardwareSettings, Ablate, *stages.values()]
    places, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Plain, ref_template="#/$defs/{model}"
    )
    definitions = schema["$defs"]
    top = dict(definitions.pop(_name(places[Header, "validation"])))
    steps = {}
    for name, stage in stages.items():
        own = dict(definitions[_name(places[stage, "validation"])])
        own["properties"] = {
            "stage": {"const": name, "description": own.get("description", "")},
            **own["properties"],
            "ablate": places[Ablate, "validation"],
        }
        own["required"] = ["stage", *own.get("required", [])]
        definitions[_name(places[stage, "validation"])] = own
        steps[name] = places[stage, "validation"]
    top["properties"]["steps"] |= {
        "additionalProperties": {
            "type": "object",
            "required": ["stage"],
            "properties": {"stage": {"enum": list(steps)}},
            "allOf": [
                {"if": {"properties": {"stage": {"const": name}}}, "then": reference}
                for name, reference in steps.items()
            ],
        }
    }
    top["required"] = ["steps"]  # a recipe without a name is called by its file
    return {"$schema": DRAFT, **top, "title": "Bactrian recipe", "$defs": definitions}


def schema_text() -> str:
    """The schema as it is written to a file; recipes/recipe.schema.json is this."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


class _Plain(GenerateJsonSchema):
    """Without a title for each field: editors would show it in place of the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")
