"""A stage as a command: each field an option, and a recipe of one step behind it."""

import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic.fields import FieldInfo

from bactrian.errors import BactrianError
from bactrian.errors.wording import show, type_in_words
from bactrian.recipe.given import reading_settings, takes_several
from bactrian.recipe.groups import groups_of
from bactrian.stages.stage import Stage
from bactrian.train.registry import OneOf

if TYPE_CHECKING:
    from bactrian.recipe.recipe import Recipe

INSIDE = "__"
"""Between a group and a setting in it, in the name of an option; in its flag it is a dot: --watch.look-every."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def stage_command(
    stage: type[Stage], shared: Sequence[Decorator], run_recipe: Callable[["Recipe", Path], None]
) -> click.Command:
    """The command of a stage. `shared` adds --store and --set; `run_recipe(recipe, store)` does the work."""

    def callback(store: Path, overrides: tuple[str, ...], run_name: str, seed: int, **values: Any) -> None:
        given = {name: value for name, value in values.items() if value not in (None, ())}
        run_recipe(one_step_recipe(stage, given, run_name, seed, overrides), store)

    decorated: Callable[..., Any] = callback
    for decorate in reversed(shared):
        decorated = decorate(decorated)
    common = [
        click.Option(["--name", "run_name"], default=stage.name, show_default=True, help="Name of the run."),
        click.Option(["--seed"], type=click.IntRange(min=0), default=0, show_default=True),
    ]
    about = {"help": stage.__doc__, "short_help": _first_sentence(stage.__doc__)}
    command = click.command(stage.name, cls=_StageCommand, **about)(decorated)
    command.groups = {name: stage.model_fields[name].description or "" for name in groups_of(stage)}
    command.reading = frozenset(reading_settings(stage))
    command.params = [*_options(stage), *common, *command.params]
    return command


class _Values(click.Argument):
    """Values that stand bare on the command line, with a line of help as an option has."""

    def __init__(self, names: list[str], about: str, required: bool) -> None:
        super().__init__(names, nargs=-1, required=required, metavar=f"{names[0].upper()}…")
        self.about = about

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.about


class _StageCommand(click.Command):
    """A command whose help has the settings of each group, and how files are read, under headings of their own."""

    groups: dict[str, str]
    reading: frozenset[str]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = {param.name: record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))}
        inside = {name for name in shown if str(name).partition(INSIDE)[0] in self.groups and INSIDE in str(name)}
        inside |= self.reading
        with formatter.section("Options"):
            formatter.write_dl([record for name, record in shown.items() if name not in inside])
        if self.reading:
            with formatter.section("How files of others are read (stage source)"):
                formatter.write_dl([shown[name] for name in shown if name in self.reading])
        for group, described in self.groups.items():
            with formatter.section(f"Group {group} ({described})"):
                formatter.write_dl([shown[name] for name in shown if str(name).startswith(group + INSIDE)])


def _options(stage: type[Stage]) -> Iterator[click.Parameter]:
    """An option for each setting, required ones first; of a group, for each setting in it."""
    groups = groups_of(stage)
    for name, field in sorted(stage.model_fields.items(), key=lambda item: not item[1].is_required()):
        if name == stage.positional:
            yield _argument(name, field)
        elif name != "seed" and (name not in groups or not field.default_factory):
            yield _option(name, field)
    yield from (_option(name, field) for name, field in reading_settings(stage).items())
    for group, record in groups.items():
        if record.shorthand:
            help_text = f"Short for {_flag(f'{group}{INSIDE}{record.shorthand}')}."
            yield click.Option([_flag(group), group], metavar="TEXT", help=help_text)
        yield from (_option(f"{group}{INSIDE}{name}", field) for name, field in record.model_fields.items())


def one_step_recipe(
    stage: type[Stage], given: dict[str, Any], name: str, seed: int, overrides: Sequence[str] = ()
) -> "Recipe":
    """A recipe of this one step; `given` are option texts.

    Raises:
        BactrianError: naming the option at fault.
    """
    from bactrian.recipe.document import Document, Place, parse_value
    from bactrian.recipe.recipe import check

    settings: dict[str, Any] = {"stage": stage.name}
    origins: dict[Place, str] = {}
    groups = groups_of(stage)

    def put(path: list[str], value: Any, origin: str) -> None:
        inside = len(path) == 2 and path[0] in groups
        if inside and not isinstance(settings.get(path[0]), dict):
            settings[path[0]] = {}
        elif len(path) == 1 and path[0] in groups and groups[path[0]].shorthand and isinstance(value, str):
            return put([path[0], groups[path[0]].shorthand], value, origin)
        holder = settings[path[0]] if inside else settings
        holder[path[-1] if inside else ".".join(path)] = value
        origins["steps", stage.name, *path] = origin

    for option, value in given.items():
        origin = f"{_flag(option)} {' '.join(value) if isinstance(value, tuple) else value}"
        *group, field = option.split(INSIDE)
        fields = groups[group[0]].model_fields if group else {**reading_settings(stage), **stage.model_fields}
        put([*group, field], setting_value(fields[field].rebuild_annotation(), value, origin), origin)
    for override in overrides:
        field, _, text = override.removeprefix(f"{stage.name}.").partition("=")
        put(field.split("."), parse_value(text, f"--set {override}"), f"--set {override}")
    data = {"name": name, "seed": seed, "steps": {stage.name: settings}}
    return check(Document(f"bactrian {stage.name}", "", data, origins=origins), Path())


def _option(name: str, field: FieldInfo) -> click.Option:
    annotation, help_text = field.annotation, field.description or ""
    if field.is_required():
        help_text += "  [required]"
    elif field.default not in (None, [], (), {}) and not field.default_factory:
        help_text += f"  [default: {show(field.default)}]"
    if annotation in (bool, bool | None):
        flag = _flag(name).removeprefix("--")
        return click.Option([f"--{flag}/--no-{flag}", name], default=None, help=help_text.strip())
    if takes_several(field.rebuild_annotation()):
        return click.Option([_flag(name), name], multiple=True, metavar="TEXT", help=f"{help_text.strip()}; repeatable")
    several = _is_list(annotation)
    metavar = "VALUE,…" if several else _metavar(field)
    return click.Option([_flag(name), name], multiple=several, metavar=metavar, help=help_text.strip())


def _argument(name: str, field: FieldInfo) -> click.Argument:
    """The setting whose values stand bare on the command line."""
    return _Values([name], field.description or "", field.is_required())


def _metavar(field: FieldInfo) -> str:
    """ "[dpo|simpo]" for choices, else TEXT, NUMBER, MAPPING."""
    annotation = field.annotation
    if registered := next((mark for mark in field.metadata if isinstance(mark, OneOf)), None):
        return f"[{'|'.join(registered.names())}]"
    if typing.get_origin(annotation) is typing.Literal:
        return f"[{'|'.join(map(str, typing.get_args(annotation)))}]"
    return (type_in_words(annotation) or "YAML").upper().removeprefix("A ").removeprefix("WHOLE ")


def setting_value(annotation: Any, value: Any, origin: str) -> Any:
    """An option's text as the value that the recipe would hold."""
    from bactrian.recipe.document import parse_value

    if isinstance(value, bool):
        return value
    if isinstance(value, tuple) and takes_several(annotation):
        return value[0] if len(value) == 1 else list(value)
    if isinstance(value, tuple):
        if any(text.lstrip().startswith(("[", "{")) for text in value):
            return _parsed_list(annotation, value, origin)
        element = next(iter(typing.get_args(annotation)), str)
        return [setting_value(element, part.strip(), origin) for text in value for part in text.split(",")]
    if typing.get_origin(annotation) is dict and "=" in value and not value.lstrip().startswith("{"):
        return _pairs(typing.get_args(annotation)[1], value, origin)
    return value if _takes_text(annotation) else parse_value(value, origin)


def _parsed_list(annotation: Any, texts: tuple[str, ...], origin: str) -> Any:
    """Lists, and objects without the brackets of their list, from one option or several; or the one object itself where
    the setting takes that too."""
    from bactrian.recipe.document import parse_value

    if len(texts) == 1 and (texts[0].lstrip().startswith("[") or typing.get_origin(annotation) is not list):
        return parse_value(texts[0], origin)
    found: list[Any] = []
    for text in texts:
        found += parse_value(text if text.lstrip().startswith("[") else f"[{text}]", origin)
    return found


def _pairs(element: Any, text: str, origin: str) -> dict[str, Any]:
    """The mapping of "name=value,name=value".

    Raises:
        BactrianError: a part has no "=".
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not equals for _, equals, _ in pairs):
        raise BactrianError(f"{origin}: expected name=value,name=value, or {{name: value}} where a value has a comma")
    return {name.strip(): setting_value(element, value.strip(), origin) for name, _, value in pairs}


def _takes_text(annotation: Any) -> bool:
    """Whether a text is meant as it stands: for str and choices among texts, but not for `int | Literal["auto"]`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _takes_text(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(_takes_text(part) for part in typing.get_args(annotation) if part is not type(None))
    return annotation in (str, Path)


def _is_list(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return typing.get_origin(annotation) in (list, tuple)


def _flag(name: str) -> str:
    return "--" + name.replace(INSIDE, ".").replace("_", "-")


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
