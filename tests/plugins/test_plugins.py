"""What other packages add by entry points: found by name, loaded once, and refused in words that name the package."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.store import fingerprint, parts, plugins
from bactrian.store.plugins import Plugins

ROOT = Path(__file__).resolve().parents[2]
WORDS: Plugins[str] = Plugins("bactrian.words", "word", "a text", lambda found: isinstance(found, str))


def install(folder: Path, package: str, points: dict[str, str], kind: str = "word", version: str = "1.0") -> None:
    """What pip leaves of a package: a module of its name, and a folder of metadata."""
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{package}.py,,\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[bactrian.{kind}s]\n{lines}")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from. What a test installs there is gone after it."""
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """As a new process, which has looked at no package yet."""
    for known in (plugins._entry_points, fingerprint._read, fingerprint.code_fingerprint, fingerprint._version):
        known.cache_clear()
    for module in [name for name in sys.modules if name.startswith("theirs")]:
        del sys.modules[module]


def test_a_part_is_found_by_name_and_loaded_when_it_is_asked_for(path: Path) -> None:
    (path / "theirs_good.py").write_text("GREETING = 'hello'\n")
    install(path, "theirs_good", {"greeting": "theirs_good:GREETING"})
    install(path, "theirs_broken", {"broken": "theirs_broken:X"})
    assert WORDS.names() == ["broken", "greeting"]
    assert "theirs_good" not in sys.modules
    assert WORDS.get("greeting") == "hello"


@pytest.mark.parametrize(
    ("code", "value", "message"),
    [
        ("X = 1", "theirs_bad:X", r"found int, expected a text"),
        ("X = int", "theirs_bad:X", r"found int, expected a text"),
        ("X = 1", "theirs_bad:Y", r"it cannot be loaded: AttributeError"),
        ("X = 1 / 0", "theirs_bad:X", r"it cannot be loaded: ZeroDivisionError"),
        ("import theirs_missing", "theirs_bad:X", r"it cannot be loaded: ModuleNotFoundError.*theirs_missing"),
        ("X = (", "theirs_bad:X", r"it cannot be loaded: SyntaxError"),
    ],
)
def test_a_broken_package_is_named(path: Path, code: str, value: str, message: str) -> None:
    (path / "theirs_bad.py").write_text(code)
    install(path, "theirs_bad", {"bad": value})
    with pytest.raises(BactrianError, match=rf"^the word 'bad' of the package theirs_bad \({value}\): {message}"):
        WORDS.get("bad")


def test_a_name_is_taken_once(path: Path) -> None:
    install(path, "theirs_one", {"same": "theirs_one:X"})
    with pytest.raises(BactrianError, match=r"the word 'same' of the package theirs_one: Bactrian has one"):
        WORDS.names(own=["same"])
    assert WORDS.names() == ["same"]
    install(path, "theirs_two", {"same": "theirs_two:X"})
    forget()
    with pytest.raises(
        BactrianError, match=r"word 'same': two packages have one of that name, theirs_\w+ and theirs_\w+"
    ):
        WORDS.names()


def used(path: Path) -> str:
    """The hash under which a step would remember the part."""
    forget()
    parts._USED.clear()
    WORDS.use("greeting")
    record = parts.used()["word greeting"]
    parts._USED.clear()
    assert record.module == "theirs_package.words"
    return record.fingerprint


def test_a_used_part_counts_with_its_package_s_code_and_version(path: Path) -> None:
    package = path / "theirs_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text("from theirs_package.more import GREETING\n")
    (package / "more.py").write_text("GREETING = 'hello'\n")
    (package / "other.py").write_text("X = 1\n")
    install(path, "theirs_package", {"greeting": "theirs_package.words:GREETING"})
    first = used(path)
    (package / "other.py").write_text("X = 2\n")
    assert used(path) == first
    (package / "more.py").write_text("GREETING = 'hello'  # a comment\n")
    assert used(path) == first
    (package / "more.py").write_text("GREETING = 'good day'\n")
    assert (second := used(path)) != first
    metadata = path / "theirs_package-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    assert used(path) not in (first, second)


SEAMS = [
    ("stage", "sft", ["stage", "--help"], "the stage 'sft' of the package theirs_x: Bactrian has one of that name"),
    ("task", "gsm8k", ["eval", "m", "--tasks", "gsm8k"], "the task 'gsm8k' of the package theirs_x: Bactrian has one"),
    ("stage", "new", ["stage", "--help"], "the stage 'new' of the package theirs_x (theirs_x:X): found int, expected"),
    ("task", "new", ["eval", "m", "--tasks", "new"], "the task 'new' of the package theirs_x (theirs_x:X): found int"),
]


@pytest.mark.parametrize(("kind", "name", "command", "message"), SEAMS)
def test_the_command_line_names_a_package_that_does_not_fit(
    path: Path, kind: str, name: str, command: list[str], message: str
) -> None:
    (path / "theirs_x.py").write_text("X = 1\n")
    install(path, "theirs_x", {name: "theirs_x:X"}, kind)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "bactrian", *command], env=environment, cwd=path, capture_output=True, text=True
    )
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_template_s_name_is_taken_once(path: Path) -> None:
    from bactrian.chat import template_names

    install(path, "theirs_x", {"tulu": "theirs_x:X"}, "template")
    with pytest.raises(BactrianError, match="the template 'tulu' of the package theirs_x: Bactrian has one"):
        template_names()


def test_other_groups_are_passed_over(path: Path) -> None:
    install(path, "theirs_x", {"y": "theirs_x:X"}, "thing")
    assert WORDS.names() == []
