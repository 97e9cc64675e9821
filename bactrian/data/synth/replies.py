"""What a generator wrote, read: as a text after a fixed label, or as JSON that keeps to a schema; or why it is dropped.

Answers are hostile. They are never evaluated. What is mended (a fence, words around the one object, a comma before a
closing bracket) is counted; what does not keep to the schema after that is dropped, and nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from bactrian.data.curate.quality import Flaw
from bactrian.store.extras import lacks

FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL | re.IGNORECASE)
DEEPEST = 64
"""Brackets within brackets; no schema of ours needs more, and deeper ones are made to break parsers."""
CHARACTERS_A_TOKEN = 12
"""An answer of more characters than this for each token that it may have comes from no sane server."""
STEERING = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}"
    r"\b(?:instructions?|schema|prompts?|rules|format|guidelines|everything above|the above)\b"
    r"|<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|system|user|assistant)\|>"
    r"|\[/?INST\]|<<SYS>>|</?s>(?=\s|\Z)",
    re.IGNORECASE,
)
"""Words for whoever reads a text next, and control tokens of chat templates: no task or answer holds them."""
SPACE = re.compile(r"\s+")
QUOTED = 60
"""Characters of the prompt, white space apart, of which an answer that holds them in a row repeats it."""


@dataclass(frozen=True)
class Reading:
    """The fields of an answer, and what had to be mended to read them."""

    fields: Mapping[str, Any]
    mended: tuple[str, ...] = ()


def text_flaw(text: str, prompt: str, longest: int, may_repeat: bool = False) -> Flaw | None:
    """What is wrong with an answer whatever it should hold: nothing, too much, the prompt again, words that steer.

    longest: characters. may_repeat: the prompt, as long as something is added.
    """
    if not text.strip():
        return Flaw("an empty answer")
    if len(text) > longest:
        return Flaw("an answer that is too long", f"{len(text):,} characters")
    if steering := STEERING.search(text):
        return Flaw("an answer that gives orders to its reader", steering[0][:80])
    if _is_part(text, prompt) if may_repeat else repeats(text, prompt):
        return Flaw("an answer that repeats the prompt")
    return None


def _is_part(text: str, prompt: str) -> bool:
    said, asked = (SPACE.sub(" ", each).strip().casefold() for each in (text, prompt))
    return said in asked


def repeats(text: str, prompt: str) -> bool:
    """Whether an answer is a part of the prompt, or begins with the prompt's first or holds its last QUOTED characters.

    Of a prompt that is shorter than that, whether the answer begins with all of it and adds less than as much.
    """
    said, asked = (SPACE.sub(" ", each).strip().casefold() for each in (text, prompt))
    if len(asked) < QUOTED:
        return bool(asked) and said.startswith(asked) and len(said) < 2 * len(asked)
    whole = len(said) >= QUOTED and said in asked
    return whole or said.startswith(asked[:QUOTED]) or asked[-QUOTED:] in said


def read_text(text: str, label: str) -> Reading | Flaw:
    """What follows a label ("Problem:") with which an answer was asked to begin; all of it without a label."""
    said = text.strip()
    if not label:
        return Reading({"text": said})
    bare = said.lstrip("*# \t")
    if not bare.casefold().startswith(label.casefold()):
        return Flaw("the label is missing", repr(said[:60]))
    rest = bare[len(label) :].lstrip("* \t\n")
    if label.casefold() in rest.casefold():
        return Flaw("the label occurs more than once")
    if not rest:
        return Flaw("nothing after the label")
    return Reading({"text": rest}, ("marks before the label",) if bare != said else ())


def check_schema(schema: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: what is no JSON schema of an object with properties.
        BactrianError: jsonschema is not installed.
    """
    library = _jsonschema()
    try:
        library.Draft202012Validator.check_schema(schema)
    except library.SchemaError as error:
        raise ValueError(f"no JSON schema: {error.message}") from None
    if schema.get("type") != "object" or not schema.get("properties"):
        raise ValueError('expected a schema of type "object" with properties')


def read_json(text: str, schema: Mapping[str, Any]) -> Reading | Flaw:
    """An answer that is one JSON object as the schema says.

    Keys that `properties` do not list are a fault unless the schema itself allows them; a key that occurs twice too,
    and numbers that JSON has not (NaN).

    Raises:
        BactrianError: jsonschema is not installed.
    """
    found = _object_in(text)
    if isinstance(found, Flaw):
        return found
    closed = {"additionalProperties": False, **schema}
    validator = _jsonschema().Draft202012Validator(closed)
    error = next(iter(sorted(validator.iter_errors(found.fields), key=lambda each: list(map(str, each.path)))), None)
    if error is None:
        return found
    where = "/".join(map(str, error.path))
    return Flaw("JSON that is not of the schema", f"{f'{where}: ' if where else ''}{error.message}"[:160])


def _object_in(text: str) -> Reading | Flaw:
    said, mended = text.strip(), []
    if fenced := FENCE.match(said):
        said, mended = fenced[1].strip(), ["a fence"]
    first, last = said.find("{"), said.rfind("}")
    if first < 0 or last < first:
        return Flaw("no JSON", repr(said[:60]))
    if (first, last) != (0, len(said) - 1):
        said = said[first : last + 1]
        mended.append("words around the object")
    if _depth(said) > DEEPEST:
        return Flaw("JSON that is nested too deep")
    for attempt in (said, re.sub(r",(\s*[}\]])", r"\1", said)):
        try:
            value = json.loads(attempt, object_pairs_hook=_once, parse_constant=_no_number)
        except ValueError as error:
            fault = str(error)
            continue
        if not isinstance(value, dict):
            return Flaw("no JSON object")
        return Reading(value, tuple([*mended, "a comma too many"] if attempt != said else mended))
    return Flaw("no JSON", fault[:100])


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key that occurs twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _jsonschema() -> Any:
    try:
        import jsonschema
    except ImportError:
        raise lacks("answers by schema", "synthesis") from None
    return jsonschema
