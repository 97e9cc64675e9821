"""The package as a user has it: the built wheel in an environment of its own, and an empty folder to work in."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.first_hour import files

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class User:
    """Types commands in `folder`; each must succeed at the first try."""

    folder: Path
    command: Path

    def types(self, *words: str, status: int = 0, path: str | None = None) -> str:
        """Run `bactrian WORDS`; returns what it printed. path: PATH in place of this machine's."""
        hidden = ("PYTHONPATH", "BACTRIAN_EVAL_DATA", "BACTRIAN_NO_REEXEC")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"HF_HUB_OFFLINE": "1", "PATH": path if path is not None else os.environ["PATH"]}
        done = subprocess.run(
            [str(self.command), *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == status, f"bactrian {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bactrian` of the wheel alone. Its dependencies are those of the tests, by a path; the checkout is on none."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=300)
    places = {"base": str(home), "platbase": str(home)}
    own = Path(sysconfig.get_path("purelib", scheme="venv", vars=places))
    ours = sysconfig.get_paths()
    (own / "dependencies.pth").write_text("\n".join(dict.fromkeys([ours["purelib"], ours["platlib"]])) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, timeout=300)
    return home / "bin" / "bactrian"


@pytest.fixture(scope="module")
def user(command: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """In a folder with a model and files of every kind, and nothing else."""
    folder = tmp_path_factory.mktemp("first-hour")
    files.write_all(folder)
    return User(folder, command)


@pytest.fixture
def newcomer(command: Path, tmp_path: Path) -> Callable[[], User]:
    """In an empty folder."""
    return lambda: User(tmp_path, command)
