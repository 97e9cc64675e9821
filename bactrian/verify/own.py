"""Verifiers in a user's own file: `reward.py:polite`, a plain function that says what an answer is worth.

Where a recipe is read, only the name is known; the file is imported in the worker processes that the pool can kill.
"""

import ast
import asyncio
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bactrian.errors import BactrianError
from bactrian.store.own_files import EXPECTED, load, parsed, parted, place_of
from bactrian.verify.registry import VERIFIERS, Check, Verifier
from bactrian.verify.verdict import OUTCOMES, Problem, Verdict
from bactrian.verify.worker_process import Worker

Form = Literal["problem", "plain", "batch"]
FORMS = """\
  def reward(completion: str, row: dict) -> float
  def reward(completion: str) -> float
  def reward(problem: Problem, completion: str) -> Verdict
  def reward(completions: list[str], **columns) -> list[float]"""
TAKEN = ("prompt", "prompts", "row", "problem", "completions")
"""Names that say what a parameter is for: in another place they are a mistake."""
RIGHT_FROM = 1.0
"""A score, where the function gives no verdict, of an answer that counts as right."""


def use_own(name: str) -> str:
    """From now on rows may be verified by FILE.py:FUNCTION; gives the name back. Imports nothing of the file."""
    path = str(parted(name)[0])
    VERIFIERS[name] = Verifier(_not_here, (), "worker", sees_thinking=True, of_form=True, module=path)
    return name


def _not_here(problem: Problem, completion: str) -> Verdict:
    raise BactrianError("a verifier in a user's own file runs in a worker: ask a bactrian.verify.Pool")


class _Source(str):
    """Shown as it stands in a file: an annotation, or a default."""

    __repr__ = str.__str__


def check_written(name: str) -> None:
    """Look at what a function takes, as its file has it. Nothing of the file is run: what it decorates or makes
    otherwise than by a `def` at its top is not known here, and left to `check_own`.

    Raises:
        BactrianError: the file cannot be read, or the function has another form than the known ones.
    """
    path, wanted = parted(name)
    defined = [node for node in parsed(path).body if getattr(node, "name", None) == wanted]
    if len(defined) != 1 or not isinstance(defined[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if not defined[0].decorator_list:
        form_of(_bare(defined[0], path), name)


def _bare(node: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> Callable[..., Any]:
    """A function with these parameters that does nothing."""
    given = node.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    parameters += [each for each in (given.vararg, given.kwarg) if each]
    notes = {each.arg: _Source(ast.unparse(each.annotation)) for each in parameters if each.annotation}
    notes |= {"return": _Source(ast.unparse(node.returns))} if node.returns else {}
    defaults = [_Source(ast.unparse(each)) for each in given.defaults]
    keyword = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    named = {each.arg: _Source(ast.unparse(value)) for each, value in keyword if value is not None}
    for each in parameters:
        each.annotation = None
    nothing: list[ast.expr] = [ast.Constant(None) for _ in defaults]
    given.defaults, given.kw_defaults = nothing, [each and ast.Constant(None) for each in given.kw_defaults]
    node.returns, node.body = None, [ast.Pass()]
    made: dict[str, Any] = {}
    module = ast.fix_missing_locations(ast.Module([node], []))
    exec(compile(module, str(path), "exec"), made)  # noqa: S102 - a def without defaults and body
    function: Callable[..., Any] = made[node.name]
    function.__annotations__, function.__defaults__, function.__kwdefaults__ = notes, tuple(defaults), named
    return function


def check_own(names: Sequence[str]) -> None:
    """Import files in a process of their own, and look at what the functions take.

    Raises:
        BactrianError: a file fails, has no such function, or it has another form than the known ones.
    """
    worker = Worker.start(10.0, {name: str(parted(name)[0]) for name in names})
    try:
        worker.wait_until_ready()
    finally:
        if worker.alive:
            worker.kill()


def register_own(name: str) -> None:
    """Import the file here, in a worker.

    Raises:
        BactrianError: as `check_own`.
    """
    function = load(name, "verifier", lambda found: found if callable(found) else None)
    declared = next((each for each in VERIFIERS.values() if each.check is function), None)
    check = own_check(name, function)
    kept = declared or Verifier(check, (), of_form=True, sees_thinking=form_of(function, name) != "problem")
    VERIFIERS[name] = replace(kept, check=check, place="worker", module=str(parted(name)[0]))


def own_check(name: str, function: Callable[..., Any]) -> Check:
    """A user's function as a verifier's: its score as a verdict, what it raises as "crashed".

    Raises:
        BactrianError: the function has none of the known forms.
    """
    form, path = form_of(function, name), parted(name)[0]

    def check(problem: Problem, completion: str) -> Verdict:
        row = {"prompt": problem.prompt, **problem.row}
        if "_given" in row:  # data/io/rows.py: what the row had before this function was put in its verifier's place
            row = {name: value for name, value in row.items() if name not in ("dataset", "ground_truth", "_given")}
            row |= problem.row["_given"]
        where = f" of row {row['id']}" if row.get("id") else ""
        try:
            said = _awaited(_call(function, form, problem, completion, row))
        except BactrianError:
            raise
        except Exception as error:
            reason = f"{name} raised {error!r:.200} ({place_of(error, path)}) on an answer{where}"
            return Verdict(0.0, "crashed", None, reason)
        if form == "batch":
            if not isinstance(said, Sequence) or isinstance(said, str) or len(said) != 1:
                raise BactrianError(f"{name} returned {said!r:.80} for an answer{where}: expected a list of one number")
            said = said[0]
        return _verdict(said, f"{name} returned {{}} for an answer{where}")

    return check


def _call(function: Callable[..., Any], form: Form, problem: Problem, completion: str, row: dict[str, Any]) -> Any:
    if form == "problem":
        return function(problem, completion)
    if form == "plain":
        return function(completion, row) if len(_wanted(function)) > 1 else function(completion)
    columns = {name: [value] for name, value in row.items()}
    messages = [{"role": "assistant", "content": completion}]
    columns |= {"prompts": columns["prompt"], "completions": [messages if _of_messages(function) else completion]}
    parameters = inspect.signature(function).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        columns = {name: value for name, value in columns.items() if name in parameters}
    if absent := [each for each in _wanted(function) if each not in columns]:
        raise BactrianError(f"{function.__name__} wants {', '.join(absent)}; the row has the columns {', '.join(row)}")
    return function(**columns)


def _of_messages(function: Callable[..., Any]) -> bool:
    """Whether completions are wanted as lists of messages: `completions: list[list[dict[str, str]]]`."""
    annotation = inspect.signature(function).parameters["completions"].annotation
    return "dict" in str(annotation).lower() or "mapping" in str(annotation).lower()


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all calls: what an async client keeps open belongs to the loop."""
    return asyncio.Runner()


def _awaited(said: Any) -> Any:
    async def wait() -> Any:
        return await said

    return _runner().run(wait()) if inspect.isawaitable(said) else said


def _verdict(said: Any, sentence: str) -> Verdict:
    """What a function returned, as a verdict.

    Raises:
        BactrianError: it is no finite number and no verdict.
    """
    if isinstance(said, Verdict):
        if said.outcome not in OUTCOMES:
            raise BactrianError(f"{sentence.format(f'the outcome {said.outcome!r}')}: expected {', '.join(OUTCOMES)}")
        return replace(said, score=_finite(said.score, sentence))
    score = _finite(said, sentence)
    return Verdict(score, "right" if score >= RIGHT_FROM else "wrong", None, f"score {score:g}")


def _finite(said: Any, sentence: str) -> float:
    try:
        if isinstance(said, str | bytes) or said is None:
            raise TypeError
        score = float(said)  # NumPy's and torch's single numbers too
    except (TypeError, ValueError, OverflowError):
        raise BactrianError(f"{sentence.format(f'{said!r:.80} ({type(said).__name__})')}: expected a number") from None
    if not math.isfinite(score):
        raise BactrianError(f"{sentence.format(score)}: expected a finite number")
    return score


def form_of(function: Callable[..., Any], name: str) -> Form:
    """How a function is to be called, by the names and number of its parameters.

    Raises:
        BactrianError: with the forms that are known, and the one found.
    """
    if inspect.isclass(function):
        raise BactrianError(f'found "{name}", which is a class, expected {EXPECTED["verifier"]}')
    parameters = inspect.signature(function).parameters
    if "completions" in parameters:
        return "batch"
    wanted = _wanted(function)
    fits = 1 <= len(wanted) <= 2 and all(parameters[each].kind is not inspect.Parameter.KEYWORD_ONLY for each in wanted)
    if fits and len(wanted) == 2 and (wanted[0] == "problem" or _is_problem(parameters[wanted[0]].annotation)):
        return "problem"
    misplaced = (wanted[:1] and wanted[0] in TAKEN) or (wanted[1:] and wanted[1] in ("completion", "prompt", "problem"))
    if fits and not misplaced:
        return "plain"
    raise BactrianError(f"{_place(function, name)}: found {_shown(function)}, expected one of\n{FORMS}")


def _wanted(function: Callable[..., Any]) -> list[str]:
    """The parameters that a call must give; a second one with a default is the row all the same, if it is called so."""
    parameters = inspect.signature(function).parameters.values()
    return [
        each.name
        for each in parameters
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        and (each.default is each.empty or each.name == "row")
    ]


def _is_problem(annotation: Any) -> bool:
    return annotation is Problem or str(annotation).rpartition(".")[2].strip("'\"") == "Problem"


def _place(function: Callable[..., Any], name: str) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{parted(name)[0]}, line {code.co_firstlineno}" if code else str(parted(name)[0])


def _shown(function: Callable[..., Any]) -> str:
    return f"def {getattr(function, '__name__', 'reward')}{inspect.signature(function)}"
