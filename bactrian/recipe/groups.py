"""Settings that stand in groups (`watch: {look_every: 20}`): where a flat one belongs, by the groups' own fields."""

import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bactrian.errors.wording import show
from bactrian.train.options import SettingsGroup


def group_in(annotation: Any) -> type[SettingsGroup] | None:
    """The group that a field is, also where it may be left out (`AdapterSettings | None`)."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, SettingsGroup) else None
    if typing.get_origin(annotation) in (list, tuple, dict):
        return None
    return next((found for part in typing.get_args(annotation) if (found := group_in(part)) is not None), None)


def groups_of(record: type[BaseModel]) -> dict[str, type[SettingsGroup]]:
    """A record's groups by field."""
    fields = record.model_fields.items()
    return {name: group for name, field in fields if (group := group_in(field.annotation)) is not None}


def home_of(record: type[BaseModel], setting: str) -> str | None:
    """The group that has a setting which the record itself has not; None where no group has it."""
    if setting in record.model_fields:
        return None
    return next((name for name, group in groups_of(record).items() if setting in group.model_fields), None)


def lengthened(record: type[BaseModel], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each text that stands in a group's place as the setting that it is short for.

    >>> from bactrian.stages.rl.rlvr import RLVR
    >>> lengthened(RLVR, {"reward": "reward.py:polite"})
    {'reward': {'verifier': 'reward.py:polite'}}
    """
    short = {name: group.shorthand for name, group in groups_of(record).items() if group.shorthand}
    return {
        name: {short[name]: value} if name in short and isinstance(value, str) else value
        for name, value in settings.items()
    }


def regrouped(record: type[BaseModel], settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings with each flat one put into its group, and for each of these how it is spelt now; a text in a group's
    place becomes its shorthand.

    >>> from bactrian.stages.rl.rlvr import RLVR
    >>> regrouped(RLVR, {"steps": 3, "look_every": 20})
    ({'steps': 3, 'watch': {'look_every': 20}}, {'look_every': 'watch: {look_every: 20}'})
    """
    result, spellings = dict[str, Any](), dict[str, str]()
    for setting, value in lengthened(record, settings).items():
        home = home_of(record, setting)
        if home is None:
            given, there = value, result.get(setting)
            result[setting] = {**there, **given} if isinstance(given, Mapping) and isinstance(there, dict) else given
        else:
            spellings[setting] = f"{home}: {{{setting}: {show(value)}}}"
            there = result.get(home)
            if there is None or isinstance(there, Mapping):
                result[home] = {**(there or {}), setting: value}
    return result, spellings
