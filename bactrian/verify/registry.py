"""All verifiers, by the name that stands in a problem row's `dataset`: ours, and those that others register."""

import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from bactrian.chat import TAGS
from bactrian.errors import BactrianError
from bactrian.store.fingerprint import fingerprint_of
from bactrian.store.own_files import is_own
from bactrian.store.parts import note
from bactrian.store.plugins import Plugins
from bactrian.verify.final_answer import answer_part, declines
from bactrian.verify.verdict import NOTHING, Example, Problem, Verdict, unparsable

Check = Callable[[Problem, str], Verdict]
Place = Literal["here", "worker", "thread", "judge"]
PLUGINS: Plugins[object] = Plugins(
    "bactrian.verifiers", "verifier", "a module that registers verifiers", lambda found: True
)
"""Entry points of this group name a module (or something in it) whose import registers verifiers."""
LIMIT = 1_000_000
"""A completion of more characters is not looked at: no answer is that long."""


@dataclass(frozen=True)
class Verifier:
    """A function from (problem, completion) to a verdict, and what must be known to run it.

    `place` is where it runs: "here" if it is quick on any input; "worker" if it may be slow, hang or crash (a process
    that can be killed, fenced in by worker.py); "thread" if it keeps such processes of its own, as the sandbox does;
    "judge" if a model decides, which the pool is given (model_verifiers.py).
    `settings` are those that a row may give, with their defaults. `examples`: gold answers and hard negatives.
    `sees_thinking`: it wants the completion whole. `check_truth` raises ValueError for a problem that it cannot judge.
    `of_form`: what a text says does not matter to it, so that nonsense can be right. `module` is imported by a worker
    to find it; or it is the path of a user's own file (own.py).
    """

    check: Check
    examples: tuple[Example, ...]
    place: Place = "here"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sees_thinking: bool = False
    check_truth: Callable[[Problem], None] | None = None
    of_form: bool = False
    module: str = ""

    @property
    def slow(self) -> bool:
        return self.place == "worker"

    @property
    def own(self) -> bool:
        """Whether it is in a user's own file."""
        return self.module.endswith(".py")


BUILT_IN = {
    name: f"bactrian.verify.{module}"
    for module, names_ in {
        "maths.gsm8k": "gsm8k gsm8k_strict",
        "maths.competition": "math math_strict math_hendrycks math_minerva math_value math_verify",
        "instructions.ifeval": "ifeval ifeval_strict",
        "instructions.training_constraints": "instructions",
        "text.multiple_choice": "choice",
        "text.spans": "squad_em squad_f1 drop flan bbh",
        "text.contained": "contains",
        "text.asking": "asking",
        "maths.deepmind": "deepmind",
        "code.code": "code code_rate",
        "code.pal": "pal",
        "gym": "reasoning_gym",
        "text.form": "format gated length",
        "text.refusal": "compliance compliance_model",
        "text.noncompliance": "noncompliance",
        "text.recital": "recital verbatim",
        "model_verifiers": "judge reward_model cascade",
    }.items()
    for name in names_.split()
}
"""Our verifiers and their modules, each imported when the first row names it: a step depends on those that it uses."""
NO_TRUTH = ("format", "judge", "reward_model")
"""Of our verifiers, those that judge an answer without a ground truth: where a stage names one, rows need only ask."""
VERIFIERS: dict[str, Verifier] = {}
"""What has been registered so far; `names()` loads all."""


def register(
    name: str,
    *,
    examples: Iterable[Example],
    place: Place = "here",
    settings: Mapping[str, Any] = NOTHING,
    sees_thinking: bool = False,
    check_truth: Callable[[Problem], None] | None = None,
    of_form: bool = False,
) -> Callable[[Check], Check]:
    """A decorator: the function verifies the rows whose `dataset` is `name`. Fields as of
    `Verifier`.

    >>> @register("shout", examples=[Example("YES", "", "right"), Example("yes", "", "wrong")])
    ... def shout(problem: Problem, completion: str) -> Verdict:
    ...     loud = completion.isupper()
    ...     return Verdict(float(loud), "right" if loud else "wrong", completion, "in capitals" if loud else "not loud")

    Raises:
        BactrianError: if the name is taken by another module's function.
    """

    def keep(check: Check) -> Check:
        module = check.__module__
        if name in VERIFIERS and VERIFIERS[name].module != module:
            raise BactrianError(
                f"two verifiers are called {name!r}: one of {VERIFIERS[name].module} and one of {module}"
            )
        VERIFIERS[name] = Verifier(check, tuple(examples), place, settings, sees_thinking, check_truth, of_form, module)
        return check

    return keep


@cache
def load_entry_points() -> None:
    """Import what other installed packages name under `PLUGINS`.

    Raises:
        BactrianError: naming the one that fails.
    """
    for name in PLUGINS.names():
        PLUGINS.get(name)


def names() -> list[str]:
    """The names of all verifiers, other packages' included; loads them all."""
    for module in dict.fromkeys(BUILT_IN.values()):
        importlib.import_module(module)
    load_entry_points()
    return list(VERIFIERS)


def verifier(dataset: str) -> Verifier:
    """The verifier of this name, loaded if need be.

    Raises:
        BactrianError: with the nearest name if there is none.
    """
    if dataset not in VERIFIERS and dataset in BUILT_IN:
        importlib.import_module(BUILT_IN[dataset])
    if dataset not in VERIFIERS:
        load_entry_points()
    if dataset not in VERIFIERS and is_own(dataset):
        raise BactrianError(
            f"found the verifier {dataset!r} in a row; a row's text names no file to be run: "
            "give it as the setting `reward` or `verifier` of the step"
        )
    if dataset not in VERIFIERS:
        near = get_close_matches(dataset, names(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BactrianError(f"no verifier is called {dataset!r}; expected one of {', '.join(VERIFIERS)}{hint}")
    found = VERIFIERS[dataset]
    if found.module:
        note(f"verifier {dataset}", found.module)
    return found


def versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Verifiers that problem rows name, a gate's second one included → the hash of the code of
    each.

    Part of the name of whatever keeps verdicts.

    Raises:
        BactrianError: for a verifier that there is not.
    """
    named = {name for row in rows for name in (row["dataset"], (row.get("settings") or NOTHING).get("then")) if name}
    return {name: fingerprint_of(verifier(name).module) for name in sorted(named)}


def verify(
    dataset: str,
    completion: str,
    ground_truth: str,
    settings: Mapping[str, Any] = NOTHING,
    prompt: str = "",
    earlier: Sequence[Mapping[str, str]] = (),
    row: Mapping[str, Any] = NOTHING,
) -> Verdict:
    """One verdict, in this process, however long it takes.

    The answer is what follows the thinking section; where the verifier finds none, "refused" tells
    a text that declines from one that cannot be read; an exception in the verifier is "crashed".

    Raises:
        BactrianError: for an unknown `dataset` or setting, and what the verifier itself says is
            the user's to mend.
    """
    found = verifier(dataset)
    problem = Problem(ground_truth, complete(dataset, settings), prompt, earlier, row)
    if len(completion) > LIMIT:
        return unparsable(f"a text of more than {LIMIT:,} characters")
    answer = completion if found.sees_thinking else answer_part(completion, problem.settings["thinking"])
    if answer is None:
        return unparsable("the thinking section is never closed: no answer")
    try:
        verdict = found.check(problem, answer)
    except BactrianError:
        raise
    except Exception as error:
        return Verdict(0.0, "crashed", None, f"the verifier raised {error!r}"[:300])
    if verdict.outcome == "unparsable" and declines(answer):
        return replace(verdict, outcome="refused", reason=f"declines to answer; {verdict.reason}")
    return verdict


def complete(dataset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The verifier's settings: its defaults, and what a row gives.

    Every verifier has `thinking`: the two tags of a thinking section, or None if there is none to
    be cut.

    Raises:
        BactrianError: for what it does not have.
    """
    found = verifier(dataset)
    if found.own and not found.settings:  # only its file knows what settings mean something
        _check_setting("thinking", given.get("thinking"), TAGS)
        return {"thinking": TAGS, **given}
    known = {"thinking": TAGS, **found.settings}
    for name, value in given.items():
        if name not in known:
            raise BactrianError(f"setting {name!r}: the verifier {dataset} has {', '.join(known)}")
        _check_setting(name, value, known[name])
    return known | dict(given)


def _check_setting(name: str, value: Any, default: Any) -> None:
    """A setting must be of its default's type; `thinking` a pair of texts or null."""
    if name == "thinking":
        pair = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, str) and v for v in value)
        if not pair and value is not None:
            raise BactrianError(f"setting 'thinking': found {value!r}, expected two tags or null")
    elif type(value) is not type(default) and not (type(default) is float and type(value) is int):
        raise BactrianError(f"setting {name!r}: found {value!r}, expected {type(default).__name__}")


def check_verifiers(rows: Iterable[Mapping[str, Any]], where: str) -> None:
    """Let every verifier that problem rows name check itself, and every row's settings and ground
    truth be looked at.

    `where`: the rows' file, for messages.

    Raises:
        BactrianError: naming the first row whose verifier is unknown, fails its self-check, or
            cannot judge it.
    """
    checked: set[str] = set()
    for number, row in enumerate(rows, 1):
        dataset = row["dataset"]
        try:
            if dataset not in checked:
                self_check(dataset)
                checked.add(dataset)
            settings = row.get("settings", NOTHING)
            if not isinstance(settings, Mapping):
                raise BactrianError(f"found {settings!r:.60}, expected an object with the verifier's settings")
            complete(dataset, settings)
        except BactrianError as error:
            field = "settings" if dataset in checked else "dataset"
            raise BactrianError(f"{where}, row {number}, field '{field}': {error}") from None
        _check_truth(row, f"{where}, row {number}")


def _check_truth(row: Mapping[str, Any], where: str) -> None:
    look = verifier(row["dataset"]).check_truth
    if look is not None:
        try:
            look(Problem(row["ground_truth"], complete(row["dataset"], row.get("settings", NOTHING))))
        except ValueError as error:
            raise BactrianError(f"{where}, field 'ground_truth': {error}") from None


def self_check(dataset: str) -> None:
    """Verify the verifier on its gold answers and hard negatives.

    One that runs in threads of its own has only its first two checked: each may take a second.

    Raises:
        BactrianError: naming the first it misses.
    """
    found = verifier(dataset)
    for example in found.examples[: 2 if found.place == "thread" else None]:
        verdict = verify(dataset, example.completion, example.ground_truth, example.settings, example.prompt)
        if verdict.outcome != example.outcome:
            raise BactrianError(
                f"the verifier {dataset} fails its self-check on {example.completion[:80]!r} with ground truth "
                f"{example.ground_truth[:80]!r}: found {verdict.outcome} ({verdict.reason}), expected {example.outcome}"
            )


def truth(problem: Problem) -> Any:
    """The ground truth as JSON.

    Raises:
        ValueError: saying where it is not.
    """
    try:
        return json.loads(problem.ground_truth)
    except ValueError as error:
        raise ValueError(f"found {problem.ground_truth[:60]!r}, expected JSON: {error}") from None
