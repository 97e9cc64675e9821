"""What a setting may name: losses, estimators and schedules, ours and those that other packages declare. No torch here.

A choice is declared where its function is, and nowhere else:

    >>> from bactrian.train.losses import PREFERENCE_LOSSES, Objective, PairLosses, PairSums
    >>> @PREFERENCE_LOSSES.declare("hinge", "max(0, 1 - margin) on sums [SLiC-HF]", needs_reference=True)
    ... def hinge(pairs: PairSums, objective: Objective) -> PairLosses:
    ...     chosen, rejected = pairs.log_ratios("hinge")
    ...     chosen, rejected = objective.beta * chosen, objective.beta * rejected
    ...     return PairLosses((1 - (chosen - rejected)).clamp(min=0), chosen, rejected)

Then `loss: hinge` is valid in a recipe. The registries, and what their functions take and give:

    losses.PREFERENCE_LOSSES   (PairSums, Objective) -> PairLosses               `loss` of stage dpo
    losses.POLICY_LOSSES       (PolicyTokens, low, high) -> PolicyLoss           `objective` of stage rlvr
    losses.ADVANTAGES          rewards [B, G] -> advantages [B, G]               `advantage` of stage rlvr
    losses.AGGREGATES          (each [N], lengths [N], StepSize) -> scalar       `aggregate` of stage rlvr
    losses.KL_ESTIMATORS       log-ratio [N] -> estimate [N]                     `kl_estimator` of rlvr and ppo
    schedules.SCHEDULES        (share of the steps done, floor) -> multiple      `schedule` of all training

A package other than this one names the module in its entry points, by any name:

    [project.entry-points."bactrian.losses"]
    hinge = "my_package.losses"

Such modules are imported when a setting names a choice that is not among ours. One that a step uses is noted in the
step's manifest (`store/parts.py`): when its code changes, the step is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest, show
from bactrian.store.parts import note
from bactrian.store.plugins import Plugins

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

PLUGINS: Plugins[object] = Plugins("bactrian.losses", "loss", "a module that declares choices", lambda found: True)
"""Entry points of this group name a module (or something in it) whose import declares choices."""
OURS = "bactrian."

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Choice(Generic[Function]):
    """A function under its name.

    doc: what it is, in a line, for help texts. needs_reference: it reads the log-probabilities of a reference model.
    takes: the settings that only some of its kind read, by name. module: where it is declared.
    """

    name: str
    function: Function
    doc: str
    needs_reference: bool = False
    takes: frozenset[str] = frozenset()
    module: str = ""


class Registry(Generic[Function]):
    """All choices of one kind, by name, in the order in which they were declared."""

    def __init__(self, kind: str) -> None:
        """
        Args:
            kind: in words, for messages: "preference loss".
        """
        self.kind = kind
        self.choices: dict[str, Choice[Function]] = {}

    def declare(
        self, name: str, doc: str, *, needs_reference: bool = False, takes: Iterable[str] = ()
    ) -> Callable[[Function], Function]:
        """A decorator: the function is the choice of this name. Arguments are the fields of `Choice`.

        Raises:
            BactrianError: another module's function has the name.
        """

        def keep(function: Function) -> Function:
            module = function.__module__
            before = self.choices.get(name)
            if before is not None and before.module != module:
                raise BactrianError(
                    f"two choices of {self.kind} are called {name!r}: one of {before.module} and one of {module}"
                )
            self.choices[name] = Choice(name, function, doc, needs_reference, frozenset(takes), module)
            return function

        return keep

    def find(self, name: str) -> Choice[Function]:
        """The choice of this name; other packages' modules are imported if it is none that is known.

        Raises:
            BactrianError: there is none; says which there are.
        """
        if name not in self.choices:
            load_entry_points()
        if name not in self.choices:
            meant = nearest(name, self.choices)
            hint = f'; did you mean "{meant}"?' if meant else ""
            raise BactrianError(f"found {show(name)}, expected a {self.kind}: {', '.join(self.choices)}{hint}")
        return self.choices[name]

    def use(self, name: str) -> Function:
        """The function of this name, for a step that is being made; another package's is noted in its manifest.

        Raises:
            BactrianError: there is none.
        """
        choice = self.find(name)
        if not choice.module.startswith(OURS):  # ours are in the step's key: its stage imports them
            note(f"{self.kind} {name}", choice.module)
        return choice.function

    def described(self) -> str:
        """Each name with its line, for a help text."""
        return "; ".join(f"{choice.name}: {choice.doc}" for choice in self.choices.values())

    def taking(self, setting: str) -> list[str]:
        """The names of the choices that read a setting."""
        return [choice.name for choice in self.choices.values() if setting in choice.takes]


@cache
def load_entry_points() -> None:
    """Import what other installed packages name under `PLUGINS`.

    Raises:
        BactrianError: one of them cannot be imported; names it and its package.
    """
    for name in PLUGINS.names():
        PLUGINS.get(name)


@dataclass(frozen=True)
class OneOf:
    """In a setting's annotation: its text names a choice. `Annotated[str, OneOf(PREFERENCE_LOSSES)]`."""

    registry: Registry[Any]

    def names(self) -> list[str]:
        """The choices that are known so far, for help texts."""
        return list(self.registry.choices)

    def check(self, value: str) -> str:
        """
        Raises:
            ValueError: there is no such choice.
        """
        try:
            return self.registry.find(value).name
        except BactrianError as error:
            raise ValueError(str(error)) from error

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))
