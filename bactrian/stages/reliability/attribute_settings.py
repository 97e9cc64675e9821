"""Settings that name attributes: a shipped set by its name, or a list of one's own."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bactrian.stages.stage import Settings

if TYPE_CHECKING:
    from bactrian.data.synth.attributes import AttributeSet


class AttributeSettings(Settings):
    """One attribute of a text."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]*$", description="what it is called")
    group: str = Field("", description="attributes of one group can be kept or left out together")
    definition: str = Field(min_length=1, description="what it means, in a sentence")
    levels: list[str] = Field(min_length=5, max_length=5, description="what 1 to 5 stand for, from least to most")
    enhanced: str = Field(min_length=1, description="what a text with more of it is like")
    corrupted: str = Field(min_length=1, description="what a text with less of it is like")


AttributesField = Annotated[
    str | list[AttributeSettings],
    Field(description="attributes: clinical, requests or overall, which are shipped, or a list of your own"),
]


def attributes_of(given: str | list[AttributeSettings], text: str = "", wording: str = "") -> "AttributeSet":
    """The attributes that a setting names; `text` and `wording`, where given, in place of the set's own.

    Raises:
        BactrianError: there is no such set, or two of one name.
    """
    from dataclasses import replace

    from bactrian.data.synth.attributes import AttributeSet, attribute_set, attributes

    if isinstance(given, str):
        found = attribute_set(given)
    else:
        found = AttributeSet("question", "", attributes([each.model_dump() for each in given]))
    return replace(found, text=text or found.text, wording=wording or found.wording)
