"""A stage as a command: each field an option, and a recipe of one step behind it."""

import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic.fields import FieldInfo

from bactrian.errors.wording import show, type_in_words
from bactrian.stages.stage import Stage
from bactrian.train.registry import OneOf

if TYPE_CHECKING:
    from bactrian.recipe.recipe import Recipe

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def stage_command(
    stage: type[Stage], shared: Sequence[Decorator], run_recipe: Callable[["Recipe", Path], None]
) -> click.Command:
    """The command of a stage. `shared` adds --store and --set; `run_recipe(recipe, store)` does the work."""
    fields = sorted(
        ((name, field) for name, field in stage.model_fields.items() if name != "seed"),
        key=lambda item: not item[1].is_required(),
    )

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
    command = click.command(stage.name, help=stage.__doc__, short_help=_first_sentence(stage.__doc__))(decorated)
    command.params = [*(_option(name, field) for name, field in fields), *common, *command.params]
    return command


def one_step_recipe(
    stage: type[Stage], given: dict[str, Any], name: str, seed: int, overrides: Sequence[str] = ()
) -> "Recipe":
    """A recipe of this one step; `given` are option texts. Raises BactrianError naming the option at fault."""
    from bactrian.recipe.document import Document, Place, parse_value
    from bactrian.recipe.recipe import check

    settings: dict[str, Any] = {"stage": stage.name}
    origins: dict[Place, str] = {}
    for field, value in given.items():
        origin = f"{_flag(field)} {' '.join(value) if isinstance(value, tuple) else value}"
        settings[field] = _value(stage.model_fields[field].annotation, value, origin)
        origins["steps", stage.name, field] = origin
    for override in overrides:
        field, _, text = override.removeprefix(f"{stage.name}.").partition("=")
        settings[field] = parse_value(text, f"--set {override}")
        origins["steps", stage.name, field] = f"--set {override}"
    data = {"name": name, "seed": seed, "steps": {stage.name: settings}}
    return check(Document(f"bactrian {stage.name}", "", data, origins=origins), Path())


def _option(name: str, field: FieldInfo) -> click.Option:
    annotation, help_text = field.annotation, field.description or ""
    if field.is_required():
        help_text += "  [required]"
    elif field.default not in (None, [], (), {}) and not field.default_factory:
        help_text += f"  [default: {show(field.default)}]"
    if annotation in (bool, bool | None):
        flag = name.replace("_", "-")
        return click.Option([f"--{flag}/--no-{flag}", name], default=None, help=help_text.strip())
    several = _is_list(annotation)
    metavar = "VALUE,…" if several else _metavar(field)
    return click.Option([_flag(name), name], multiple=several, metavar=metavar, help=help_text.strip())


def _metavar(field: FieldInfo) -> str:
    """ "[dpo|simpo]" for choices, else TEXT, NUMBER, MAPPING."""
    annotation = field.annotation
    if registered := next((mark for mark in field.metadata if isinstance(mark, OneOf)), None):
        return f"[{'|'.join(registered.names())}]"
    if typing.get_origin(annotation) is typing.Literal:
        return f"[{'|'.join(map(str, typing.get_args(annotation)))}]"
    return (type_in_words(annotation) or "YAML").upper().removeprefix("A ").removeprefix("WHOLE ")


def _value(annotation: Any, value: Any, origin: str) -> Any:
    """An option's text as the value that the recipe would hold."""
    from bactrian.recipe.document import parse_value

    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        if len(value) == 1 and value[0].lstrip().startswith(("[", "{")):
            return parse_value(value[0], origin)
        element = next(iter(typing.get_args(annotation)), str)
        return [_value(element, part.strip(), origin) for text in value for part in text.split(",")]
    return value if _takes_text(annotation) else parse_value(value, origin)


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
    return "--" + name.replace("_", "-")


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
