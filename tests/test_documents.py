"""What documents say can be done: every code block of README.md, CONTRIBUTING.md and docs/ runs, and names that they
give are there.

Python is executed on tiny models and a few rows, recipes are planned, commands are parsed. See tests/documents.py.
"""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import (
    DOCUMENTS,
    ROOT,
    SHELL,
    Block,
    all_blocks,
    blocks,
    check_command,
    commands,
    steps_of,
    write_rows,
)

BLOCKS = all_blocks()
RUN = [block for block in BLOCKS if not block.why]
NOT_RUN = {"docs/clusters.md": 2, "docs/design.md": 6, "docs/gpu.md": 1}
"""Blocks under a line `<!-- not run: why -->`, by document."""
TOUR = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(?!mine|reward)([a-z_/]+\.py)(?::([\w.]+))?`", TOUR)))
"""Files of Bactrian, and what is in them; mine.py and reward.py are the reader's."""


def defined(path: Path) -> set[str]:
    """Names of functions, classes and, as Class.method, what is in them."""
    tree = ast.parse(path.read_text("utf-8")).body
    inside = {
        f"{node.name}.{each.name}"
        for node in tree
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef)
    }
    return inside | {node.name for node in tree if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("file, name", NAMED)
def test_what_the_tour_names_is_there(file: str, name: str) -> None:
    place = ROOT / file if file.startswith(("tests/", "site/")) else ROOT / "bactrian" / file
    assert place.is_file()
    assert not name or name in defined(place)


def test_the_tour_names_something() -> None:
    assert len(NAMED) > 30


def test_errors_are_said_in_one_style() -> None:
    """A docstring lists what a function raises in a block, `Raises:`, and in no sentence."""
    found, sentence = [], re.compile(r"(?<![:`])\bRaises [A-Z]\w+")
    for path in sorted((ROOT / "bactrian").rglob("*.py")):
        if sentence.search(source := path.read_text()):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    found += [f"{path}: {each[0]}" for each in sentence.finditer(ast.get_docstring(node) or "")]
    assert not found, "\n".join(found)


def of(*languages: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in RUN if block.language in languages]


def test_every_block_is_of_a_known_kind() -> None:
    strange = [str(block) for block in RUN if block.language not in (*SHELL, "python", "yaml", "json", "text")]
    assert not strange, "nothing is known of these; mark them <!-- not run: why -->"


def test_blocks_that_are_not_run_are_few_and_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    marked = [block for block in BLOCKS if block.why]
    for block in marked:
        print(f"not run: {block}, {block.language}: {block.why}")
    found = {name: sum(block.document == name for block in marked) for name in {block.document for block in marked}}
    assert found == NOT_RUN, capsys.readouterr().out
    lines = re.findall("^<!-- not run", "\n".join(document.read_text() for document in DOCUMENTS), re.MULTILINE)
    assert len(lines) == len(marked), "a marker stands directly above its block"


def test_fences_are_all_seen() -> None:
    for document in DOCUMENTS:
        fences = [line for line in document.read_text().splitlines() if re.match(r" *```", line)]
        assert len(fences) == 2 * len(list(blocks(document))), document.name


@pytest.mark.parametrize("block", of(*SHELL))
def test_commands_can_be_typed(block: Block) -> None:
    for command in commands(block.text):
        if block.language or command.startswith("bactrian "):  # what a program prints is in blocks without a language
            check_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "bactrian runn recipe.yaml",
        "bactrian run recipe.yaml --sett a.b=1",
        "bactrian sft --learning-rat 1",
        "bactrian verify score",
        "make quickstrat",
        "python benchmarks/no_such.py",
        "rm -r runs",
    ],
)
def test_commands_that_cannot_are_seen(command: str) -> None:
    with pytest.raises(AssertionError):
        check_command(command)


@pytest.mark.parametrize("block", of("json"))
def test_json_can_be_read(block: Block) -> None:
    try:
        json.loads(block.text)
    except ValueError:
        assert all(json.loads(line) for line in block.text.splitlines())


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.model.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("documents") / "tiny", context=2048)


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what blocks name, where embedded models are tiny and a plan measures nothing."""
    from bactrian.evaluate import task_rows
    from bactrian.model import embedded
    from bactrian.run import missing_packages, plan
    from bactrian.run.python import RecipeInCode
    from bactrian.run.rehearsal.rehearse import CAPS, _cap
    from bactrian.verify.registry import VERIFIERS

    step = RecipeInCode.step

    def less(recipe: RecipeInCode, name: str, stage: str, **settings: Any) -> RecipeInCode:
        from bactrian.stages import all_stages

        known = all_stages()[stage].model_fields
        defaults = {key: int(CAPS[key]) for key in ("max_new_tokens", "steps", "samples") if key in known}
        return step(recipe, name, stage, **{**defaults, **_cap(settings, name, CAPS, [])})

    monkeypatch.setattr(RecipeInCode, "step", less)
    monkeypatch.setattr(embedded, "materialise", lambda name: tiny_model)
    monkeypatch.setattr(missing_packages, "what_lacks", lambda recipe, steps: "")
    monkeypatch.setattr(plan, "what_lacks", lambda recipe, steps: "")
    monkeypatch.setattr(plan, "measure_speed", lambda hardware: 1e12)
    monkeypatch.delenv(task_rows.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    yield tmp_path
    for name in [name for name, found in VERIFIERS.items() if found.own or found.module == "block"]:
        del VERIFIERS[name]


def put(ref: str, kind: Any, rows: tuple[str, ...], folder: Path, model: Path) -> None:
    """Something of this name, for a block that shows a part of a recipe: what steps before it would have made."""
    from bactrian.recipe.references import find_path, problem_with
    from bactrian.store.manifest import Kind

    if find_path(ref, Path()) or problem_with(ref, kind, Path(), ()) is None:
        return
    place = folder / ref
    place.parent.mkdir(parents=True, exist_ok=True)
    given = {"problem": "unseen.jsonl", "pair": "pairs.jsonl"}.get(rows[0] if rows else "", "rows.jsonl")
    if kind is Kind.MODEL:
        place.symlink_to(model)
    elif place.suffix:
        if place.suffix == ".csv":
            place.write_text("question,answer\n" + "".join(f"what is {n} + {n},#### {2 * n}\n" for n in range(6)))
        else:
            shutil.copy(folder / given, place)
    else:
        place.mkdir()
        shutil.copy(folder / given, place / "data.jsonl")


@pytest.mark.parametrize("block", of("yaml"))
def test_recipes_can_be_planned(block: Block, here: Path, tiny_model: Path) -> None:
    from bactrian.recipe.document import Document
    from bactrian.recipe.given import given_references
    from bactrian.recipe.groups import lengthened
    from bactrian.recipe.own_parts import own_uses
    from bactrian.recipe.recipe import check
    from bactrian.run.plan import plan
    from bactrian.stages import all_stages
    from bactrian.store.artifact import Store
    from bactrian.store.own_files import is_own

    data = {"name": "block", **steps_of(block.text)}
    for name in [name for name, settings in data["steps"].items() if is_own(settings["stage"])]:
        del data["steps"][name]  # a class of the reader's
    for settings in data["steps"].values():
        stage = all_stages()[settings["stage"]]
        given = {name: value for name, value in settings.items() if name not in ("stage", "ablate")}
        plain = lengthened(stage, given)
        for use in own_uses(stage, plain):
            file, _, name = use.ref.partition(":")
            with (here / file).open("a") as written:
                written.write(f"def {name or 'unused'}(completion, row):\n    return 1.0\n")
        for _, value, mark in given_references(stage, plain):
            for ref in [value] if isinstance(value, str) else value:
                if ref not in data["steps"]:
                    put(ref, mark.kind, mark.rows, here, tiny_model)
    if not data["steps"]:
        return
    recipe = check(Document(str(block), block.text, data), here)
    made = plan(recipe, Store(here / "runs"))
    assert len(made.steps) >= len(data["steps"])


PYTHON = sorted({block.document for block in RUN if block.language == "python"})


@pytest.mark.parametrize("document", PYTHON)
def test_python_runs(document: str, here: Path) -> None:
    """The blocks of a document one after the other, as a reader types them."""
    names: dict[str, Any] = {"__name__": "block"}
    before = set(names)
    for block in RUN:
        if (block.document, block.language) == (document, "python"):
            code = "\n" * block.line + block.text
            exec(compile(code, str(ROOT / document), "exec"), names)  # noqa: S102 - our own documents
    assert names.keys() - before - {"__builtins__"}  # it defined, imported or made something, and raised nothing
