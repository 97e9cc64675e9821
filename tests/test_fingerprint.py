"""Comments, docstrings and layout may change; code may not."""

import ast
from pathlib import Path

import pytest

from bactrian.stages import all_stages
from bactrian.store import fingerprint
from bactrian.verify.registry import BUILT_IN

CODE = '''
"""A module."""
from pydantic import Field
class A:
    """A class."""
    x: int = Field(3, gt=0, description="three")
    def f(self, a=1):
        "A function."
        return a + 1  # a comment
'''

SAME = [
    ("# a comment", ""),
    ("A module.", "Another module."),
    ('"""A class."""', '"""\nSomething else\n"""'),
    ('        "A function."\n', ""),
    ('"three"', '"four"'),
    ("a + 1", "(a\n            + 1)"),
    ("(3, gt=0", "(3 , gt = 0"),
]
OTHER = [
    ("a + 1", "a + 2"),
    ("a=1", "a=2"),
    ("Field(3", "Field(4"),
    ("gt=0", "ge=0"),
    ("def f", "def g"),
    ("x: int", "x: float"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_documentation_and_layout_do_not_show(old: str, new: str) -> None:
    assert old in CODE
    assert fingerprint.describe(ast.parse(CODE.replace(old, new))) == fingerprint.describe(ast.parse(CODE))


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_code_shows(old: str, new: str) -> None:
    assert old in CODE
    assert fingerprint.describe(ast.parse(CODE.replace(old, new))) != fingerprint.describe(ast.parse(CODE))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little bactrian: stages.one → (in a function) train.loop → relative .steps; report and progress at the side."""
    files = {
        "__init__.py": "__version__ = '1'",
        "stages/__init__.py": "",
        "train/__init__.py": "import os",
        "stages/one.py": "import bactrian.progress\ndef run():\n    from bactrian.train.loop import go\n    go()",
        "stages/two.py": "x = 1",
        "train/loop.py": "from .steps import step\nfrom . import steps\ndef go(): step()",
        "train/steps.py": "from bactrian import errors\ndef step(): return 1",
        "errors.py": "e = 1",
        "progress.py": "p = 1",
        "report/__init__.py": "r = 1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "_HERE", tmp_path)
    return tmp_path


def fresh(module: str) -> str:
    fingerprint._read.cache_clear()
    fingerprint.code_fingerprint.cache_clear()
    try:
        return fingerprint.code_fingerprint(module)
    finally:
        fingerprint._read.cache_clear()
        fingerprint.code_fingerprint.cache_clear()


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("stages/one.py", True),
        ("train/loop.py", True),
        ("train/steps.py", True),
        ("errors.py", True),
        ("train/__init__.py", True),
        ("stages/two.py", False),
        ("progress.py", False),
        ("report/__init__.py", False),
        ("__init__.py", False),
    ],
)
def test_every_module_that_is_imported_at_any_depth_shows_and_no_other(package: Path, name: str, shows: bool) -> None:
    before = fresh("bactrian.stages.one")
    (package / name).write_text((package / name).read_text() + "\nchanged = 1\n")
    assert (fresh("bactrian.stages.one") != before) == shows


@pytest.mark.parametrize("damage", [None, "cut", "flipped", "empty", "other"])
def test_what_is_kept_of_sources_changes_no_hash(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str | None
) -> None:
    monkeypatch.setenv("BACTRIAN_CACHE", str(tmp_path / "cache"))
    fingerprint._kept.cache_clear()
    before = fresh("bactrian.stages.one")
    (kept,) = (tmp_path / "cache" / "code").iterdir()
    text = kept.read_text()
    assert text.count("bactrian.train.loop") == 2  # of the one, and of the package that it is in
    damaged = {"cut": text[:-40], "flipped": text.replace('["', '["0', 1), "empty": "", "other": "{}\n[1]"}
    if damage:
        kept.write_text(damaged[damage])
    fingerprint._kept.cache_clear()
    parsed: list[bytes] = []
    parse = fingerprint.ast.parse
    monkeypatch.setattr(fingerprint.ast, "parse", lambda source: parsed.append(source) or parse(source))
    assert fresh("bactrian.stages.one") == before and bool(parsed) is bool(damage)
    parsed.clear()
    (package / "errors.py").write_text("e = 2")
    assert fresh("bactrian.stages.one") != before and parsed == [b"e = 2"]
    assert kept.read_text() != text or damage
    fingerprint._kept.cache_clear()


def test_where_nothing_can_be_kept_hashes_are_the_same(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh("bactrian.stages.one")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BACTRIAN_CACHE", str(tmp_path / "file"))
    fingerprint._kept.cache_clear()
    assert fresh("bactrian.stages.one") == before
    fingerprint._kept.cache_clear()


def test_the_real_package_can_be_fingerprinted() -> None:
    assert len(fresh("bactrian.stages.stage")) == 64
    assert fresh("bactrian.recipe.recipe") != fresh("bactrian.stages.stage")


VERIFIERS_BY_NAME = frozenset(BUILT_IN.values()) - {"bactrian.verify.model_verifiers"}  # whose seam every pool knows


@pytest.mark.parametrize("stage", sorted(all_stages()))
def test_the_code_of_verifiers_is_in_no_stage_s_key(stage: str) -> None:
    """They are parts (parts.py): counted for what names them, and for nothing else."""
    behind = fingerprint.modules_behind(all_stages()[stage].__module__).keys()
    numbers = {"bactrian.verify.maths.gsm8k"}  # where answers stand in solutions; `problems` reads those
    evaluate = {"bactrian.verify.text.spans", "bactrian.verify.instructions.ifeval"}  # it writes gold answers
    used = {
        "evaluate": evaluate,
        "microanneal": evaluate,  # it adds such a step
        "winrate": {"bactrian.verify.text.spans"},  # it may compare short answers by their normal form
    }
    assert not (VERIFIERS_BY_NAME & behind) - numbers - used.get(stage, set())
    assert "bactrian.verify.maths.latex" not in behind and "bactrian.report" not in behind


def test_packages_that_decide_what_comes_out_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh("bactrian.verify.maths.competition"), fresh("bactrian.verify.maths.gsm8k")
    monkeypatch.setattr(fingerprint, "_version", lambda name: f"another {name}")
    after = fresh("bactrian.verify.maths.competition"), fresh("bactrian.verify.maths.gsm8k")
    assert before[0] != after[0] and before[1] == after[1]


def test_a_module_of_another_package_counts_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_verifier.py").write_text("x = 1\n")
    before = fresh("their_verifier")
    (tmp_path / "their_verifier.py").write_text("x = 2\n")
    assert fresh("their_verifier") != before
    with pytest.raises(ModuleNotFoundError):
        fresh("nobody_has_this")
