"""Taggers: functions that say something of a document, by name; what they say is kept beside it, as attributes.

An attribute is a number for the whole document, or a list of spans [start, end, score] in characters of its text, as
the Dolma toolkit has them [Soldaini et al. 2024]. Its name is the tagger's and its own: `gopher__words`.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bactrian.data.corpus.text_batch import Row, TextBatch
from bactrian.errors import BactrianError
from bactrian.store.own_files import is_own, load, parted
from bactrian.store.parts import note

Span = Sequence[float]
Value = float | list[Span]
Said = Value | Mapping[str, Value]
"""What a tagger says of one text: one value, or several by name."""
Attributes = dict[str, Value]
Batched = Callable[[TextBatch], Sequence[Mapping[str, Value]]]
SEPARATOR = "__"


@dataclass(frozen=True)
class Tagger:
    """A tagger: what it says of each text of a batch, by the attributes' own names.

    needs: of "tokenizer", "classifier" and "toxicity" those that the step must name. extra: of the package, needed too.
    """

    name: str
    tag: Batched
    needs: tuple[str, ...] = ()
    extra: str = ""
    module: str = ""


BUILT_IN = {
    name: f"bactrian.data.corpus.{module}"
    for module, names in {
        "web_taggers": "gopher c4 repetition length",
        "detector_taggers": "language personal licence",
        "model_taggers": "token_repeats tokens classifier toxicity",
        "dolma_taggers": "gopher_v1 c4_v1",
    }.items()
    for name in names.split()
}
"""Our taggers and their modules, each imported when a step names it: a step depends on those that it uses."""
TAGGERS: dict[str, Tagger] = {}


def tagger(name: str) -> Callable[[Callable[[str], Said]], Callable[[str], Said]]:
    """A decorator: the function tags one text at a time; a single value is the attribute that is called as the tagger.

    >>> @tagger("shouting")
    ... def shouting(text: str) -> float:
    ...     return float(text.isupper())

    Raises:
        BactrianError: if another module's tagger has the name.
    """

    def keep(function: Callable[[str], Said]) -> Callable[[str], Said]:
        _register(Tagger(name, _each(function, name), module=function.__module__))
        return function

    return keep


def batch_tagger(name: str, needs: Sequence[str] = (), extra: str = "") -> Callable[[Batched], Batched]:
    """A decorator: the function tags a whole batch of documents, and gives the attributes of each.

    Raises:
        BactrianError: if another module's tagger has the name.
    """

    def keep(function: Batched) -> Batched:
        _register(Tagger(name, function, tuple(needs), extra, function.__module__))
        return function

    return keep


def _register(found: Tagger) -> None:
    there = TAGGERS.get(found.name)
    if there is not None and there.module != found.module:
        raise BactrianError(f"two taggers are called {found.name!r}: one of {there.module} and one of {found.module}")
    TAGGERS[found.name] = found


def check_name(name: str) -> None:
    """Loads nothing.

    Raises:
        BactrianError: with the nearest name if no tagger, ours or registered by now, has this one.
    """
    if not (is_own(name) or name in BUILT_IN or name in TAGGERS):
        near = get_close_matches(name, BUILT_IN, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BactrianError(f"no tagger is called {name!r}; expected one of {', '.join(BUILT_IN)}{hint}")


def find_tagger(name: str) -> Tagger:
    """The tagger of this name, loaded if need be; FILE.py:FUNCTION is one of a user's own file.

    Raises:
        BactrianError: with the nearest name if there is none, and what is wrong with a user's file.
    """
    if is_own(name):
        return _own(name)
    check_name(name)
    if name in BUILT_IN:
        importlib.import_module(BUILT_IN[name])
    found = TAGGERS[name]
    note(f"tagger {name}", found.module)
    return found


def _own(name: str) -> Tagger:
    function = load(name, "tagger", lambda found: found if callable(found) else None)
    path, own = parted(name)
    label = own.rpartition(".")[2]
    declared = next((each for each in TAGGERS.values() if each.tag is function), None)
    batched = declared.tag if declared else _each(function, name)
    return Tagger(label, _checked(batched, name), module=str(path))


def _each(function: Callable[[str], Said], name: str) -> Batched:
    def tag(batch: TextBatch) -> list[Mapping[str, Value]]:
        said = map(function, batch.texts)
        return [each if isinstance(each, Mapping) else {"": each} for each in said]

    return tag


def _checked(tag: Batched, name: str) -> Batched:
    """The same, but what is said is looked at: a user's function may say anything."""

    def checked(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
        try:
            said = tag(batch)
        except BactrianError:
            raise
        except Exception as error:
            raise BactrianError(f"the tagger {name} raised {error!r:.300}") from error
        for each, row, text in zip(said, batch.rows, batch.texts, strict=True):
            for attribute, value in each.items():
                if (wrong := flaw_of(value, len(text))) is not None:
                    where = f"{name} on document {row.get('id', '')}"
                    raise BactrianError(f"the tagger {where}, attribute {attribute or name!r}: {wrong}")
        return said

    return checked


def flaw_of(value: Any, length: int) -> str | None:
    """What is wrong with the value of an attribute of a text of so many characters, or None."""
    if _finite(value):
        return None
    if not isinstance(value, list | tuple):
        return f"found {value!r:.80}, expected a finite number or a list of [start, end, score]"
    for span in value:
        if not isinstance(span, list | tuple) or len(span) != 3 or not all(map(_finite, span)):
            return f"found the span {span!r:.80}, expected [start, end, score]"
        start, end, _ = span
        if start != int(start) or end != int(end) or not 0 <= start <= end <= length:
            return f"found the span {span!r:.80}, expected a part of a text of {length:,} characters"
    return None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def tag_rows(
    rows: Sequence[Row],
    names: Sequence[str],
    inputs: Mapping[str, Path] | None = None,
    languages: Sequence[str] = ("en",),
) -> list[Attributes]:
    """The attributes of each document, by their full names.

    Raises:
        BactrianError: for an unknown tagger, and as the taggers do.
    """
    batch = TextBatch(rows, inputs, languages)
    attributes: list[Attributes] = [{} for _ in rows]
    for name in names:
        found = find_tagger(name)
        for mine, said in zip(attributes, found.tag(batch), strict=True):
            for own, value in said.items():
                mine[f"{found.name}{SEPARATOR}{own}" if own else found.name] = value
    return attributes
