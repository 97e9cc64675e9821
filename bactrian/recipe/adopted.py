"""Files of others that a step reads → steps of the recipe's own that adopt them: a `source` each, a `mix` of a list.

    tuned: {stage: sft, model: base, data: [chats.json, faq.csv], columns: {prompt: question, response: reply}}

stands for

    chats: {stage: source, data: chats.json, columns: {prompt: question, response: reply}}
    faq: {stage: source, data: faq.csv, columns: {prompt: question, response: reply}}
    tuned-data: {stage: mix, sources: [{data: chats}, {data: faq}]}
    tuned: {stage: sft, model: base, data: tuned-data}

The first rows of each file are looked at here, before anything is made: rows that fit as they are need no such step,
and those that cannot be used are refused.
"""

import copy
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bactrian.data.io.adoption import Account, Adoption
from bactrian.data.io.files import scan_rows
from bactrian.data.io.first_rows import Finding, examine, first_rows, fits, is_licensed, made_needs, one_by_one
from bactrian.data.io.formats import ENDINGS, Fault
from bactrian.data.io.needs import RowNeed
from bactrian.data.io.rows import Row
from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.recipe.document import Place
from bactrian.recipe.given import given_references, put, reading_settings, takes_files
from bactrian.recipe.groups import lengthened
from bactrian.recipe.own_parts import marked_texts
from bactrian.recipe.recipe_errors import RecipeErrors, validated
from bactrian.recipe.references import find_path, problem_with
from bactrian.stages.data.source import DataSource, ReadingSettings
from bactrian.stages.stage import Stage
from bactrian.store.manifest import Kind, Licence
from bactrian.store.own_files import is_own

FORM = "format"
"""A verifier of ours that reads no ground truth; where only a reward model counts it stands for none."""
ALL: tuple[RowNeed, ...] = typing.get_args(RowNeed)


@dataclass
class Adopted:
    """Steps as they were written and those of the recipe's own, which come first.

    needs: what each of the latter is read for. unlicensed: data that do not say on what terms they are given.
    """

    steps: dict[str, Any]
    needs: dict[str, tuple[RowNeed, ...]]
    unlicensed: tuple[str, ...]


def adopt_references(
    steps: Mapping[str, Any], known: Mapping[str, type[Stage]], folder: Path, strict: bool, problems: RecipeErrors
) -> Adopted:
    """The steps with references to others' files replaced by steps that adopt them; what is wrong goes to `problems`.

    Args:
        known: stages by name. folder: where paths are looked up. strict: data without a licence are refused.
    """
    adopter = _Adopter(steps, known, folder, strict, problems)
    written = {name: adopter.step(name, settings) for name, settings in steps.items()}
    return Adopted({**adopter.made, **written}, adopter.needs, tuple(adopter.unlicensed))


@dataclass
class _Adopter:
    steps: Mapping[str, Any]
    known: Mapping[str, type[Stage]]
    folder: Path
    strict: bool
    problems: RecipeErrors
    made: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, tuple[RowNeed, ...]] = field(default_factory=dict)
    unlicensed: dict[str, None] = field(default_factory=dict)

    def step(self, name: str, settings: Any) -> Any:
        """The settings of a step, as they are or with other references."""
        stage = self._stage(settings)
        if stage is DataSource:
            self._look_at_source(name, settings)
            return settings
        if stage is None or not takes_files(stage):
            return settings
        how = {key: settings[key] for key in reading_settings(stage) if key in settings}
        if validated(ReadingSettings, how, ("steps", name), self.problems) is None:
            return {key: value for key, value in settings.items() if key not in how}
        judge = verifier_of(stage, settings)
        truthless = is_own(judge) or judge == FORM  # then any row that asks something will do
        how |= {"verifier": judge} if judge and not truthless else {}
        before = len(self.made), len(self.problems.lines)
        changed = copy.deepcopy({key: value for key, value in settings.items() if key not in how})
        for path, value, mark in list(given_references(stage, changed)):
            if mark.rows:
                self._look_at_columns(name, value, how)
                mine = judge if truthless and "problem" in mark.rows else ""
                put(changed, path, self._reference(name, path, value, mark.rows, how, mine))
        unread = before == (len(self.made), len(self.problems.lines)) and not self._adopts(stage, changed)
        if how and not judge and unread:
            what = "this says how a file is read, and no file of this step is; say it in the step that reads one"
            self.problems.add(("steps", name, next(iter(how))), "", what)
        return changed

    def _look_at_columns(self, name: str, value: Any, how: Mapping[str, Any]) -> None:
        """Note a column that is named and that no row has. Of several files each may lack some."""
        path = self._file(value) if isinstance(value, str) and how.get("columns") else None
        if path is None:
            return
        rows = [row for row, _ in first_rows(path, how.get("text_rows", "line")) if not isinstance(row, Fault)]
        there = sorted(set().union(*rows))
        for given, column in Adoption(source=str(value), columns=how["columns"]).read_columns:
            if rows and column not in there and how["columns"][given] not in there:
                meant = nearest(column, there)
                hint = f'; did you mean "{meant}"?' if meant else ""
                found = f'"{column}", a column that none of the first rows of {value} has'
                self.problems.add(("steps", name, "columns", given), found, f"one of {', '.join(there)}{hint}")

    def _stage(self, settings: Any) -> type[Stage] | None:
        return self.known.get(str(settings.get("stage"))) if isinstance(settings, Mapping) else None

    def _adopts(self, stage: type[Stage], settings: Any) -> bool:
        return any(
            ref in self.made
            for _, value, mark in given_references(stage, settings)
            if mark.rows
            for ref in ([value] if isinstance(value, str) else value)
        )

    def _reference(
        self, name: str, at: Place, value: Any, needs: tuple[RowNeed, ...], how: dict[str, Any], judge: str = ""
    ) -> Any:
        """What a step reads in place of this. `judge`: what judges whatever the rows name, without a ground truth."""
        if isinstance(value, list):
            if not value or not all(isinstance(each, str) for each in value):
                return value
            parts = [self._reference(name, (*at, i), each, needs, how, judge) for i, each in enumerate(value)]
            together = {"stage": "mix", "sources": [{"data": part} for part in dict.fromkeys(parts)]}
            return parts[0] if len(set(parts)) == 1 else self._new(f"{name}-{at[-1]}", together, needs)
        place = ("steps", name, *at)
        if value in self.steps:
            met = self._met(value)
            if met is not None and not met & set(needs) and not judge:
                found = f'"{value}", a step that makes {" or ".join(sorted(met))} rows'
                self.problems.add(place, found, " or ".join(needs) + " rows")
            return value
        if problem_with(value, Kind.DATA, self.folder, self.steps) is not None:
            return value  # said where all references are checked
        settings = {key: each for key, each in how.items() if key != "verifier" or "problem" in needs}
        settings |= {"keep": ["label"]} if "feedback" in needs else {}
        path = find_path(value, self.folder)
        if path is None:
            self._licence(value, place, _is_clear(how.get("license", "")), None)
            repository, _, revision = value.partition("@")
            place_of = {"hub": repository, **({"revision": revision} if revision else {})}
            return self._new(repository.rpartition("/")[2], {"stage": "source", **place_of, **settings}, needs)
        if judge:
            rows = first_rows(path)
            if all(isinstance(row, Fault) or asks(row) for row, _ in rows) and not how:
                self._licence(value, place, all(isinstance(row, Fault) or is_licensed(row) for row, _ in rows), path)
                return value  # read as it is, with all its columns
            columns = {name for row, _ in rows if not isinstance(row, Fault) for name in row}
            settings = {"verifier": judge, "keep": sorted(columns - {"license", "source", "id"}), **settings}
        read = DataSource(data=value, **settings)
        finding = self._finding(read, path, place, needs, as_they_are=not how)
        if finding is None or finding.own:
            return value
        settings |= {"verifier": finding.verifier} if finding.verifier else {}
        return self._new(_stem(value), {"stage": "source", "data": value, **settings}, needs)

    def _finding(
        self, read: DataSource, path: Path, place: Place, needs: tuple[RowNeed, ...], as_they_are: bool
    ) -> Finding | None:
        """What the first rows are; None if they cannot be used, which is noted."""
        how = _adoption(read)
        try:
            finding = examine(first_rows(path, read.text_rows), needs, how, read.bad_limit, as_they_are)
            self._licence(str(read.data), place, finding.licensed, path if not how.license else None)
        except BactrianError as error:
            finding = Finding(misfit=("", str(error)))
        if finding.misfit is None:
            return finding
        self.problems.add(place, *finding.misfit)
        return None

    def _licence(self, ref: str, place: Place, licensed: bool, path: Path | None) -> None:
        """Note data without a licence. `path`: where the rows are that must each state theirs, if all is read."""
        if licensed and self.strict and path is not None:
            licensed = all(isinstance(row, Fault) or is_licensed(row) for row, _ in scan_rows(path))
        if licensed:
            return
        self.unlicensed[ref] = None
        if self.strict:
            what = f"{ref} states no licence, or not of all rows, and this recipe demands them (licences: strict)"
            self.problems.add(place, "", f"{what}; find it out and write license: …")

    def _look_at_source(self, name: str, settings: Any) -> None:
        """The first rows of what a `source` that the recipe has itself will read."""
        read = _typed(settings)
        if read is None or read.data in self.steps:
            return
        stated = _is_clear(read.license)
        if read.data is None:
            self._licence(str(read.hub), ("steps", name, "hub"), stated, None)
        elif problem_with(read.data, Kind.DATA, self.folder, self.steps) is None:
            path = find_path(read.data, self.folder)
            if path is not None:
                self._finding(read, path, ("steps", name, "data"), ALL, as_they_are=False)

    def _met(self, name: str) -> set[RowNeed] | None:
        """What a step's rows will be good for, as far as the first rows of what it reads say; None if they do not."""
        settings = self.steps[name]
        stage = self._stage(settings)
        if stage is DataSource:
            read = _typed(settings)
            if read is None or read.data is None or (path := self._file(read.data)) is None:
                return None
            return made_needs(first_rows(path, read.text_rows), _adoption(read)) or None
        if stage is None or not stage.passes_rows:
            return None
        met: set[RowNeed] = set()
        for _, value, mark in given_references(stage, settings):
            if mark.kind is not Kind.DATA or mark.held_out or not isinstance(value, str):
                continue
            inner = self._met(value) if value in self.steps and value != name else self._met_by_file(value)
            if inner is None:
                return None
            met |= inner
        return met or None

    def _met_by_file(self, value: str) -> set[RowNeed] | None:
        path = self._file(value)
        if path is None:
            return None
        rows = [row for row, _ in first_rows(path) if not isinstance(row, Fault)]
        return {need for need in ALL if rows and all(fits(row, (need,)) for row in rows)} or None

    def _file(self, ref: str) -> Path | None:
        there = ref not in self.steps and problem_with(ref, Kind.DATA, self.folder, ()) is None
        return find_path(ref, self.folder) if there else None

    def _new(self, wanted: str, settings: dict[str, Any], needs: tuple[RowNeed, ...]) -> str:
        """The name of a step of the recipe's own with these settings, added unless it is there."""
        for name, there in self.made.items():
            if _same(there, settings):
                return name
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", wanted).strip("-_") or "data"
        names = [
            base,
            f"{base}-data",
            *(f"{base}-{number}" for number in range(2, len(self.made) + len(self.steps) + 3)),
        ]
        name = next(name for name in names if name not in self.steps and name not in self.made)
        self.made[name], self.needs[name] = settings, needs
        return name


def rows_as_read(ref: str, stages: Mapping[str, Stage], folder: Path) -> list[Row]:
    """The first rows of a file, as a step of a recipe reads them: adopted, where a `source` reads it for the step.

    None, of what is not there yet.

    Args:
        stages: of the recipe, by step. folder: of the recipe.
    """
    read = stages.get(ref)
    if read is not None and not (isinstance(read, DataSource) and read.data and read.data not in stages):
        return []
    path = find_path(str(read.data) if read else ref, folder)
    if path is None:
        return []
    rows = first_rows(path, read.text_rows) if read else first_rows(path)
    found = one_by_one(rows, _adoption(read), Account()) if read else (row for row, _ in rows)
    return [row for row in found if not isinstance(row, Fault)]


def verifier_of(stage: type[Stage], settings: Mapping[str, Any]) -> str:
    """What judges the rows of a step in place of what they name: its `verifier`, or its reward; "" if nothing does."""
    for use in marked_texts(stage, lengthened(stage, settings)):
        if use.kind == "verifier":
            return use.ref
    return ""


def asks(row: Mapping[str, Any]) -> bool:
    """Whether a row is a question as it is: messages that end with a user's, in `messages` or `prompt`, or a text."""
    asked = row.get("messages", row.get("prompt"))
    if isinstance(asked, str):
        return bool(asked.strip())
    return isinstance(asked, list) and bool(asked) and isinstance(asked[-1], dict) and asked[-1].get("role") == "user"


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_clear(licence: str) -> bool:
    return "unclear" not in Licence.of("", licence).marks


def _typed(settings: Any) -> DataSource | None:
    """The settings of a `source`, if they are in order: what is wrong with them is said elsewhere."""
    try:
        return DataSource.model_validate(
            {key: value for key, value in settings.items() if key not in ("stage", "ablate")}
        )
    except ValidationError:
        return None


def _adoption(read: DataSource) -> Adoption:
    return Adoption(
        source=str(read.data or read.hub),
        license=read.license if _is_clear(read.license) else "",
        layout=read.layout,
        columns=read.columns,
        keep=tuple(read.keep),
        verifier=read.verifier,
    )


def _stem(ref: str) -> str:
    """A file's name without its endings; of a pattern that has none, its folder's."""
    name = Path(ref).name
    for ending in (".zst", ".gz", ".txt", *ENDINGS):
        name = name.removesuffix(ending)
    return name if re.search(r"\w", name) else Path(ref).parent.name
